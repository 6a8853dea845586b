"""A crew whose rows are carried out elsewhere, in places that may die: processes, or actors on other machines.

This process alone reads the input and writes what came of it; it hands rows out and takes results back. A row belongs
to the place it was handed to until that answers or is dead: no clock takes a row from a place that still works on it.
Rows of a place that died are handed out again, and the place is filled anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol, Self, TypeAlias

from fastslow.agent.errors import WorkersFailed
from fastslow.agent.events import Exit
from fastslow.agent.flow.row import Row
from fastslow.agent.many import as_they_come
from fastslow.agent.record.jobs import StepResult

STARTS = 3  # of a worker in a row that die before they are ready; then nobody is put in its place any more
SHARED = 2  # deaths of workers that had a row, among others; after that it gets one alone, and that decides
LEAVING = 20.0  # seconds that a worker has to cancel its runs and to take their containers away
DIED = "worker died"  # the kind of failure of a row that its workers die of


class WorkerDied(Exception):
    """It is gone, and what it was handed is to be handed out again. The message says what is known of it."""


class Worker(Protocol):
    """One that carries rows out until it dies."""

    async def do(self, row: Row) -> StepResult:
        """WorkerDied; AgentError and SandboxError where the worker could not go on."""
        ...

    async def end(self) -> None:
        """It leaves what it has in hand, and goes."""
        ...


Start: TypeAlias = Callable[[], Awaitable[Worker]]
"""Starts a worker that is ready for rows. WorkerDied; AgentError and SandboxError where none could be ready."""


class Elsewhere:
    """A crew of workers, one for each of `starts`. at_once: rows that all of them together have in hand.

    A row that three workers died of, the last of them with nothing else in hand, failed. Raises WorkersFailed where no
    worker can be started any more.
    """

    def __init__(self, starts: Sequence[Start], at_once: int) -> None:
        self.at_once = at_once
        self._seats = [_Seat(start) for start in starts]
        self._alone = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            outcomes = await asyncio.gather(*(seat.worker() for seat in self._seats), return_exceptions=True)
            errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            for error in errors:
                if not isinstance(error, WorkersFailed) or len(errors) == len(self._seats):
                    raise error
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(seat.end() for seat in self._seats))

    async def carry_out(self, rows: Iterable[Row]) -> AsyncGenerator[StepResult, None]:
        async with aclosing(as_they_come((self._one(row) for row in rows), self.at_once)) as results:
            async for result in results:
                yield result

    async def _one(self, row: Row) -> StepResult:
        deaths = 0
        while deaths < SHARED:
            try:
                return await self._least_busy().do(row)
            except WorkerDied:
                deaths += 1
            except WorkersFailed:  # of one seat; the others go on
                continue
        async with self._alone:
            return await self._by_itself(row)

    async def _by_itself(self, row: Row) -> StepResult:
        seat = _Seat(self._least_busy().start)
        try:
            return await seat.do(row)
        except WorkerDied as died:
            reason = f"{SHARED + 1} workers died of this row; of the last one: {died}"
            return StepResult(row.key, row.id, Exit.FAILED, reason=reason, failure=DIED)
        finally:
            await seat.end()

    def _least_busy(self) -> _Seat:
        able = [seat for seat in self._seats if not seat.given_up]
        if not able:
            raise WorkersFailed(self._seats[-1].given_up)
        return min(able, key=lambda seat: seat.busy)


class _Seat:
    """Where one worker is at a time; when it died, another one takes its place. busy: rows in hand. given_up: why
    nobody can take it any more."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.busy = 0
        self.given_up = ""
        self._worker: Worker | None = None
        self._starting = asyncio.Lock()

    async def do(self, row: Row) -> StepResult:
        """WorkerDied; WorkersFailed where nobody can be started."""
        self.busy += 1
        try:
            worker = await self.worker()
            try:
                return await worker.do(row)
            except WorkerDied:
                if self._worker is worker:  # and nobody has taken its place meanwhile
                    self._worker = None
                await worker.end()
                raise
        finally:
            self.busy -= 1

    async def worker(self) -> Worker:
        async with self._starting:
            if not self._worker:
                self._worker = await self._started()
            return self._worker

    async def _started(self) -> Worker:
        if self.given_up:
            raise WorkersFailed(self.given_up)
        reason = ""
        for _ in range(STARTS):
            try:
                return await self.start()
            except WorkerDied as died:
                reason = str(died)
        self.given_up = (
            f"no worker can be started: {STARTS} of them died before they were ready; of the last one: {reason}"
        )
        raise WorkersFailed(self.given_up)

    async def end(self) -> None:
        if self._worker:
            await self._worker.end()
