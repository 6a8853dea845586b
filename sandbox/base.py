"""What the sandbox's image stands on: a slim Python from a registry or Debian's own, both with the commands that people
expect, or an image of the user's."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastslow.sandbox.daemon import docker_client
from fastslow.sandbox.install import OnProgress, apt_install
from fastslow.sandbox.owner import labels
from fastslow.sandbox.steps import ImageBuildFailed, from_thread, in_thread, run_step, scratch

if TYPE_CHECKING:
    from docker import DockerClient

REGISTRY_BASE = "python:3.11-slim-bookworm"
# Debian 12 is the release whose own Python is 3.11 and whose glibc is 2.36, as in the registry's image.
SUITE = "bookworm"
# Beside Python what the registry's image has too: the C++ library that wheels may expect, time zones and authorities
# (pyarrow and ssl look for those there).
# What both have besides: commands, and fonts for what matplotlib's own lacks (Chinese, Japanese, Korean; symbols).
# Micro Hei is the smallest that has all three: 5 MB, where Noto's are 90.
TOOLS = (
    *("git", "ripgrep", "patch", "make", "procps", "file", "unzip", "jq", "sqlite3", "curl"),
    *("fonts-wqy-microhei", "fonts-symbola"),
)
# The model is told of these where they are there. `python`, `pip` and `pytest` the image has
# (guest/image/bake.py).
COMMANDS = ("git", "rg", "patch", "make", "pytest", "curl", "jq", "sqlite3", "unzip", "file", "ps")
# Nothing that code in a sandbox would miss: git's servers, perl's Asian encodings and
# what C needs to be compiled against it.
LITTER = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/gitweb/*"),
    *(f"/usr/lib/git-core/{name}" for name in ("git-daemon", "git-http-backend", "git-http-push", "git-imap-send")),
    *("/usr/lib/git-core/git-shell", "/usr/bin/git-shell", "/usr/lib/git-core/scalar", "/usr/bin/scalar"),
    *(f"/usr/lib/*/perl/5*/{part}/*" for part in ("CORE", "auto/Encode/CN", "auto/Encode/JP")),
    *(f"/usr/lib/*/perl/5*/{part}/*" for part in ("auto/Encode/KR", "auto/Encode/TW", "auto/Unicode/Collate")),
    *("/usr/share/perl/5*/Unicode/Collate/*", "/usr/share/perl/5*/pod/*"),
)
MMDEBSTRAP = (
    "mmdebstrap",
    "--variant=essential",
    f"--include=python3,libstdc++6,zlib1g,tzdata,ca-certificates,{','.join(TOOLS)}",
    *(f"--dpkgopt=path-exclude={litter}" for litter in LITTER),
    # Compiled files carry times; the image compiles its own (guest/image/bake.py).
    '--customize-hook=find "$1/usr" -xdev -name __pycache__ -prune -exec rm -rf {} +',
)
DEBIAN_BASE = f"fastslow-base:{SUITE}-{hashlib.sha256(repr(MMDEBSTRAP).encode()).hexdigest()[:8]}"
SLIM_TOOLS = f"""\
FROM {REGISTRY_BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends {" ".join(TOOLS)} && rm -r /var/lib/apt/lists
"""
SLIM_BASE = f"fastslow-base:slim-{hashlib.sha256(SLIM_TOOLS.encode()).hexdigest()[:8]}"
PULL_SECONDS = 15
LOOK_SECONDS = 60
OLDEST_PYTHON = (3, 11)

PROBE = f"""
import ctypes, json, platform, shutil, sys
missing = [] if shutil.which("bash") else ["bash"]
try:
    ctypes.CDLL("libstdc++.so.6")
except OSError:
    missing.append("libstdc++")
commands = [name for name in {COMMANDS} if shutil.which(name)]
print(json.dumps([*sys.version_info[:3], platform.machine(), *platform.libc_ver(), missing, commands]))
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels must fit. python: `"3.11"`; machine: `"x86_64"`; glibc: its minor version, 36 for 2.36."""

    python: str
    machine: str
    glibc: int


@dataclass(frozen=True, slots=True)
class Base:
    """An image to build on. layers: digests of its content. python: its whole version. commands: of COMMANDS."""

    name: str
    layers: tuple[str, ...]
    python: str
    target: Target
    commands: tuple[str, ...]


def default_target(client: DockerClient) -> Target:
    """What both default bases offer, known before they are there."""
    return Target("3.11", str(client.info()["Architecture"]), 36)


async def default_base(client: DockerClient, on_progress: OnProgress, *, force: bool) -> Base:
    """The registry's image, or where no registry answers one made of Debian's packages."""
    on_progress(f"Asking the image registry for {REGISTRY_BASE}", None)
    if await in_thread(_pull, REGISTRY_BASE, from_thread(on_progress)):
        on_progress(f"Adding commands to {REGISTRY_BASE}", None)
        if await in_thread(_add_tools, client, force):
            return await asyncio.to_thread(examine, client, SLIM_BASE)
        on_progress("Debian's packages cannot be reached from a container: no git, no fonts for Asian scripts", None)
        return await asyncio.to_thread(examine, client, REGISTRY_BASE)
    if force or not await asyncio.to_thread(_has, client, DEBIAN_BASE):
        on_progress("No image registry answers: making the base from Debian's packages", None)
        await _debian(client, on_progress)
    return await asyncio.to_thread(examine, client, DEBIAN_BASE)


async def own_base(client: DockerClient, name: str, on_progress: OnProgress) -> Base:
    """An image that the user names: the daemon's, else the registry's."""
    if not await asyncio.to_thread(_has, client, name):
        on_progress(f"Pulling {name}", None)
        if not await in_thread(_pull, name, from_thread(on_progress)):
            raise ImageBuildFailed(f"neither the daemon nor a registry has the base {name!r}; see `docker images`")
    return await asyncio.to_thread(examine, client, name)


def examine(client: DockerClient, name: str) -> Base:
    """Run the base once, locked up, to see what it offers. ImageBuildFailed when that is not enough."""
    from docker.errors import APIError

    needs = f"the base {name!r} must have python3 >= 3.11, bash, glibc and libstdc++"
    try:
        facts = client.images.get(name).attrs
        container = client.containers.create(  # `run` forgets one that cannot be started
            name,
            ["-I", "-c", PROBE],
            entrypoint=["python3"],
            user="65534:65534",
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            pids_limit=64,
            mem_limit="256m",
            use_config_proxy=False,
            labels=labels(),
        )
        try:
            container.start()
            status = container.wait(timeout=LOOK_SECONDS)["StatusCode"]
            said = container.logs().decode("utf-8", "replace")
        finally:
            container.remove(force=True)
        if status:
            raise ValueError(said)
        major, minor, micro, machine, libc, version, missing, commands = json.loads(said)
        glibc = int(version.split(".")[1]) if libc == "glibc" else 0
    except (APIError, OSError, ValueError, AttributeError) as error:
        said_why = getattr(error, "explanation", None) or error
        raise ImageBuildFailed(f"{needs}; running python3 in it failed: {str(said_why)[:500]}") from error
    if (major, minor) < OLDEST_PYTHON or not glibc or missing:
        lacks = "".join(f", no {library}" for library in [*missing, *([] if glibc else ["glibc"])])
        raise ImageBuildFailed(f"{needs}; it has python3 {major}.{minor}.{micro}{lacks}")
    if volumes := facts["Config"].get("Volumes"):
        # The daemon would make each a writable folder on the host's disk, past every limit.
        raise ImageBuildFailed(f"the base {name!r} declares volumes ({', '.join(volumes)}): code could fill the disk")
    return Base(
        name,
        tuple(facts["RootFS"]["Layers"]),
        f"{major}.{minor}.{micro}",
        Target(f"{major}.{minor}", machine, glibc),
        tuple(commands),
    )


def _has(client: DockerClient, name: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(name: str, report: OnProgress) -> bool:
    """Pull an image; False as soon as it is clear that no registry gives it."""
    import requests
    from docker.errors import APIError

    client = docker_client(timeout=PULL_SECONDS)
    try:
        # Without a tag or digest docker-py would pull all tags there are.
        tag = None if ":" in name.rpartition("/")[2] or "@" in name else "latest"
        for line in client.api.pull(name, tag=tag, stream=True, decode=True):
            if "error" in line:
                return False
            report(f"Pulling {name}: {line.get('status', '')}", None)
    except (APIError, requests.RequestException):
        return False
    finally:
        client.close()
    return True


def _add_tools(client: DockerClient, force: bool) -> bool:
    """Make SLIM_BASE; False where apt in a container finds no Debian archive."""
    from docker.errors import APIError, BuildError

    try:
        client.images.build(
            fileobj=io.BytesIO(SLIM_TOOLS.encode()), tag=SLIM_BASE, nocache=force, rm=True, forcerm=True
        )
    except (APIError, BuildError):
        return False
    return True


async def _debian(client: DockerClient, on_progress: OnProgress) -> None:
    """Make DEBIAN_BASE. mmdebstrap, because it takes 17 s where debootstrap takes 165, and the same packages give
    the same archive, bit by bit."""
    if os.geteuid() != 0:
        raise ImageBuildFailed(
            "no image registry answers, and making a base without one needs root; "
            f"run `sudo fastslow sandbox build`, or load {REGISTRY_BASE} with `docker load`"
        )
    if shutil.which("mmdebstrap") is None:
        await apt_install(["mmdebstrap"], on_progress)
    async with scratch() as folder:
        archive = folder / "root.tar"
        # In a mount namespace of its own: what is mounted on the way cannot outlive it.
        command = ["unshare", "--mount", *MMDEBSTRAP, SUITE, str(archive), await _debian_mirror()]
        await run_step("Debian base", command, on_progress)
        on_progress("Importing the base into the daemon", None)
        await in_thread(_import, client, archive)


def _import(client: DockerClient, archive: Path) -> None:
    client.api.import_image_from_file(str(archive), *DEBIAN_BASE.split(":"))


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
