"""The Docker engine: find it, start it, describe it. docker-py is imported late: it costs 100 ms."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastslow.sandbox.errors import EngineMissing

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

OnProgress = Callable[[str, float | None], None]
"""Called with what happens now, and the fraction done where it is known."""

START_SECONDS = 30.0
LOCAL = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What `fastslow doctor` shows. cgroup: `"1"` or `"2"`. rootless: the daemon runs without root."""

    version: str
    storage_driver: str
    cgroup: str
    runtimes: tuple[str, ...]
    rootless: bool
    cpus: int
    memory: int


def docker_client(timeout: float = 60.0, *, host: str | None = None, tls: TLSConfig | None = None) -> DockerClient:
    """A client of the engine at `host`; None: the one that the environment names (`DOCKER_HOST`) or the local one.

    Raises EngineMissing with the remedy. timeout: seconds of silence before one request fails.
    """
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    from fastslow.sandbox.client import Client

    try:
        _knock(host or os.environ.get("DOCKER_HOST") or LOCAL)
        named = kwargs_from_env() if host is None else {"base_url": host, "tls": tls or False}
        return Client(timeout=int(timeout), **named)
    except (DockerException, OSError) as error:
        raise EngineMissing(_remedy(error, host)) from error


def _knock(host: str) -> None:
    """OSError when nobody listens on the engine's unix socket: docker-py says it vaguely, and leaks the
    socket."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(host.removeprefix("unix://"))


def _remedy(error: BaseException, host: str | None) -> str:
    if isinstance(error, PermissionError):
        return (
            "the Docker engine runs but this user may not speak to it; "
            "run `sudo usermod -aG docker $USER` and log in again (that group is as mighty as root)"
        )
    named = os.environ.get("DOCKER_HOST")
    if named and host in (None, named):
        return f"no Docker engine answers at DOCKER_HOST={named!r}; start it, or unset it to use the local one"
    if host not in (None, LOCAL):
        return f"no Docker engine answers at {host!r} ({error}); start it, or name another one as `host`"
    if shutil.which("dockerd") is None:
        return "no Docker engine is installed; run `fastslow sandbox build`: as root on Debian it installs one"
    return "no Docker engine answers; run `fastslow sandbox build` as root, or `sudo systemctl start docker`"


def engine_facts(client: DockerClient | None = None) -> EngineFacts:
    """Version, drivers and limits of the engine; EngineMissing when none answers."""
    if client is None:
        client = docker_client(timeout=10)
        with contextlib.closing(client):
            return engine_facts(client)
    info: dict[str, Any] = client.info()
    return EngineFacts(
        version=str(info.get("ServerVersion", "")),
        storage_driver=str(info.get("Driver", "")),
        cgroup=str(info.get("CgroupVersion", "1")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        rootless="name=rootless" in (info.get("SecurityOptions") or ()),
        cpus=int(info.get("NCPU", 0)),
        memory=int(info.get("MemTotal", 0)),
    )


async def ensure_engine(on_progress: OnProgress) -> str:
    """Make sure that a Docker engine answers, and return its version.

    Uses the one that answers; else, as root on Debian, installs `docker.io` and starts it. The daemon
    outlives this process. Raises EngineMissing, which names the command to run, where that is not possible.
    """
    on_progress("Looking for a Docker engine", None)
    try:
        return await asyncio.to_thread(_version)
    except EngineMissing:
        if os.environ.get("DOCKER_HOST") or os.geteuid() != 0:
            raise
    if missing := [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]:
        await apt_install(missing, on_progress)
    log = await asyncio.to_thread(_start_daemon)
    on_progress("Starting the Docker engine", None)
    return await _wait(log)


_PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables"}


def _version() -> str:
    client = docker_client(timeout=10)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


async def apt_install(packages: list[str], on_progress: OnProgress) -> None:
    """Install Debian packages; EngineMissing when this is not Debian, not root, or apt fails."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise EngineMissing(
            f"{names} is needed and must be installed by you; on Debian: `sudo apt-get install {names}`"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for what, command in (
        ("Reading Debian's package lists", ["apt-get", "update", "-q"]),
        (f"Installing {names} (Debian)", ["apt-get", "install", "-qy", "--no-install-recommends", *packages]),
    ):
        on_progress(what, None)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            # While it downloads it ends at once; what it has begun to unpack it finishes, so that dpkg stays whole.
            process.send_signal(signal.SIGINT)
            await process.communicate()
            raise
        # A failed update may still leave lists that are good enough; a failed install may not.
        if process.returncode and "install" in command:
            last = output.decode("utf-8", "replace").strip().splitlines()[-3:]
            raise EngineMissing(f"`{' '.join(command)}` failed: {' / '.join(last)}; mend apt, then run this again")


def _start_daemon() -> Path:
    """Start the daemon so that it outlives us: by systemd where that runs, else detached. Returns its log."""
    from platformdirs import user_state_path

    state = user_state_path("fastslow", ensure_exists=True)
    log = state / "dockerd.log"
    with log.open("wb") as output:
        if Path("/run/systemd/system").is_dir():
            subprocess.run(["systemctl", "start", "docker"], stdout=output, stderr=output, check=False)
            return log
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    (state / "dockerd.pid").write_text(f"{process.pid}\n")
    return log


def _tail(log: Path) -> str:
    return " / ".join(log.read_text("utf-8", "replace").strip().splitlines()[-3:])


async def _wait(log: Path) -> str:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            return await asyncio.to_thread(_version)
        except EngineMissing as error:
            if asyncio.get_running_loop().time() > deadline:
                tail = await asyncio.to_thread(_tail, log)
                raise EngineMissing(
                    f"the Docker engine was started and did not answer in {START_SECONDS:.0f} s; "
                    f"its log {log} ends: {tail}"
                ) from error
        await asyncio.sleep(0.2)
