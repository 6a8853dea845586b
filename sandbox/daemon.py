"""A Docker daemon: how it is reached, what it is, and how it does. docker-py is imported late: it costs 100 ms."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastslow.sandbox.channel import Channel
from fastslow.sandbox.errors import DockerMissing, SandboxError
from fastslow.sandbox.owner import ContainerInfo, Owner, list_containers, reap, reap_folders, remove

if TYPE_CHECKING:
    from docker import APIClient, DockerClient
    from docker.tls import TLSConfig

LOCAL = "unix:///var/run/docker.sock"
REST_SECONDS = 5.0  # how long a daemon that failed is left alone while others answer
AT_ONCE = 4  # containers that start side by side on one daemon: more only share its processors
TUNNEL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class DockerFacts:
    """What `fastslow doctor` shows. cgroup: `"1"` or `"2"`. rootless: the daemon runs without root."""

    version: str
    storage_driver: str
    cgroup: str
    runtimes: tuple[str, ...]
    rootless: bool
    cpus: int
    memory: int


def docker_client(timeout: float = 60.0, *, host: str | None = None, tls: TLSConfig | None = None) -> DockerClient:
    """A client of the daemon at `host`; None: the one that the environment names (`DOCKER_HOST`) or the local one.

    Raises DockerMissing with the remedy. timeout: seconds of silence before one request fails.
    """
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    from fastslow.sandbox.client import Client

    try:
        _check_socket(host or os.environ.get("DOCKER_HOST") or LOCAL)
        named = kwargs_from_env() if host is None else {"base_url": host, "tls": tls or False}
        return Client(timeout=int(timeout), **named)
    except (DockerException, OSError) as error:
        raise DockerMissing(_remedy(error, host)) from error


def _check_socket(host: str) -> None:
    """OSError when nobody listens on the daemon's unix socket: docker-py says it vaguely, and leaks the
    socket."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probing:
            probing.connect(host.removeprefix("unix://"))


def _remedy(error: BaseException, host: str | None) -> str:
    if isinstance(error, PermissionError):
        return (
            "the Docker daemon runs but this user may not speak to it; "
            "run `sudo usermod -aG docker $USER` and log in again (that group is as mighty as root)"
        )
    named = os.environ.get("DOCKER_HOST")
    if named and host in (None, named):
        return f"no Docker daemon answers at DOCKER_HOST={named!r}; start it, or unset it to use the local one"
    if host not in (None, LOCAL):
        return f"no Docker daemon answers at {host!r} ({error}); start it, or name another one as `host`"
    if shutil.which("dockerd") is None:
        return "Docker is not installed; run `fastslow sandbox build`: as root on Debian it installs Docker"
    return "no Docker daemon answers; run `fastslow sandbox build` as root, or `sudo systemctl start docker`"


def docker_facts(client: DockerClient | None = None) -> DockerFacts:
    """Version, drivers and limits of the daemon; DockerMissing when none answers."""
    if client is None:
        client = docker_client(timeout=10)
        with contextlib.closing(client):
            return docker_facts(client)
    info: dict[str, Any] = client.info()
    return DockerFacts(
        version=str(info.get("ServerVersion", "")),
        storage_driver=str(info.get("Driver", "")),
        cgroup=str(info.get("CgroupVersion", "1")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        rootless="name=rootless" in (info.get("SecurityOptions") or ()),
        cpus=int(info.get("NCPU", 0)),
        memory=int(info.get("MemTotal", 0)),
    )


class Tunnel:
    """A daemon behind ssh, as a unix socket of ours: one connection, by the user's own `ssh` and its settings.

    It ends with us, however we end: its far side waits for the end of our pipe.
    """

    def __init__(self, host: str) -> None:
        address = urlsplit(host)
        if not address.hostname or address.hostname.startswith("-"):
            raise ValueError(f"a daemon behind ssh is named as ssh://user@host:port, got {host!r}")
        self._folder = Owner.me().folder()
        self.base = f"unix://{self._folder}/daemon"
        options = ["BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "StreamLocalBindMask=0177"]
        self._process = subprocess.Popen(
            [
                *("ssh", "-T", *(word for option in options for word in ("-o", option))),
                *("-L", f"{self._folder}/daemon:{address.path or '/var/run/docker.sock'}"),
                *(("-l", address.username) if address.username else ()),
                *(("-p", str(address.port)) if address.port else ()),
                *("--", address.hostname, "echo ready; exec cat"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is ours, not its
        )
        watchdog = threading.Timer(TUNNEL_SECONDS, self._process.kill)
        watchdog.start()
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        greeting = self._process.stdout.readline()
        watchdog.cancel()
        if greeting != b"ready\n":
            raise DockerMissing(f"ssh did not reach {host!r}: {self.close()}; see that `ssh` gets there by itself")

    def close(self) -> str:
        """End it; what ssh complained of."""
        self._process.terminate()
        said = self._process.communicate()[1].decode("utf-8", "replace").strip()
        shutil.rmtree(self._folder, ignore_errors=True)
        return said or "it said nothing"


class Daemon:
    """One daemon: how to reach it, how it does, and how many sessions it holds for us.

    local: it runs on this machine, so a folder can be shared with it. machine, cpus: of where it runs.
    base: where its API is; known once `connect` returned, as tls is.
    """

    def __init__(self, host: str | None, tls: TLSConfig | None) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or LOCAL
        self.local = self.host.startswith("unix://")
        self.base = self.host
        self.tls = tls
        self.machine = platform.machine()
        self.cpus = os.cpu_count() or 1
        self.starting = 0
        self.channels: set[Channel] = set()
        self.resting_until = 0.0
        self.slots = asyncio.Semaphore(AT_ONCE)
        self._from_environment = host is None
        self._client: DockerClient | None = None
        self._tunnel: Tunnel | None = None
        self._connecting = threading.Lock()
        self._to_remove: set[str] = set()  # containers that could not be removed while the daemon was away

    @property
    def load(self) -> float:
        """Containers for each processor."""
        return (self.starting + len(self.channels)) / self.cpus

    @property
    def resting(self) -> bool:
        return time.monotonic() < self.resting_until

    async def connect(self) -> APIClient:
        """A client of a daemon that answers, cleaned of what dead owners left. Raises DockerMissing."""
        return await asyncio.to_thread(self._connect)

    async def remove(self, name: str) -> None:
        """Remove a container; later, when the daemon does not answer now."""
        await asyncio.to_thread(self._remove, name)

    async def prune(self) -> int:
        """Remove what dead owners left; how many containers that were. Raises DockerMissing."""
        return await asyncio.to_thread(self._prune)

    async def containers(self) -> list[ContainerInfo]:
        """Raises DockerMissing."""
        return await asyncio.to_thread(self._containers)

    async def fail(self, error: SandboxError) -> None:
        """Leave it alone for a while; if it went away, connect anew then."""
        self.resting_until = time.monotonic() + REST_SECONDS
        if isinstance(error, DockerMissing):
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        with self._connecting:
            client, self._client = self._client, None
            tunnel, self._tunnel = self._tunnel, None
        if client is not None:
            client.close()
        if tunnel is not None:
            tunnel.close()

    # -- in threads: docker-py blocks

    def _connect(self) -> APIClient:
        with self._connecting:
            if self._client is None:
                self._client = self._open()
            return self._client.api

    def _open(self) -> DockerClient:
        import requests
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env

        if self._from_environment:
            self.tls = kwargs_from_env().get("tls", self.tls)
        if self.host.startswith("ssh://"):
            self._tunnel = self._tunnel or Tunnel(self.host)
            self.base = self._tunnel.base
        client = docker_client(host=self.base, tls=self.tls)
        try:
            if not self.local:
                facts = client.info()
                self.machine, self.cpus = facts["Architecture"], facts["NCPU"]
            for name in self._to_remove:
                remove(client.api, name)
            self._to_remove.clear()
            reap(client.api, Owner.me())
        except (DockerException, requests.RequestException) as error:
            client.close()
            raise DockerMissing(f"the Docker daemon at {self.host!r} does not do its work: {error}") from error
        reap_folders(Owner.me())
        return client

    def _remove(self, name: str) -> None:
        import requests

        try:
            remove(self._connect(), name)
        except (DockerMissing, requests.RequestException):
            self._to_remove.add(name)
            self.close()  # it is removed when the daemon is there again

    def _prune(self) -> int:
        import requests

        try:
            count = reap(self._connect(), Owner.me())
        except requests.RequestException as error:
            raise DockerMissing(f"the Docker daemon at {self.host!r} went away: {error}") from error
        reap_folders(Owner.me())
        return count

    def _containers(self) -> list[ContainerInfo]:
        import requests

        try:
            return list_containers(self._connect(), self.host, Owner.me())
        except requests.RequestException as error:
            raise DockerMissing(f"the Docker daemon at {self.host!r} went away: {error}") from error
