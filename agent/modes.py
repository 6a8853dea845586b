"""How hard to think on one turn: a mode is a thinking budget in tokens, chosen by rules that are data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Mode:
    """A turn's speed. `budget` is the number of thinking tokens allowed; 0 is non-reasoning.

    >>> Mode(0).name, Mode(512).name
    ('fast', 'think')
    """

    budget: int = 0

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"a thinking budget is 0 or more tokens, got {self.budget}; use 0 for a fast turn")

    @property
    def thinks(self) -> bool:
        return self.budget > 0

    @property
    def name(self) -> Literal["fast", "think"]:
        return "think" if self.thinks else "fast"


FAST = Mode(0)


class Kind(StrEnum):
    """What a turn is for. The policy maps it to a budget."""

    PLAN = "plan"  # the first turn of a task
    ACT = "act"  # a step of it: fill arguments, write code, read results
    REPAIR = "repair"  # something failed twice, or was repeated word for word
    ANSWER = "answer"  # after the plan ran: say what came out


DEFAULT_BUDGETS: Mapping[Kind, int] = MappingProxyType(
    {Kind.PLAN: 4096, Kind.ACT: 0, Kind.REPAIR: 2048, Kind.ANSWER: 0}
)

Think: TypeAlias = Literal["auto", "never", "always"] | int


@dataclass(frozen=True, slots=True)
class ModePolicy:
    """Picks the mode of a turn from its kind. `budgets` come from the model's profile.

    `think` overrides the rules: `"never"` and `"always"` for every turn, a number as the budget of each turn that
    the rules let think.

    >>> ModePolicy().mode(Kind.ACT).name, ModePolicy(think="always").mode(Kind.ACT).name
    ('fast', 'think')
    """

    budgets: Mapping[Kind, int] = field(default_factory=lambda: DEFAULT_BUDGETS)
    think: Think = "auto"

    def mode(self, kind: Kind) -> Mode:
        ruled = self.budgets.get(kind, DEFAULT_BUDGETS[kind])
        if self.think == "never":
            return FAST
        if self.think == "always":
            return Mode(ruled or self.budgets.get(Kind.REPAIR, DEFAULT_BUDGETS[Kind.REPAIR]))
        if isinstance(self.think, int):
            return Mode(self.think if ruled else 0)
        return Mode(ruled)
