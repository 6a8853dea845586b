"""The gate that every call passes on its way to a tool: rules first, then a person, whose word is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from fastslow.agent.approval import Answer, Approval, Ask, Decision, Question, unattended
from fastslow.agent.errors import AskFailed
from fastslow.agent.events import Consent
from fastslow.agent.paths import check_paths
from fastslow.agent.question import described
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.transcript import ToolCall
from fastslow.agent.values import plain
from fastslow.tools import ArgumentError, Tool, parse_arguments
from fastslow.tools.foreign import apart
from fastslow.tools.foreign import described as described_error

UNATTENDED = (
    "it needs somebody's consent, and nobody is there to give it. Its developer can do without: say what it changes, "
    'as @tool(effect="read") where that is nothing, or allow it by a rule, ApprovalRule("allow", tool="{tool}") in '
    'Agent(approval=...), or [[rule]] decide = "allow", tool = "{tool}" in the file of --approval'
)
NOBODY_THERE = (None, unattended)
NOBODY = (
    "{tool} needs somebody's consent ({reason}), and nobody is there to give it: allow it with --approval FILE with "
    '[[rule]] decide = "allow", tool = "{tool}"; or resume the run in a terminal, where it is asked'
)
OTHER = (
    "the run was interrupted, and its code runs again: it made other calls before, which stay done, and this one may "
    "be one of them in another form. Run it?"
)
MAYBE_DONE = "the run was interrupted while this call was under way: it may have taken effect already. Run it (again)?"
IN_DOUBT = Decision("ask", MAYBE_DONE)


class Stopped(Exception):
    """A person ended the run at a question, or nobody was there to answer it."""


@dataclass(slots=True)
class Gate:
    """One for a run. ask: puts a question to a person, None where nobody is there: what would be asked is denied, or,
    with `unattended`, ends the run.

    Questions of branches side by side come one after the other. What was answered before a run was interrupted is not
    asked again: the answer holds for one call, of the same tool with the same arguments at the same place.
    """

    approval: Approval = field(default_factory=Approval)
    ask: Ask | None = None
    recorder: Recorder = field(default_factory=Recorder)
    _always: set[str] = field(default_factory=set)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def consent(self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> Consent | None:
        """None for a call that the rules allow. received: what the tool's body is called with. Of a call that finished
        before the run was interrupted what was said then: nothing of it runs. Raises `Stopped`, AskFailed, and
        ArgumentError for arguments that nobody can judge.
        """
        over, before = self.recorder.consents(branch, call.id)
        if over:
            return before[-1] if before else None
        given = _answered(before, _digest(tool, call, received)) if before else None
        decision = await self._judged(tool, received)
        if decision.decide == "allow" and not tool.repeatable and self.recorder.is_other(branch, call.id):
            decision = Decision("ask", OTHER)
        if decision.decide == "deny":
            reason = decision.reason or "a rule denies it"
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        if given:
            return given
        if decision.decide == "allow":
            return None
        if self.ask not in NOBODY_THERE:
            await asyncio.to_thread(check_paths, received, tool.place)
        return await self._ask_person(branch, tool, call, received, decision)

    async def _judged(self, tool: Tool, received: Mapping[str, Any]) -> Decision:
        """What the rules say; in a thread, since a disk that paths are looked for on may be slow to answer."""
        attended = self.ask not in NOBODY_THERE
        if not self.approval.rules:
            return self.approval.judge(tool, received, attended=attended)
        return await asyncio.to_thread(self.approval.judge, tool, received, attended=attended)

    async def confirm_rerun(
        self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any]
    ) -> Consent | None:
        """Whether a call that may have happened already is to run; None where nobody is there. Raises `Stopped`,
        AskFailed."""
        if self.ask in NOBODY_THERE:
            return None
        return await self._ask_person(branch, tool, call, received, IN_DOUBT)

    async def _ask_person(
        self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any], decision: Decision
    ) -> Consent:
        doubtful = decision is IN_DOUBT  # the answer holds now, and none of before or for later
        if self.ask is None:
            reason = "; ".join(filter(None, [decision.reason, UNATTENDED.format(tool=tool.name)]))
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        if self.ask is unattended:
            reason = NOBODY.format(tool=tool.name, reason=decision.reason or "a rule asks")
            self.recorder.say(Consent(branch, call.id, "stop", "rule", reason))
            raise Stopped(reason)
        same = await asyncio.to_thread(_digest, tool, call, received)
        async with self._one_at_a_time:
            if same in self._always and not doubtful:
                answer = Answer("allow")
            else:
                given_by_model = parse_arguments(tool.parameters, call.arguments, tool.rewrite)
                lines = await asyncio.to_thread(described, tool, received, given_by_model)
                answer = await _answer(self.ask, Question(branch, tool.name, received, lines, decision.reason))
            if answer.always and answer.decide == "allow":
                self._always.add(same)
        given = Consent(
            branch, call.id, answer.decide, "person", decision.reason, answer.note, "" if doubtful else same
        )
        self.recorder.say(given)
        if answer.decide == "stop":
            raise Stopped(f"stopped at a question about {tool.name}; resumed, the run asks it again")
        return given


async def _answer(ask: Ask, question: Question) -> Answer:
    """Put a question; what fails in whoever puts it ends the run, since nobody said yes or no."""
    end = await apart(ask, question)
    if end.error:
        raise AskFailed(
            f"nobody could be asked about {question.tool}: {described_error(end.error)}; resumed, the run asks again"
        ) from end.error
    answer = end.value
    if not isinstance(answer, Answer) or answer.decide not in ("allow", "deny", "stop"):
        raise AskFailed(
            'ask= must return an Answer that decides "allow", "deny" or "stop", '
            f"got {type(answer).__name__}; resumed, the run asks again"
        )
    return answer


def _answered(before: Sequence[Consent], digest: str) -> Consent | None:
    """The answer to the very same call."""
    return next((one for one in reversed(before) if one.digest == digest), None)


def _digest(tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> str:
    """What tells a call from all others but its repetitions."""
    try:
        written = json.dumps([tool.name, plain(received)], sort_keys=True)
    except ArgumentError:  # a value that nobody can look into
        written = f"{tool.name} {call.id}"
    return sha256(written.encode()).hexdigest()


def refusal(given: Consent) -> str:
    """What the model is told of a call that was not allowed."""
    who = "The user did not allow this call" if given.by == "person" else "This call is not allowed"
    why = f": {given.reason}" if given.reason and given.by == "rule" else ""
    note = f" They say: {given.note}" if given.note else ""
    return f"{who}{why}. It was not run.{note} Do it another way, or say why it cannot be done."
