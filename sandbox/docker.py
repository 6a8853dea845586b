"""Sessions in Docker containers: the sandbox that users see, thin above `pool`, `daemons` and `container`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fastslow.sandbox.allow import rules
from fastslow.sandbox.channel import Channel
from fastslow.sandbox.container import Spec
from fastslow.sandbox.daemon import Daemon, docker_client
from fastslow.sandbox.daemons import Daemons
from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.image import build_command, image_manifest, image_tag
from fastslow.sandbox.owner import ContainerInfo
from fastslow.sandbox.packages import Manifest
from fastslow.sandbox.pool import Pool
from fastslow.sandbox.sandbox import Installed, Limits, Network, OnEgress
from fastslow.sandbox.session import DockerSession

if TYPE_CHECKING:
    from docker.tls import TLSConfig

STACK = ("pandas", "numpy", "matplotlib", "duckdb", "openpyxl", "pyarrow")  # what data code is made of


class DockerSandbox:
    """Sessions in Docker containers, one container each, hardened (`container.hardened`), gone at the session's end.

    image: another one than that of `fastslow sandbox build`; it needs `python3` (3.11 or later) and `bash`.
    packages: pip requirements that the image has besides, baked in by `fastslow sandbox build --packages`.
    runtime: an OCI runtime that the daemon knows, such as `"runsc"`; None is the daemon's default.
    network: where code may connect.
    host: the daemon, as `unix://`, `ssh://user@host`, `tcp://host:port` (with tls), or several, which then share the
        sessions; None is what `DOCKER_HOST` names, else the local one. A unix socket stands for this machine.
    pool: how many containers to keep running ahead of their sessions, from the first `session()` or `warm()` on.

    A container ends with its session, and with this process: the guest leaves when its channel closes. What a
    killed process could leave nevertheless is removed when the next one starts its first session, and so is what is
    older than `owner.LIFETIME`, a week.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        image: str | None = None,
        runtime: str | None = None,
        network: Network | None = None,
        host: str | Sequence[str] | None = None,
        tls: TLSConfig | None = None,
        pool: int = 0,
        packages: Sequence[str] = (),
    ) -> None:
        self._limits = limits or Limits()
        rules(network or Network())  # refuses what makes no sense now and not when code asks
        image, build = image or image_tag(packages), build_command(packages)
        self._spec = Spec(self._limits, image, build, runtime, network or Network())
        hosts = [host] if host is None or isinstance(host, str) else host
        self._daemons = Daemons([Daemon(name, tls) for name in hosts])
        self._installed: Installed | None = None
        self._pool = Pool(pool, self._start)
        self._channels: set[Channel] = set()

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def network(self) -> Network:
        return self._spec.network

    @property
    def idle(self) -> int:
        """Containers that the next sessions can take at once."""
        return self._pool.idle

    @property
    def ready(self) -> int:
        """How many of the idle ones have the data stack loaded."""
        return self._pool.ready

    def warm(self) -> None:
        """Start a container in the background, for the next `session()` to take. Needs a running loop."""
        self._pool.fill(1)

    async def installed(self) -> Installed:
        """See `Sandbox.installed`: what data code is made of, what was asked for besides, and commands."""
        if self._installed is None:
            try:
                manifest = await asyncio.to_thread(self._manifest)
            except SandboxError:  # whoever starts a session hears of it
                return Installed()
            names = {package.name for package in manifest.packages}
            wanted = (*STACK, *(canonicalize_name(Requirement(each).name) for each in manifest.requested))
            self._installed = Installed(tuple(name for name in wanted if name in names), manifest.commands)
        return self._installed

    def _manifest(self) -> Manifest:
        with closing(docker_client()) as client:
            return image_manifest(client, self._spec.image)

    async def session(self, *, on_egress: OnEgress | None = None) -> DockerSession:
        """See `Sandbox.session`: about 0.3 s; from the pool, or after `warm`, at once.

        Raises DockerMissing, ImageMissing, or SandboxError with what the daemon said.
        """
        channel = await self._pool.take() or await self._start()
        channel.on_egress = on_egress
        return DockerSession(channel)

    async def ls(self) -> tuple[ContainerInfo, ...]:
        """The containers of all sandboxes, of other processes too, on our daemons. Raises DockerMissing."""
        return await self._daemons.containers()

    async def prune(self) -> int:
        """Remove the containers and folders whose owners live no more, or that are past their time; how many containers
        there were.

        Raises DockerMissing.
        """
        return await self._daemons.prune()

    async def aclose(self) -> None:
        """End all sessions."""
        await self._pool.aclose()
        await asyncio.gather(*(channel.aclose() for channel in list(self._channels)))
        await self._daemons.aclose()

    async def _start(self) -> Channel:
        channel = await self._daemons.start(self._spec, self._ended)
        self._channels.add(channel)
        return channel

    def _ended(self, channel: Channel) -> None:
        self._channels.discard(channel)
        self._pool.forget(channel)
