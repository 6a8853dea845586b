"""Asking again: what failures may pass, how often and how long another try is made, and the pauses between."""

from __future__ import annotations

import asyncio
import random
import time

from fastslow.agent.errors import EngineError

RETRIES = 5
FIRST_PAUSE = 0.5  # seconds; doubles with each retry, and the actual pause is drawn between 0 and it ("full jitter")
LONGEST_PAUSE = 10.0  # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
LONGEST_RETRY_AFTER = 60.0  # a server that asks for more is not waited for
PATIENCE = 300.0  # for a server that is away or full: a restart loads weights for minutes


class TryAgain(Exception):
    """A failure that may pass.

    error: what to raise when it does not. pause: seconds, if the server says. away: nobody is there, or it is full,
    which no number of quick tries mends. stalled: it fell silent in mid-answer, which is worth one more try.
    """

    def __init__(
        self, error: EngineError, pause: float | None = None, *, away: bool = False, stalled: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause
        self.away = away
        self.stalled = stalled


class Retries:
    """Counts the failures of one call and waits between them.

    most: tries after the first. patience: seconds for which a server that is away may be tried, however often; None
    counts such a try like any other.
    """

    def __init__(self, most: int, patience: float | None = None) -> None:
        self._most = most
        self._patience = patience
        self._used = self._pauses = self._stalls = 0
        self._away_since: float | None = None

    async def wait(self, failure: TryAgain) -> None:
        """Sleep before the next try. Raises the failure's error when no try is left."""
        if self._spent(failure) or (failure.pause or 0) > LONGEST_RETRY_AFTER:
            raise failure.error from failure
        pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._pauses))  # noqa: S311
        self._pauses = min(self._pauses + 1, 16)
        await asyncio.sleep(pause + (failure.pause or 0))

    def _spent(self, failure: TryAgain) -> bool:
        if failure.away and self._patience is not None:
            now = time.monotonic()
            self._away_since = now if self._away_since is None else self._away_since
            return now - self._away_since >= self._patience
        self._away_since = None
        self._used += 1
        self._stalls += failure.stalled
        return self._used > self._most or self._stalls > 1
