"""One budget for all of a flow, earlier lives of it included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastslow.agent.budget import LIMITS, Budget, Ledger, StepBudget
from fastslow.agent.engine.types import Reply
from fastslow.agent.modes import Mode
from fastslow.agent.record.jobs import Job

ENDLESS = StepBudget(turns=None)


@dataclass(frozen=True, slots=True)
class FlowBudget:
    """By the name of a limit: `turns`, `tokens`, `thinking_tokens`, `tool_calls`, `seconds`, `cost`. limits: those that
    there are. remaining: of these, 0 at least."""

    limits: Mapping[str, float]
    spent: Mapping[str, float]
    remaining: Mapping[str, float]


@dataclass(slots=True)
class Told(Ledger):
    """Of a run that goes on, or is told again: its first replies were counted above when the flow began."""

    known: int = 0

    def add(self, mode: Mode, reply: Reply) -> None:
        if self.known:
            self.known -= 1
        else:
            Ledger.add(self, mode, reply)


class Spending:
    """What the steps of a job spend. The seconds are those of this life."""

    def __init__(self, job: Job, budget: Budget) -> None:
        self.ledger = Ledger(budget)
        self._known: dict[str, int] = {}
        for key, replies in job.replies().items():
            self._known[key] = len(replies)
            for said in replies:
                self.ledger.add(said.mode, said.reply)

    def of(self, key: str) -> Ledger:
        """The ledger above that of a step's run."""
        return Told(ENDLESS, above=self.ledger, prices=self.ledger.prices, known=self._known.pop(key, 0))

    @property
    def budget(self) -> FlowBudget:
        spent = {name: self.ledger.used(name) for name in LIMITS}
        limits = dict(self.ledger.limits)
        return FlowBudget(limits, spent, {name: max(0, limit - spent[name]) for name, limit in limits.items()})
