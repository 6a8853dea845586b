"""What a run may spend, and the one ledger that all its branches write to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields

from agent.engine.types import Reply
from agent.events import ModeUsage
from agent.modes import Mode


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run; None is no limit.

    turns: model calls. tokens: generated tokens, thinking included. thinking_tokens: of these, spent on thinking.
    seconds: wall clock of the whole run.
    """

    turns: int | None = 60
    tokens: int | None = None
    thinking_tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and value <= 0:
                raise ValueError(f"a budget's {limit.name} must be above 0 or None for no limit, got {value}")


class BudgetSpent(Exception):
    """Ends a run from wherever it is; the text says which limit was reached."""


@dataclass(slots=True)
class Ledger:
    """What was spent so far, by mode, against one budget."""

    budget: Budget
    usage: dict[str, ModeUsage] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def turns(self) -> int:
        return sum(row.turns for row in self.usage.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def add(self, mode: Mode, reply: Reply) -> None:
        row = self.usage.get(mode.name, ModeUsage())
        self.usage[mode.name] = ModeUsage(row.turns + 1, row.usage + reply.usage)

    def check(self) -> None:
        """Raises `BudgetSpent` before a turn that the budget does not allow."""
        thinking = sum(row.usage.thinking for row in self.usage.values())
        answer = sum(row.usage.answer for row in self.usage.values())
        spent = {
            "turns": self.turns,
            "tokens": thinking + answer,
            "thinking_tokens": thinking,
            "seconds": self.seconds,
        }
        for name, value in spent.items():
            limit = getattr(self.budget, name)
            if limit is not None and value >= limit:
                raise BudgetSpent(f"the budget of {limit:g} {name.replace('_', ' ')} is spent ({value:.0f} used)")

    def thinking_left(self) -> int | None:
        """Thinking tokens that a turn may still take; None is no limit."""
        if self.budget.thinking_tokens is None:
            return None
        return max(0, self.budget.thinking_tokens - sum(row.usage.thinking for row in self.usage.values()))

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Bound one wait by what is left of the run's seconds; raises `BudgetSpent` when they are over."""
        left = None if self.budget.seconds is None else max(0.0, self.budget.seconds - self.seconds)
        try:
            async with asyncio.timeout(left) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise BudgetSpent(f"the budget of {self.budget.seconds:g} seconds is spent") from None
