"""What both strategies say: of replies that nobody can use, and of an answer that has no form yet."""

from __future__ import annotations

import re
from dataclasses import replace

from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CheckFinished
from fastslow.agent.modes import Kind
from fastslow.agent.plan import ANSWER
from fastslow.agent.prompts import prompt
from fastslow.agent.strategy.strategy import Done, Move, Next, State
from fastslow.tools import clip

CHECKS = 6  # answers that may fail the check, after which a run ends
RETRIES = 2  # times that a branch asks for an answer once more
FAILURES = 2  # turns in a row whose calls all failed, or calls that were repeated, after which one turn thinks
THOUGHTS = 2000  # characters of lost thoughts that are quoted
UNCHANGED = (
    "The same failure as before, and nothing has changed since. An answer alone does not help: change the project in "
    "another way, or call give_up where that cannot be done."
)
_NOTHING = re.compile(r"(?:```[a-z]*(?:\s+```)?)?")


def unusable(state: State, reply: Reply) -> Next | None:
    """How to ask once more for a reply that was cut off, went in circles, lost a call, or is empty."""
    if state.asked >= RETRIES:
        return None
    thoughts = f"\nYour thoughts so far: {clip(reply.reasoning, THOUGHTS)}" if reply.reasoning else ""
    if reply.finish == "length":
        lost = f" within a call of {', '.join(reply.dropped)}" if reply.dropped else ""
        hint = f"Your last answer was cut off{lost} for its length, and nothing of it was run. Be much shorter."
        return Next(Kind.CALL, "cut off: more room", state.force, hint, room=2 ** (state.asked + 1))
    if reply.finish == "repetition":
        hint = "Your last answer went round in circles and was stopped. Say it once, in few words."
        return Next(Kind.CALL, "went in circles", state.force, hint)
    if reply.dropped:
        hint = f"Not all of your last turn could be read: {', '.join(reply.dropped)} did not run. Make that call again."
        return Next(Kind.CALL, "a call was lost", state.force, hint)
    if says_nothing(reply):
        hint = f"Your last turn had no answer and no call.{thoughts}\nAct now."
        return Next(Kind.CALL, "empty reply", state.force, hint)
    return None


def unformed(state: State, reply: Reply) -> Next | None:
    """How to ask for an answer in words to be given in the form that the user wants."""
    if state.asked >= RETRIES or state.step or not state.structured:
        return None
    hint = f"Give this answer with the answer tool: {clip(reply.content, 4000)}"
    return Next(Kind.EXTRACT, "structured answer", hint=hint, force=ANSWER)


def after_check(done: Done, checks: tuple[CheckFinished, ...]) -> Move:
    """How to go on where the work is not proven: think about what failed, and where it failed so before, with all that
    was changed in view."""
    last = checks[-1]
    if len(checks) >= CHECKS:
        why = f"the check still fails with exit code {last.exit_code}, after {len(checks)} tries: {last.command}"
        return replace(done, ok=False, why=why)
    blanks = {"command": last.command, "code": last.exit_code, "output": last.output, "answer": clip(done.answer, 1000)}
    files = f"These files were put back as they were given: {', '.join(last.restored)}.\n" if last.restored else ""
    diff = f"\nThe same failure as before. All that you changed so far:\n{last.diff}" if last.diff else ""
    if last.diff and checks[1:] and last.diff == checks[-2].diff:  # which is in view already
        diff = f"\n{UNCHANGED}"
    why = "the check fails as before" if last.diff else "the check fails"
    return Next(Kind.REPAIR, why, hint=prompt("check_failed", **blanks, files=files, diff=diff))


def says_nothing(reply: Reply) -> bool:
    """An empty text, or a code fence around nothing, as a small model may write in the place of its first call."""
    return _NOTHING.fullmatch(reply.content.strip()) is not None


def is_usable(reply: Reply) -> bool:
    return reply.finish == "stop" and not reply.dropped and not says_nothing(reply)
