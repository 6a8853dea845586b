"""What a run may spend, and the one ledger that all its branches write to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.events import ModeUsage
from fastslow.agent.modes import Mode
from fastslow.agent.plan import OWN
from fastslow.tools import ToolError

CALL_SECONDS = 600.0  # that one execution may take at most, where the sandbox is not the user's own
NEARLY = 0.9  # of a limit; the model is then told to finish
T = TypeVar("T")
LIMITS = ("turns", "tokens", "thinking_tokens", "tool_calls", "seconds", "cost")


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency: of a prompt, of a prompt's part that the server had in its prefix
    cache, and generated ones, thinking included. The server is the user's own, so nobody else knows.

    >>> Prices(prompt=1.0, cached=0.1, generated=4.0).cost(Usage(prompt=2_000_000, cached=1_000_000, answer=500_000))
    3.1
    """

    prompt: float
    cached: float
    generated: float

    def __post_init__(self) -> None:
        for price in fields(self):
            value = getattr(self, price.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"a price is 0 or more for a million tokens, got {price.name}={value}")

    def cost(self, usage: Usage) -> float:
        cached = min(usage.cached, usage.prompt)
        generated = usage.thinking + usage.answer
        spent = (usage.prompt - cached) * self.prompt + cached * self.cached + generated * self.generated
        return spent / 1_000_000


@dataclass(frozen=True, slots=True)
class StepBudget:
    """Limits of one step of a plan, which fails when it reaches one; None is no limit. Units are those of `Budget`."""

    turns: int | None = 30
    tokens: int | None = None
    thinking_tokens: int | None = None
    tool_calls: int | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"a budget's {name} must be above 0 or None for no limit, got {value}")


@dataclass(frozen=True, slots=True)
class Budget(StepBudget):
    """Limits of one run, which ends when it reaches one; None is no limit.

    turns: model calls. tokens: generated tokens, thinking included. thinking_tokens: of these, spent on thinking.
    tool_calls: calls that the model makes; those that its code makes are not counted. seconds: wall clock.
    cost: of all model calls, by `prices`. step: limits of each step of a plan.

    What a turn spends is known when it has ended, so turns side by side may go over a limit by one each. One call of a
    tool has the tool's own `timeout`, and what is left of its step's and its run's seconds.
    """

    turns: int | None = 200
    step: StepBudget = field(default_factory=StepBudget)
    prices: Prices | None = None

    def __post_init__(self) -> None:
        StepBudget.__post_init__(self)  # super() does not find its class where that has slots
        if self.prices is None and (self.cost or self.step.cost):
            raise ValueError("a budget's cost needs prices; pass Budget(cost=..., prices=Prices(...))")


class BudgetSpent(Exception):
    """Ends a run from wherever it is; the text says which limit was reached."""


class StepSpent(ToolError):
    """Ends a step from wherever it is. A ToolError: a call that it stops has failed as others do, and the turn after
    it is not begun."""


@dataclass(slots=True)
class Ledger:
    """What was spent so far, by mode, against one budget. What is spent in a step or in a run within a run counts in
    its own ledger and in those above.

    budget: of a run, or of a step. started: by the monotonic clock; earlier than now for a run that goes on. above: the
    ledger of the whole that this is a part of. limits: those that there are, by name.
    """

    budget: StepBudget
    usage: dict[str, ModeUsage] = field(default_factory=dict)
    turns: int = 0
    tool_calls: int = 0
    started: float = field(default_factory=time.monotonic)
    above: Ledger | None = None
    prices: Prices | None = None
    warned: bool = False
    limits: Mapping[str, float] = field(init=False)
    _parts: tuple[Ledger, ...] = field(init=False, repr=False)
    _timed: tuple[Ledger, ...] = field(init=False, repr=False)  # parts that have a clock

    def __post_init__(self) -> None:
        self.limits = {name: limit for name in LIMITS if (limit := getattr(self.budget, name)) is not None}
        self._parts = (*self.above._parts, self) if self.above else (self,)
        if isinstance(self.budget, Budget):
            self.prices = self.budget.prices
        self._timed = tuple([part for part in self._parts if "seconds" in part.limits])

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def step(self) -> Ledger:
        """The part of a step that begins now."""
        limits = self.budget.step if isinstance(self.budget, Budget) else self.budget
        return Ledger(limits, above=self, prices=self.prices)

    def add(self, mode: Mode, reply: Reply) -> None:
        """Count a reply; replies are all that a ledger is made of, but for its clock."""
        name = mode.name
        row = self.usage.get(name, ModeUsage())
        self.usage[name] = ModeUsage(row.turns + 1, row.usage + reply.usage)
        self.turns += 1
        for call in reply.calls:
            self.tool_calls += call.name not in OWN
        if self.above:
            self.above.add(mode, reply)

    def check(self) -> None:
        """Raises `BudgetSpent`, or `StepSpent`, before a turn that the limits do not allow.

        A turn after the last tool call is allowed, as an answer needs none.
        """
        for part in self._parts:
            for name, limit in part.limits.items():
                if name != "tool_calls" and (value := part.used(name)) >= limit:
                    raise part._spent(name, value, limit)

    def check_calls(self) -> None:
        """Raises the same before a turn's calls are carried out, when they are more than the limits allow."""
        for part in self._parts:
            limit = part.limits.get("tool_calls")
            if limit is not None and part.tool_calls > limit:
                raise part._spent("tool_calls", part.tool_calls, limit)

    def warning(self) -> str:
        """What to tell the model when a limit is near: once, else nothing."""
        if self.warned:
            return ""
        for part in self._parts:
            for name, limit in part.limits.items():
                value = part.used(name)
                near = min(NEARLY * limit, limit - 1) if name == "turns" else NEARLY * limit
                if value >= near:
                    self.warned = True
                    what = "this task" if part.is_run else "this step"
                    used = f"{_number(value)} of {_number(limit)} {_unit(name)}"
                    return f"\n[{used} that {what} may take are used. Finish now, with what you have.]"
        return ""

    def renewed(self) -> StepBudget:
        """The same budget once more, beside what is used of it."""
        raised: dict[str, Any] = {name: limit + self.used(name) for name, limit in self.limits.items()}
        return replace(self.budget, **raised)

    @property
    def is_run(self) -> bool:
        """Whether this is the ledger of a whole run, and not of a step."""
        return isinstance(self.budget, Budget)

    def thinking_left(self) -> int | None:
        """Thinking tokens that a turn may still take; None is no limit."""
        left: list[float] = []
        for part in self._parts:
            if limit := part.limits.get("thinking_tokens"):
                left.append(limit - part.used("thinking_tokens"))
        return max(0, int(min(left))) if left else None

    def in_time(self, wait: Awaitable[T]) -> Awaitable[T]:
        """Bound one wait by the seconds that are left; raises `BudgetSpent` or `StepSpent` when they are over."""
        return self._in_time(wait) if self._timed else wait

    async def _in_time(self, wait: Awaitable[T]) -> T:
        end, part = min([(part.started + part.limits["seconds"], part) for part in self._timed], key=lambda one: one[0])
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())) as timeout:
                return await wait
        except TimeoutError:
            if not timeout.expired():
                raise
            raise part._spent("seconds", part.seconds, part.limits["seconds"]) from None

    def used(self, name: str) -> float:
        """What was spent so far of what a limit is named after."""
        match name:
            case "turns":
                return self.turns
            case "tool_calls":
                return self.tool_calls
            case "seconds":
                return self.seconds
        total = sum([row.usage for row in self.usage.values()], Usage())
        match name:
            case "tokens":
                return total.thinking + total.answer
            case "thinking_tokens":
                return total.thinking
        return self.prices.cost(total) if self.prices else 0.0

    def _spent(self, name: str, value: float, limit: float) -> BudgetSpent | StepSpent:
        text = f"budget of {_number(limit)} {_unit(name)} is spent ({_number(value)} used)"
        return BudgetSpent(f"the {text}") if self.is_run else StepSpent(f"the step's {text}")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _unit(name: str) -> str:
    return "units of cost" if name == "cost" else name.replace("_", " ")
