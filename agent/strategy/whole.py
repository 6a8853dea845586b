"""For very small models in a small project, all of which stands in the first message (docs/coding.md has the counts).

Such a model writes whole files well, edits badly, and has no use for tools that read. So a turn says what is wrong and
writes one file, and the run is done: whether that was right, the check tells, and its failure begins the next turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastslow.agent.engine.fenced import FILE_TOOL, first_file
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CheckFinished
from fastslow.agent.modes import Kind
from fastslow.agent.plan import Plan
from fastslow.agent.prompts import template
from fastslow.agent.strategy.common import RETRIES, after_check, is_usable, unusable
from fastslow.agent.strategy.strategy import Done, Move, Next, State
from fastslow.agent.transcript import Assistant
from fastslow.tools import Tool

OPENING = "The file to change is `"  # without it, the first file that was named was the test
ROOM = 6  # times the usual tokens for an answer: a file may be as long as the project
PATH = "Write the path of the file on the line above the block."


class Whole:
    """Has a small model write whole files."""

    shares_history = False
    step_prompt = "step"
    failed_prompt = "failed"

    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        return tuple(tool for tool in builtin if tool.name == FILE_TOOL)

    def system(self, code: bool) -> str:
        return template("whole")

    def plan(self, plan: Plan, state: State) -> Plan:
        return plan

    def first(self, state: State) -> Next:
        return _next("first turn")

    def after_text(self, state: State, reply: Reply) -> Move:
        if again := unusable(state, reply):
            return _next(again.why, again.hint)
        return Done(reply.content.strip(), is_usable(reply))

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        if results[0].name != FILE_TOOL:  # a skill was read
            return _next("go on")
        if not results[0].ok and state.failures < RETRIES:
            return _next("nothing was written", PATH)
        reply = state.transcript.messages[-1 - len(results)]
        said = reply.content if isinstance(reply, Assistant) else ""
        block = first_file(said)
        return Done((said[: block.start] if block else said).strip() or results[0].content)

    def after_check(self, state: State, done: Done, checks: tuple[CheckFinished, ...]) -> Move:
        move = after_check(done, checks)
        return _next(move.why, move.hint) if isinstance(move, Next) else move


def _next(why: str, hint: str = "") -> Next:
    return Next(Kind.CALL, why, hint=hint, room=ROOM, opening=OPENING)
