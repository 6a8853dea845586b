"""Containers that run ahead of the sessions that will take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastslow.sandbox.channel import Channel
from fastslow.sandbox.errors import SandboxError

RETRY_SECONDS = (1.0, 30.0)  # after a failed start; doubled from the first to the last

log = logging.getLogger(__name__)


class Pool:
    """Keeps `size` containers ready and starts another for each that is taken, one at a time.

    A container is handed out once and never comes back: what one tenant leaves in it nobody else sees.
    """

    def __init__(self, size: int, start: Callable[[], Awaitable[Channel]]) -> None:
        self._size = self._target = size
        self._start = start
        self._idle: list[Channel] = []
        self._filling: asyncio.Task[None] | None = None
        self._starting = False
        self._waiter: asyncio.Future[Channel] | None = None  # who gets the container that starts now

    @property
    def idle(self) -> int:
        """How many can be taken at once."""
        return sum(channel.alive for channel in self._idle)

    @property
    def ready(self) -> int:
        """How many of those have the data stack loaded."""
        return sum(channel.alive and channel.ready.is_set() for channel in self._idle)

    def fill(self, target: int) -> None:
        """Start to fill up in the background, to `target` this time if the pool is smaller."""
        self._target = max(self._size, target)
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())

    async def take(self) -> Channel | None:
        """A running container, one with the data stack loaded if there is one; None when all are out.

        Raises what the start raised of the one that was under way.
        """
        self._target = self._size
        self._idle = [channel for channel in self._idle if channel.alive]
        try:
            if self._idle:
                taken = next((one for one in self._idle if one.ready.is_set()), self._idle[0])
                self._idle.remove(taken)
                return taken
            if self._starting and (self._waiter is None or self._waiter.done()):
                return await self._wait_for_start()
            return None
        finally:
            if self._size:
                self.fill(self._size)

    def forget(self, channel: Channel) -> None:
        """It is over; if it was idle, another takes its place."""
        if channel in self._idle:
            self._idle.remove(channel)
            self.fill(self._target)

    async def aclose(self) -> None:
        """End all that are idle or starting."""
        self._target = 0
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(channel.aclose() for channel in idle))

    async def _wait_for_start(self) -> Channel:
        waiter: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._idle.append(waiter.result())
            raise

    async def _fill(self) -> None:
        pause = RETRY_SECONDS[0]
        while len(self._idle) < self._target:
            self._starting = True
            outcome: Channel | Exception
            try:
                outcome, pause = await self._start(), RETRY_SECONDS[0]
            except (SandboxError, OSError) as error:
                outcome = error
            finally:
                self._starting = False
            handed_over = self._hand_over(outcome)
            if isinstance(outcome, Channel):
                self._idle += [] if handed_over else [outcome]
                continue
            log.warning("no container could be started ahead: %s", outcome)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS[1])

    def _hand_over(self, outcome: Channel | Exception) -> bool:
        """Give what a start led to to whoever waits for it; False when nobody does."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return False
        if isinstance(outcome, Channel):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)
        return True
