"""Which model call goes next: so many at once, fast turns before thinking ones, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANDICAP = 30.0  # seconds by which a thinking turn counts as come later than it did
CONCURRENCY = (
    128  # the smallest --max-num-seqs that vLLM gives its API server by itself (0.32: CPU 128, GPU 256 or 1024)
)


@dataclass(slots=True)
class Scheduler:
    """Admits calls of a model: `limit` at once, the others wait here, where their order can still be chosen.

    A fast turn takes seconds and often holds up tools and steps; a thinking one takes long anyhow. So fast turns go
    first, and within a class who came first. A thinking turn is overtaken by those fast turns alone that come within
    `handicap` seconds after it: ageing by a fixed handicap, which is first come first served with a late start.
    """

    limit: int = CONCURRENCY
    handicap: float = HANDICAP
    running: int = 0
    _waiting: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"at least 1 call must be allowed at once, got {self.limit}")

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for _, _, turn in self._waiting)

    @asynccontextmanager
    async def turn(self, thinks: bool) -> AsyncIterator[None]:
        """Hold one of the places; waits for it."""
        await self._enter(thinks)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, thinks: bool) -> None:
        if self.running < self.limit:
            self.running += 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (loop.time() + thinks * self.handicap, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place came in the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        """Hand the place on to whoever is next, else give it back."""
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():  # not one that was cancelled
                turn.set_result(None)
                return
        self.running -= 1
