"""Containers that run ahead of the sessions that will take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastslow.sandbox.connection import Connection
from fastslow.sandbox.errors import SandboxError

RETRY_SECONDS = (1.0, 30.0)  # after a failed start; doubled from the first to the last

log = logging.getLogger(__name__)


class Pool:
    """Keeps `size` containers ready and starts another for each that is taken, one at a time.

    A container is handed out once and never comes back: what one tenant leaves in it nobody else sees.
    """

    def __init__(self, size: int, start: Callable[[], Awaitable[Connection]]) -> None:
        self._size = self._target = size
        self._start = start
        self._idle: list[Connection] = []
        self._filling: asyncio.Task[None] | None = None
        self._starting = False
        self._heir: asyncio.Future[Connection] | None = None  # who gets the container that starts now

    @property
    def idle(self) -> int:
        """How many can be taken at once."""
        return sum(connection.alive for connection in self._idle)

    @property
    def ready(self) -> int:
        """How many of those have the data stack loaded."""
        return sum(connection.alive and connection.ready.is_set() for connection in self._idle)

    def fill(self, target: int) -> None:
        """Start to fill up in the background, to `target` this time if the pool is smaller."""
        self._target = max(self._size, target)
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())

    async def take(self) -> Connection | None:
        """A running container, one with the data stack loaded if there is one; None when all are out.

        Raises what the start raised of the one that was under way.
        """
        self._target = self._size
        self._idle = [connection for connection in self._idle if connection.alive]
        try:
            if self._idle:
                taken = next((one for one in self._idle if one.ready.is_set()), self._idle[0])
                self._idle.remove(taken)
                return taken
            if self._starting and (self._heir is None or self._heir.done()):
                return await self._inherit()
            return None
        finally:
            if self._size:
                self.fill(self._size)

    def forget(self, connection: Connection) -> None:
        """It is over; if it was idle, another takes its place."""
        if connection in self._idle:
            self._idle.remove(connection)
            self.fill(self._target)

    async def aclose(self) -> None:
        """End all that are idle or starting."""
        self._target = 0
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.aclose() for connection in idle))

    async def _inherit(self) -> Connection:
        heir: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._heir = heir
        try:
            return await heir
        except asyncio.CancelledError:
            if heir.done() and not heir.cancelled() and heir.exception() is None:
                self._idle.append(heir.result())
            raise

    async def _fill(self) -> None:
        pause = RETRY_SECONDS[0]
        while len(self._idle) < self._target:
            self._starting = True
            outcome: Connection | Exception
            try:
                outcome, pause = await self._start(), RETRY_SECONDS[0]
            except (SandboxError, OSError) as error:
                outcome = error
            finally:
                self._starting = False
            inherited = self._bequeath(outcome)
            if isinstance(outcome, Connection):
                self._idle += [] if inherited else [outcome]
                continue
            log.warning("no container could be started ahead: %s", outcome)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS[1])

    def _bequeath(self, outcome: Connection | Exception) -> bool:
        """Give what a start led to to whoever waits for it; False when nobody does."""
        heir, self._heir = self._heir, None
        if heir is None or heir.done():
            return False
        if isinstance(outcome, Connection):
            heir.set_result(outcome)
        else:
            heir.set_exception(outcome)
        return True
