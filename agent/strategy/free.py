"""For models that can carry a task: they decide whether to plan, what to call and when they are done."""

from __future__ import annotations

from collections.abc import Sequence

from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CheckFinished
from fastslow.agent.modes import Kind
from fastslow.agent.plan import GIVE_UP, PLAN, Plan
from fastslow.agent.prompts import template
from fastslow.agent.strategy.common import FAILURES, after_check, is_usable, unformed, unusable
from fastslow.agent.strategy.strategy import Done, Move, Next, State
from fastslow.tools import Tool


class Free:
    """Thinks first, acts fast, and thinks again where something went wrong."""

    shares_history = True
    step_prompt = "step"
    failed_prompt = "failed"

    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        return (PLAN, *builtin, GIVE_UP)

    def system(self, code: bool) -> str:
        return template("system") + ("\n\n" + template("sandbox") if code else "")

    def plan(self, plan: Plan, state: State) -> Plan:
        return plan

    def first(self, state: State) -> Next:
        return Next(Kind.CALL, "a step") if state.step else Next(Kind.PLAN, "first turn")

    def after_text(self, state: State, reply: Reply) -> Move:
        return unusable(state, reply) or unformed(state, reply) or Done(reply.content.strip(), is_usable(reply))

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        if results[0].name == PLAN.name and not state.step:  # within a step it is refused, and failed as any call
            return after_plan(state, results[0])
        if state.failures >= FAILURES:
            return Next(Kind.REPAIR, f"{state.failures} turns in a row failed")
        if state.repeats >= FAILURES:
            return Next(Kind.REPAIR, "repeated calls")
        return Next(Kind.CALL, "go on")

    def after_check(self, state: State, done: Done, checks: tuple[CheckFinished, ...]) -> Move:
        return after_check(done, checks)


def after_plan(state: State, result: CallFinished) -> Next:
    """What follows a plan, as it came out."""
    if result.status == "refused":
        return Next(Kind.PLAN, "that plan cannot be carried out")
    if not result.ok:
        return Next(Kind.REPAIR, "a step failed")
    if state.troubled:
        return Next(Kind.REVIEW, "all steps succeeded, some not at once")
    return Next(Kind.ANSWER, "all steps succeeded")
