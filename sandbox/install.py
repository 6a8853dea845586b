"""Docker on this machine: installed and started where no daemon answers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from fastslow.sandbox.daemon import docker_client
from fastslow.sandbox.errors import DockerMissing

OnProgress = Callable[[str, float | None], None]
"""Called with what happens now, and the fraction done where it is known."""

START_SECONDS = 30.0


async def ensure_docker(on_progress: OnProgress) -> str:
    """Make sure that a Docker daemon answers, and return its version.

    Uses the one that answers; else, as root on Debian, installs `docker.io` and starts it. The daemon
    outlives this process. Raises DockerMissing, which names the command to run, where that is not possible.
    """
    on_progress("Looking for a Docker daemon", None)
    try:
        return await asyncio.to_thread(_version)
    except DockerMissing:
        if os.environ.get("DOCKER_HOST") or os.geteuid() != 0:
            raise
    if missing := [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]:
        await apt_install(missing, on_progress)
    log = await asyncio.to_thread(_start_daemon)
    on_progress("Starting the Docker daemon", None)
    return await _wait(log)


_PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables"}


def _version() -> str:
    client = docker_client(timeout=10)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


async def apt_install(packages: list[str], on_progress: OnProgress) -> None:
    """Install Debian packages; DockerMissing when this is not Debian, not root, or apt fails."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise DockerMissing(
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
            raise DockerMissing(f"`{' '.join(command)}` failed: {' / '.join(last)}; mend apt, then run this again")


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
        except DockerMissing as error:
            if asyncio.get_running_loop().time() > deadline:
                tail = await asyncio.to_thread(_tail, log)
                raise DockerMissing(
                    f"the Docker daemon was started and did not answer in {START_SECONDS:.0f} s; "
                    f"its log {log} ends: {tail}"
                ) from error
        await asyncio.sleep(0.2)
