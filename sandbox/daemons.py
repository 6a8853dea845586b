"""The Docker daemons that a sandbox may use, as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from fastslow.sandbox.channel import Channel
from fastslow.sandbox.container import Spec, start_container
from fastslow.sandbox.daemon import Daemon
from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.owner import ContainerInfo

log = logging.getLogger(__name__)


class Daemons:
    """Several daemons as one: a container goes to the one with the fewest sessions for its processors.

    One that fails is left alone for some seconds, unless no other answers either.
    """

    def __init__(self, daemons: Sequence[Daemon]) -> None:
        self._daemons = list(daemons)

    async def start(self, spec: Spec, ended: Callable[[Channel], None]) -> Channel:
        """A container that said hello, on the first daemon that can start it. Raises as `start_container`."""
        untried, errors = list(self._daemons), []
        while untried:
            daemon = min(untried, key=lambda daemon: (daemon.resting, daemon.load))
            untried.remove(daemon)
            try:
                return await self._start_on(daemon, spec, ended)
            except SandboxError as error:
                if untried and not daemon.resting:  # else whoever asked is told
                    log.warning("the Docker daemon at %s failed: %s", daemon.host, error)
                await daemon.fail(error)
                errors.append((daemon, error))
        if len(errors) == 1:
            raise errors[0][1]
        said = "; ".join(f"{daemon.host}: {error}" for daemon, error in errors)
        raise type(errors[0][1])(f"no daemon could start a sandbox: {said}")

    async def _start_on(self, daemon: Daemon, spec: Spec, ended: Callable[[Channel], None]) -> Channel:
        def over(channel: Channel) -> None:
            daemon.channels.discard(channel)
            ended(channel)

        daemon.starting += 1
        try:
            async with daemon.slots:
                channel = await start_container(daemon, spec, over)
            daemon.channels.add(channel)
        finally:
            daemon.starting -= 1
        daemon.resting_until = 0.0
        return channel

    async def containers(self) -> tuple[ContainerInfo, ...]:
        """All containers of all owners, on all daemons. Raises DockerMissing."""
        found = await asyncio.gather(*(daemon.containers() for daemon in self._daemons))
        return tuple(info for infos in found for info in infos)

    async def prune(self) -> int:
        """Remove what dead owners left on all daemons; how many containers that were. Raises DockerMissing."""
        return sum(await asyncio.gather(*(daemon.prune() for daemon in self._daemons)))

    async def aclose(self) -> None:
        """Let go of the daemons."""
        await asyncio.gather(*(asyncio.to_thread(daemon.close) for daemon in self._daemons))
