"""A function over the items of a flow's map, some at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from fastslow.agent.errors import ConfigurationError, JournalError
from fastslow.agent.flow.keys import key_of
from fastslow.agent.flow.memory import StepFailed, Waiting, exit_of, place
from fastslow.agent.record.jobs import StepResult
from fastslow.tools.foreign import described


@dataclass(frozen=True, slots=True)
class OverItems:
    """A function over items, some at once. key: of the map's step. keeps: one that failed does not end the rest."""

    name: str
    key: str
    function: Callable[[Any], Awaitable[Any]]
    room: asyncio.Semaphore
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    _: KW_ONLY
    keeps: bool

    async def all(self, items: Sequence[Any]) -> list[Any]:
        """What came of each: its value, StepFailed, or Waiting; None where it was not begun any more."""
        places = Counter[str]()
        tasks = []
        for number, item in enumerate(items):
            content = _item(item, number)
            places[content] += 1
            tasks.append(asyncio.create_task(self._one(item, number, f"{self.key}/{content}-{places[content]}")))
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, item: Any, number: int, here: str) -> Any:
        place.set(here)
        async with self.room:
            if self.failed.is_set():
                return None
            try:
                return await self.function(item)
            except JournalError:
                raise
            except Waiting as waiting:
                return waiting
            except Exception as error:
                if not self.keeps:
                    self.failed.set()
                return _failure(error, f"{self.name} {number + 1}")


def _item(item: Any, number: int) -> str:
    """What tells the items of a map apart: their content, or their number where nobody can tell that."""
    try:
        return key_of("item", "", {"item": item})[:16]
    except ConfigurationError:
        return str(number)


def _failure(error: Exception, name: str) -> StepFailed:
    """The error value of an item of a map."""
    if isinstance(error, StepFailed):
        return error
    failed = StepFailed(StepResult("", name, exit_of(error), reason=described(error), failure=type(error).__name__))
    failed.__cause__ = error
    return failed
