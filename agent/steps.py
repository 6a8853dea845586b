"""A plan is carried out: each of its steps in a branch, side by side where they do not need each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastslow.agent.budget import StepSpent
from fastslow.agent.calls import Items
from fastslow.agent.events import CallFinished, Event, PlanMade, StepFinished, StepStarted
from fastslow.agent.plan import Plan, run_ready
from fastslow.agent.prompts import prompt
from fastslow.agent.strategy.strategy import Done
from fastslow.agent.transcript import ToolCall, ToolResult, Transcript, with_hint
from fastslow.tools import Outcome, clip

if TYPE_CHECKING:
    from fastslow.agent.loop import Branch

RESULT = 2000  # characters of a step's result that others are told


@dataclass(slots=True)
class Steps:
    """The steps of one plan. call: that made it. done: how each step ended. histories: what was said in it, for a step
    that goes on there, and known: the steps whose results stand in it. troubled: a call within a step failed."""

    trunk: Branch
    call: ToolCall
    plan: Plan
    done: dict[int, Done] = field(default_factory=dict)
    histories: dict[int, Transcript] = field(default_factory=dict)
    known: dict[int, frozenset[int]] = field(default_factory=dict)
    troubled: bool = False

    async def carry_out(self) -> Items:
        """Run them, each as soon as those that it needs have ended. Their results are the plan's."""
        yield self.trunk.run.recorder.say(PlanMade(self.plan))
        needs = {n: self.plan.needs(n) for n in range(1, len(self.plan.steps) + 1)}
        async with aclosing(run_ready(needs, self._step)) as events:
            async for event in events:
                self.troubled = self.troubled or (isinstance(event, CallFinished) and not event.ok)
                yield event
        ok = all(done.ok for done in self.done.values())
        name = "results" if ok else self.trunk.run.strategy.failed_prompt
        text = prompt(name, results=self._listed(needs), task=self.trunk.run.task)
        yield Outcome(text, "ok" if ok else "error")

    async def _step(self, number: int) -> AsyncGenerator[Event, None]:
        do, needs, say = self.plan.steps[number - 1].do, self.plan.needs(number), self.trunk.run.recorder.say
        yield say(StepStarted(number, do))
        if failed := [n for n in needs if not self.done[n].ok]:
            done = Done(f"not done, because step {failed[0]} failed", ok=False)
        else:
            branch = self.trunk.step(number, do, self._history(number))
            try:
                async with aclosing(branch.loop()) as events:
                    async for event in events:
                        yield event
            except StepSpent as spent:
                branch.done = Done(f"gave up: {spent}. Last output: {branch.last_output or branch.partial}", ok=False)
            assert branch.done  # noqa: S101 - the loop ends with it
            done, self.histories[number] = branch.done, branch.state.transcript
        ended = say(StepFinished(number, done.ok, done.answer))
        self.done[number] = Done(ended.result, ended.ok)
        yield ended

    def _history(self, number: int) -> Transcript:
        """Where a step begins: behind the plan with the results that it needs, or, where the strategy shares histories,
        behind all that the last of the steps which it needs has seen. That history is in the server's prefix cache."""
        needs = self.plan.needs(number)
        last = max(needs, default=0) if self.trunk.run.strategy.shares_history else 0
        told_already = self.known.get(last, frozenset())
        self.known[number] = told_already | set(needs)
        step, count = self.plan.steps[number - 1], len(self.plan.steps)
        results = self._listed(n for n in needs if n not in told_already)
        name = self.trunk.run.strategy.step_prompt
        text = prompt(name, number=number, count=count, do=step.do, results=results)
        if last:
            return with_hint(self.histories[last], text)
        return self.trunk.state.transcript.append(ToolResult(self.call.id, self.call.name, text))

    def _listed(self, numbers: Iterable[int]) -> str:
        """Steps and their results as the model reads them."""
        return "\n".join(
            f"Step {n}: {self.plan.steps[n - 1].do}\n"
            f"{'Result' if self.done[n].ok else 'FAILED'}: {clip(self.done[n].answer, RESULT)}\n"
            for n in sorted(numbers)
        )
