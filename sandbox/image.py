"""The sandbox's image: a slim Python 3.11 with the data stack, made with or without an image registry.

With a registry: `guest/Dockerfile` on top of its slim Python. Without one: the same Dockerfile on top of a
base that `debootstrap` makes from Debian's packages. Python packages are fetched on the host, by pip, in
both cases, so the build itself runs without a network.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.engine import OnProgress, apt_install, docker_client
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from docker import DockerClient

GUEST = Path(__file__).parent / "guest"
REGISTRY_BASE = "python:3.11-slim-bookworm"
# Debian 12 is the release whose own Python is 3.11; the wheels below fit both bases.
SUITE = "bookworm"
DEBIAN_BASE = f"fastslow-base:{SUITE}"
PULL_SECONDS = 15


class ImageBuildFailed(SandboxError, RuntimeError):
    """A step of the build failed; the message names the step and its last words."""


def image_tag() -> str:
    """The image's name, with a digest of all that goes into it: another content is another image."""
    digest = hashlib.sha256(f"{platform.machine()} {REGISTRY_BASE} {SUITE}".encode())
    for name in ("Dockerfile", "requirements.txt"):
        digest.update((GUEST / name).read_bytes())
    return f"fastslow-sandbox:{digest.hexdigest()[:12]}"


def image_exists(client: DockerClient, image: str | None = None) -> bool:
    """Whether the engine holds the image; None is the one of `image_tag`."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image or image_tag())
    except ImageNotFound:
        return False
    return True


async def build_image(on_progress: OnProgress, *, force: bool = False) -> str:
    """Build the sandbox's image unless the engine has it; returns its tag.

    From nothing: two to four minutes, 250 MB of downloads, 1.1 GB of disk.
    Raises EngineMissing, or ImageBuildFailed (RuntimeError) with the step that failed.
    """
    client = await asyncio.to_thread(docker_client, 600.0)
    tag = image_tag()
    try:
        if not force and await asyncio.to_thread(image_exists, client):
            on_progress(f"The sandbox image {tag} is there", 1.0)
            return tag
        base = await _base(client, on_progress, force)
        async with _scratch() as folder:
            on_progress("Fetching the Python packages of the sandbox", 0.4)
            await _fetch_packages(folder / "packages", on_progress)
            shutil.copy(GUEST / "Dockerfile", folder)
            on_progress("Building the sandbox image", 0.7)
            report = _from_thread(on_progress)
            await asyncio.to_thread(_build, client, folder, base, tag, report)
    finally:
        client.close()
    on_progress(f"The sandbox image {tag} is built", 1.0)
    return tag


async def _base(client: DockerClient, on_progress: OnProgress, force: bool) -> str:
    on_progress(f"Asking the image registry for {REGISTRY_BASE}", 0.0)
    report = _from_thread(on_progress)
    if await asyncio.to_thread(_pull, report):
        return REGISTRY_BASE
    if not force and await asyncio.to_thread(image_exists, client, DEBIAN_BASE):
        return DEBIAN_BASE
    on_progress("No image registry answers: making the base from Debian's packages", 0.02)
    await _debootstrap(on_progress)
    return DEBIAN_BASE


def _from_thread(on_progress: OnProgress) -> OnProgress:
    """The same, to be called in another thread: `on_progress` itself runs in the event loop's."""
    loop = asyncio.get_running_loop()

    def report(what: str, fraction: float | None) -> None:
        loop.call_soon_threadsafe(on_progress, what, fraction)

    return report


def _pull(report: OnProgress) -> bool:
    """Pull the base; False as soon as it is clear that no registry answers."""
    import requests
    from docker.errors import APIError

    client = docker_client(timeout=PULL_SECONDS)
    try:
        for line in client.api.pull(REGISTRY_BASE, stream=True, decode=True):
            if "error" in line:
                return False
            report(f"Pulling {REGISTRY_BASE}: {line.get('status', '')}", None)
    except (APIError, requests.RequestException):
        return False
    finally:
        client.close()
    return True


async def _debootstrap(on_progress: OnProgress) -> None:
    if os.geteuid() != 0:
        raise ImageBuildFailed(
            "no image registry answers, and making a base without one needs root; "
            f"run `sudo fastslow sandbox build`, or load {REGISTRY_BASE} with `docker load`"
        )
    if shutil.which("debootstrap") is None:
        await apt_install(["debootstrap"], on_progress)
    async with _scratch() as folder:
        # In a mount namespace of its own: what debootstrap mounts in the folder cannot outlive it.
        command = [
            "unshare",
            "--mount",
            "debootstrap",
            "--variant=minbase",
            "--include=python3",
            SUITE,
            str(folder / "root"),
        ]
        await _run([*command, await _debian_mirror()], on_progress, "Debian base", 0.02, 0.3, lines=320)
        for litter in (
            "var/cache/apt",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(folder / "root" / litter, ignore_errors=True)
        on_progress("Importing the base into the engine", 0.35)
        archive = folder / "root.tar"
        await _run(
            ["tar", "-C", str(folder / "root"), "-cf", str(archive), "."],
            on_progress,
            "Base archive",
            0.35,
            0.38,
        )
        await asyncio.to_thread(_import, archive)


def _import(archive: Path) -> None:
    client = docker_client(timeout=600)
    try:
        client.api.import_image_from_file(str(archive), *DEBIAN_BASE.split(":"))
    finally:
        client.close()


async def _debian_mirror() -> str:
    """The mirror that this machine's own apt uses, whichever form its source files have."""
    process = await asyncio.create_subprocess_exec(
        *(
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)",
            "Created-By: Packages",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    rows = [line.split(" ", 3) for line in output.decode().splitlines()]
    # "bookworm", not "bookworm-updates" nor the security archive: those hold no whole release.
    uris = [
        uri
        for origin, component, codename, uri in rows
        if (origin, component) == ("Debian", "main") and "-" not in codename
    ]
    if not uris:
        raise ImageBuildFailed("apt knows no Debian mirror; run `apt-get update` on a Debian machine, then build again")
    return next((uri for uri in uris if "security" not in uri), uris[0])


async def _fetch_packages(target: Path, on_progress: OnProgress) -> None:
    machine = platform.machine()
    platforms = [f"--platform=manylinux{tag}_{machine}" for tag in ("2014", "_2_17", "_2_27", "_2_28")]
    options = [
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
        "--only-binary=:all:",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-compile",
        "--progress-bar=off",
        f"--target={target}",
    ]
    requirements = GUEST / "requirements.txt"
    lines = len(requirements.read_text().splitlines()) * 3
    await _run(
        [*command, *platforms, *options, "-r", str(requirements)],
        on_progress,
        "Python packages",
        0.4,
        0.7,
        lines=lines,
    )
    await asyncio.to_thread(_trim, target)


def _trim(target: Path) -> None:
    for tests in [*target.glob("*/tests"), *target.glob("*/*/tests")]:
        shutil.rmtree(tests)
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that start with the host's interpreter


def _build(client: DockerClient, folder: Path, base: str, tag: str, report: OnProgress) -> None:
    from docker.errors import APIError

    try:
        # docker-py speaks to the classic builder, which every engine has; no network, hence no surprises.
        for line in client.api.build(
            path=str(folder),
            tag=tag,
            buildargs={"BASE": base},
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if "error" in line:
                raise ImageBuildFailed(f"building the sandbox image failed: {line['error'].strip()}")
            if text := line.get("stream", "").strip():
                report(f"Building the sandbox image: {text.splitlines()[0][:90]}", None)
    except APIError as error:
        raise ImageBuildFailed(f"the engine refused to build the sandbox image: {error}") from error


@asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    """A folder on the disk (temporary folders are often in memory), gone afterwards."""
    from platformdirs import user_cache_path

    cache = user_cache_path("fastslow", ensure_exists=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def _run(
    command: list[str], on_progress: OnProgress, what: str, start: float, end: float, *, lines: int = 1
) -> None:
    """Run a command, its lines shown as progress from `start` to `end`; `lines` is how many are expected."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    seen: list[str] = []
    try:
        async for raw in process.stdout:
            seen.append(raw.decode("utf-8", "replace").strip())
            on_progress(f"{what}: {seen[-1][:90]}", start + (end - start) * min(1.0, len(seen) / lines))
        status = await process.wait()
    except asyncio.CancelledError:
        os.killpg(process.pid, 9)
        await process.wait()
        raise
    if status:
        raise ImageBuildFailed(
            f"{what}: `{' '.join(command[:4])} …` ended with status {status}: {' / '.join(seen[-3:])}"
        )
