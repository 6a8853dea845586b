"""The sandbox's image: a slim Python with the data stack, and images on top of it with further packages.

With a registry: `guest/Dockerfile` on top of its slim Python. Without one: the same on top of a base made from
Debian's packages (`base.py`). Python packages are fetched on the host, by pip, in both cases (`packages.py`), so the
build itself runs without a network.

An image's name is a digest of what it is made from, so it is known before the image is there: the machine, the
base's name, the Dockerfile and guest/image, the pinned requirements, and the extra packages as they were asked for.
What an open request such as `seaborn` or `seaborn>=0.13` resolved to when it was built is in the image's manifest;
`force` resolves and builds anew. The layers have a digest each, by content (`docker image inspect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import platform
import re
import shlex
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fastslow.sandbox.base import (
    COMMANDS,
    DEBIAN_BASE,
    SLIM_BASE,
    default_base,
    default_target,
    examine,
    own_base,
)
from fastslow.sandbox.daemon import docker_client
from fastslow.sandbox.errors import ImageMissing, SandboxError
from fastslow.sandbox.install import OnProgress
from fastslow.sandbox.packages import (
    InvalidImageRequest,
    Manifest,
    fetch_extra,
    fetch_standard,
    requested,
)
from fastslow.sandbox.steps import EPOCH, ImageBuildFailed, from_thread, in_thread, scratch

if TYPE_CHECKING:
    from docker import DockerClient

GUEST = Path(__file__).parent / "guest"
LABEL = "fastslow.manifest"


def image_tag(packages: Iterable[str] = (), base: str | None = None) -> str:
    """The name of the image with these extra packages on this base, whether it is built or not.

    The same request is the same name on all machines of one architecture. InvalidImageRequest for names that are none.
    """
    if base is not None and not re.fullmatch(r"[a-z0-9][\w./:@-]*", base):
        raise InvalidImageRequest(f"expected the name of an image as the base, got {base!r}")
    # Without a base either default: which of the two a daemon got is in the manifest.
    digest = hashlib.sha256(f"{platform.machine()} {base or f'{SLIM_BASE} {DEBIAN_BASE}'}".encode())
    for path in (GUEST / "Dockerfile", GUEST / "requirements.txt", *_parts()):
        digest.update(path.read_bytes())
    digest.update(" ".join(requested(packages)).encode())
    return f"fastslow-sandbox:{digest.hexdigest()[:12]}"


def _parts() -> list[Path]:
    """What the build runs, and what that puts in its place."""
    return sorted((GUEST / "image").glob("*.py"))


def build_command(packages: Iterable[str] = (), base: str | None = None) -> str:
    """The command that builds that image, for messages."""
    options = [f"--packages {shlex.quote(name)}" for name in requested(packages)]
    return " ".join(["fastslow sandbox build", *options, *([f"--base {shlex.quote(base)}"] if base else [])])


def image_exists(client: DockerClient, image: str | None = None) -> bool:
    """Whether the daemon holds the image; None is the one of `image_tag`."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(image or image_tag())
    except ImageNotFound:
        return False
    return True


def image_manifest(client: DockerClient, image: str | None = None) -> Manifest:
    """What is inside an image that was built here, read from its label; None is the one of `image_tag`.

    Raises ImageMissing, or SandboxError for an image that has no manifest.
    """
    from docker.errors import ImageNotFound

    name = image or image_tag()
    try:
        labels = client.images.get(name).labels
    except ImageNotFound as error:
        raise ImageMissing(
            f"the sandbox image {name!r} is not there; build it with `fastslow sandbox build`"
        ) from error
    try:
        return Manifest.from_json(labels.get(LABEL, ""))
    except ValueError as error:
        raise SandboxError(f"the image {name!r} was not made by `fastslow sandbox build`: {error}") from error


async def build_image(
    on_progress: OnProgress, *, packages: Iterable[str] = (), base: str | None = None, force: bool = False
) -> str:
    """Build the image with these extra packages on this base unless the daemon has it; returns its tag.

    From nothing: one to two minutes, 190 MB of downloads, 0.7 GB of disk. Extra packages are a layer on top of the
    standard image, which is built first if need be. force: build the asked image anew, from its downloads on.
    Raises DockerMissing, InvalidImageRequest, or ImageBuildFailed with the step that failed.
    """
    extra, tag = requested(packages), image_tag(packages, base)
    client = await asyncio.to_thread(docker_client, 600.0)
    try:
        if not force and await asyncio.to_thread(image_exists, client, tag):
            on_progress(f"The sandbox image {tag} is there", 1.0)
            return tag
        async with scratch() as folder:
            if extra:
                standard = await build_image(on_progress, base=base)
                await _derived(client, folder, standard, extra, tag, on_progress, force)
            else:
                await _standard(client, folder, base, tag, on_progress, force)
    finally:
        client.close()
    on_progress(f"The sandbox image {tag} is built", 1.0)
    return tag


async def _standard(
    client: DockerClient, folder: Path, name: str | None, tag: str, on_progress: OnProgress, force: bool
) -> None:
    if name is None:
        # What fits the default base is known beforehand: both are fetched side by side.
        target = await asyncio.to_thread(default_target, client)
        making = asyncio.create_task(default_base(client, on_progress, force=force))
        fetching = asyncio.create_task(fetch_standard(target, folder, on_progress))
        try:
            base, present = await asyncio.gather(making, fetching)
        finally:  # the other one, when one failed
            making.cancel()
            fetching.cancel()
            await asyncio.gather(making, fetching, return_exceptions=True)
    else:
        base = await own_base(client, name, on_progress)
        present = await fetch_standard(base.target, folder, on_progress)
    commands = tuple(name for name in COMMANDS if name in {*base.commands, *(package.name for package in present)})
    manifest = Manifest(base.name, base.layers, base.python, (), present, commands)
    await _build(client, folder, base.name, tag, manifest, on_progress, force)


async def _derived(
    client: DockerClient,
    folder: Path,
    standard: str,
    extra: tuple[str, ...],
    tag: str,
    on_progress: OnProgress,
    force: bool,
) -> None:
    below = await asyncio.to_thread(image_manifest, client, standard)
    standing = await asyncio.to_thread(examine, client, standard)
    added = await fetch_extra(extra, below.packages, standing.target, folder, on_progress)
    everything = tuple(sorted((*below.packages, *added), key=lambda package: package.name))
    manifest = Manifest(below.base, below.layers, below.python, extra, everything, below.commands)
    await _build(client, folder, standard, tag, manifest, on_progress, force)


async def _build(
    client: DockerClient,
    folder: Path,
    base: str,
    tag: str,
    manifest: Manifest,
    on_progress: OnProgress,
    force: bool,
) -> None:
    opt = folder / "root/opt"
    opt.mkdir(parents=True, exist_ok=True)
    (opt / "manifest.json").write_text(manifest.to_json() + "\n")
    (opt / "image").mkdir(exist_ok=True)
    for path in _parts():
        (opt / "image" / path.name).write_bytes(path.read_bytes())
    (folder / "Dockerfile").write_bytes((GUEST / "Dockerfile").read_bytes())
    on_progress("Building the sandbox image", 0.6)
    report = from_thread(on_progress)
    before = await asyncio.to_thread(_identity, client, tag)
    await in_thread(_build_from, client, folder, base, tag, manifest, report, force)
    if before is not None:
        await asyncio.to_thread(_discard, client, before)


def _identity(client: DockerClient, tag: str) -> str | None:
    from docker.errors import ImageNotFound

    try:
        return str(client.images.get(tag).id)
    except ImageNotFound:
        return None


def _discard(client: DockerClient, identity: str) -> None:
    """Remove an image that a new one has taken the name of, unless it has another name or is in use."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        if not client.images.get(identity).tags:
            client.api.remove_image(identity)


def _build_from(
    client: DockerClient, folder: Path, base: str, tag: str, manifest: Manifest, report: OnProgress, force: bool
) -> None:
    from docker.errors import APIError

    context = folder / "context.tar"
    _archive(folder, context)
    said: list[str] = []
    try:
        with context.open("rb") as file:
            # docker-py speaks to the classic builder, which every daemon has; no network, hence no surprises.
            for line in client.api.build(
                fileobj=file,
                custom_context=True,
                tag=tag,
                buildargs={"BASE": base},
                labels={LABEL: manifest.to_json()},
                network_mode="none",
                nocache=force,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                if text := line.get("stream", "").strip():
                    said += text.splitlines()
                    report(f"Building the sandbox image: {text.splitlines()[0][:90]}", None)
                if "error" in line:
                    raise ImageBuildFailed(
                        f"building the sandbox image failed: {_build_error(said)} ({line['error'].strip()})"
                    )
    except APIError as error:
        raise ImageBuildFailed(f"the daemon refused to build the sandbox image: {error}") from error


def _build_error(said: list[str]) -> str:
    """The last words of the step that failed, without the builder's own and without its colours."""
    words = (re.sub(r"\x1b\[\d*m", "", line).strip() for line in said)
    return " / ".join([line for line in words if line and not line.startswith(("Step ", "--->", "Removing "))][-3:])


def _archive(folder: Path, context: Path) -> None:
    """The build's context, sorted, everything with one owner, one time and one of two modes: layers take them over."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = EPOCH
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(context, "w") as archive:
        for name in ("Dockerfile", "root"):
            archive.add(folder / name, name, filter=plain)
