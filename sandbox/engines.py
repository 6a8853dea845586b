"""The Docker engines that a sandbox may use: one, or several as one pool."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastslow.sandbox.connection import Connection
from fastslow.sandbox.container import Spec, start_container
from fastslow.sandbox.engine import LOCAL, docker_client
from fastslow.sandbox.errors import EngineMissing, SandboxError
from fastslow.sandbox.owner import ContainerInfo, Owner, list_containers, reap, reap_folders, remove

if TYPE_CHECKING:
    from docker import APIClient, DockerClient
    from docker.tls import TLSConfig

REST_SECONDS = 5.0  # how long an engine that failed is left alone while others answer
AT_ONCE = 4  # containers that start side by side on one engine: more only share its processors
TUNNEL_SECONDS = 20.0

log = logging.getLogger(__name__)


class Tunnel:
    """An engine behind ssh, as a unix socket of ours: one connection, by the user's own `ssh` and its settings.

    It ends with us, however we end: its far side waits for the end of our pipe.
    """

    def __init__(self, host: str, owner: Owner) -> None:
        address = urlsplit(host)
        if not address.hostname or address.hostname.startswith("-"):
            raise ValueError(f"an engine behind ssh is named as ssh://user@host:port, got {host!r}")
        self._folder = owner.folder()
        self.base = f"unix://{self._folder}/engine"
        options = ["BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "StreamLocalBindMask=0177"]
        self._process = subprocess.Popen(
            [
                *("ssh", "-T", *(word for option in options for word in ("-o", option))),
                *("-L", f"{self._folder}/engine:{address.path or '/var/run/docker.sock'}"),
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
            raise EngineMissing(f"ssh did not reach {host!r}: {self.close()}; see that `ssh` gets there by itself")

    def close(self) -> str:
        """End it; what ssh complained of."""
        self._process.terminate()
        said = self._process.communicate()[1].decode("utf-8", "replace").strip()
        shutil.rmtree(self._folder, ignore_errors=True)
        return said or "it said nothing"


class Engine:
    """One engine: how to reach it, how it does, and how many sessions it holds for us.

    local: it runs on this machine, so a folder can be shared with it. machine, cpus: of where it runs.
    base: where its API is; known once `connect` returned, as tls is.
    """

    def __init__(self, host: str | None, tls: TLSConfig | None, owner: Owner) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or LOCAL
        self.local = self.host.startswith("unix://")
        self.base = self.host
        self.tls = tls
        self.machine = platform.machine()
        self.cpus = os.cpu_count() or 1
        self.starting = 0
        self.connections: set[Connection] = set()
        self.rests_until = 0.0
        self.slots = asyncio.Semaphore(AT_ONCE)
        self._from_environment = host is None
        self._owner = owner
        self._client: DockerClient | None = None
        self._tunnel: Tunnel | None = None
        self._connecting = threading.Lock()
        self._owed: set[str] = set()  # containers that could not be removed while the engine was away

    @property
    def load(self) -> float:
        """Containers for each processor."""
        return (self.starting + len(self.connections)) / self.cpus

    @property
    def rests(self) -> bool:
        return time.monotonic() < self.rests_until

    async def connect(self) -> APIClient:
        """A client of an engine that answers, cleaned of what dead owners left. Raises EngineMissing."""
        return await asyncio.to_thread(self._connect)

    async def remove(self, name: str) -> None:
        """Remove a container; later, when the engine does not answer now."""
        await asyncio.to_thread(self._remove, name)

    async def prune(self) -> int:
        """Remove what dead owners left; how many containers that were. Raises EngineMissing."""
        return await asyncio.to_thread(self._prune)

    async def containers(self) -> list[ContainerInfo]:
        """Raises EngineMissing."""
        return await asyncio.to_thread(self._containers)

    async def fail(self, error: SandboxError) -> None:
        """Leave it alone for a while; if it went away, connect anew then."""
        self.rests_until = time.monotonic() + REST_SECONDS
        if isinstance(error, EngineMissing):
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
            self._tunnel = self._tunnel or Tunnel(self.host, self._owner)
            self.base = self._tunnel.base
        client = docker_client(host=self.base, tls=self.tls)
        try:
            if not self.local:
                facts = client.info()
                self.machine, self.cpus = facts["Architecture"], facts["NCPU"]
            for name in self._owed:
                remove(client.api, name)
            self._owed.clear()
            reap(client.api, self._owner)
        except (DockerException, requests.RequestException) as error:
            client.close()
            raise EngineMissing(f"the Docker engine at {self.host!r} does not do its work: {error}") from error
        reap_folders(self._owner)
        return client

    def _remove(self, name: str) -> None:
        import requests

        try:
            remove(self._connect(), name)
        except (EngineMissing, requests.RequestException):
            self._owed.add(name)
            self.close()  # what it owes is seen to when it is there again

    def _prune(self) -> int:
        import requests

        try:
            count = reap(self._connect(), self._owner)
        except requests.RequestException as error:
            raise EngineMissing(f"the Docker engine at {self.host!r} went away: {error}") from error
        reap_folders(self._owner)
        return count

    def _containers(self) -> list[ContainerInfo]:
        import requests

        try:
            return list_containers(self._connect(), self.host, self._owner)
        except requests.RequestException as error:
            raise EngineMissing(f"the Docker engine at {self.host!r} went away: {error}") from error


class Engines:
    """Several engines as one: a container goes to the one with the fewest sessions for its processors.

    One that fails is left alone for some seconds, unless no other answers either.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = list(engines)

    async def start(self, spec: Spec, ended: Callable[[Connection], None]) -> Connection:
        """A container that said hello, on the first engine that can start it. Raises as `start_container`."""
        untried, errors = list(self._engines), []
        while untried:
            engine = min(untried, key=lambda engine: (engine.rests, engine.load))
            untried.remove(engine)
            try:
                return await self._start_on(engine, spec, ended)
            except SandboxError as error:
                if untried and not engine.rests:  # else whoever asked is told
                    log.warning("the Docker engine at %s failed: %s", engine.host, error)
                await engine.fail(error)
                errors.append((engine, error))
        if len(errors) == 1:
            raise errors[0][1]
        said = "; ".join(f"{engine.host}: {error}" for engine, error in errors)
        raise type(errors[0][1])(f"no engine could start a sandbox: {said}")

    async def _start_on(self, engine: Engine, spec: Spec, ended: Callable[[Connection], None]) -> Connection:
        def over(connection: Connection) -> None:
            engine.connections.discard(connection)
            ended(connection)

        engine.starting += 1
        try:
            async with engine.slots:
                connection = await start_container(engine, spec, over)
            engine.connections.add(connection)
        finally:
            engine.starting -= 1
        engine.rests_until = 0.0
        return connection

    async def containers(self) -> tuple[ContainerInfo, ...]:
        """All containers of all owners, on all engines. Raises EngineMissing."""
        found = await asyncio.gather(*(engine.containers() for engine in self._engines))
        return tuple(info for infos in found for info in infos)

    async def prune(self) -> int:
        """Remove what dead owners left on all engines; how many containers that were. Raises EngineMissing."""
        return sum(await asyncio.gather(*(engine.prune() for engine in self._engines)))

    async def aclose(self) -> None:
        """Let go of the engines."""
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in self._engines))
