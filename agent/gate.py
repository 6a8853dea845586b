"""The gate that every call passes on its way to a tool: rules first, then a person, whose word is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastslow.agent.approval import Answer, Approval, Ask, Decision, Question
from fastslow.agent.events import Consent
from fastslow.agent.paths import check_paths
from fastslow.agent.question import described
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.transcript import ToolCall
from fastslow.agent.values import plain
from fastslow.tools import ArgumentError, Tool, parse_arguments

UNATTENDED = (
    "it needs somebody's consent, and nobody is there to give it. Its developer can do without: say what it changes, "
    'as @tool(effect="read") where that is nothing, or allow it by a rule, ApprovalRule("allow", tool="{tool}") in '
    'Agent(approval=...), or [[rule]] decide = "allow", tool = "{tool}" in the file of --approval'
)
MAYBE_DONE = "the run was interrupted while this call was under way: it may have taken effect already. Run it (again)?"


class Stopped(Exception):
    """A person ended the run at a question."""


@dataclass(slots=True)
class Gate:
    """One for a run. ask: puts a question to a person, None where nobody is there: what would be asked is denied.

    Questions of branches side by side come one after the other. What was answered before a run was interrupted is not
    asked again.
    """

    approval: Approval = field(default_factory=Approval)
    ask: Ask | None = None
    recorder: Recorder = field(default_factory=Recorder)
    _always: set[str] = field(default_factory=set)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def consent(self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> Consent | None:
        """None for a call that the rules allow. received: what the tool's body is called with. Raises `Stopped`, and
        ArgumentError for arguments that nobody can judge."""
        if given := self.recorder.consent(branch, call.id):
            return given
        decision = await self._judged(tool, received)
        if decision.decide == "allow":
            return None
        if decision.decide == "deny":
            reason = decision.reason or "a rule denies it"
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        if self.ask:
            await asyncio.to_thread(check_paths, received, tool.place)
        return await self._ask_person(branch, tool, call, received, decision)

    async def _judged(self, tool: Tool, received: Mapping[str, Any]) -> Decision:
        """What the rules say; in a thread, since a disk that paths are looked for on may be slow to answer."""
        attended = self.ask is not None
        if not self.approval.rules:
            return self.approval.judge(tool, received, attended=attended)
        return await asyncio.to_thread(self.approval.judge, tool, received, attended=attended)

    async def confirm_rerun(
        self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any]
    ) -> Consent | None:
        """Whether a call that may have happened already is to run; None where nobody is there. Raises `Stopped`."""
        if self.ask is None:
            return None
        return await self._ask_person(branch, tool, call, received, Decision("ask", MAYBE_DONE))

    async def _ask_person(
        self, branch: str, tool: Tool, call: ToolCall, received: Mapping[str, Any], decision: Decision
    ) -> Consent:
        if self.ask is None:
            reason = "; ".join(filter(None, [decision.reason, UNATTENDED.format(tool=tool.name)]))
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        same = await asyncio.to_thread(_written, tool, call, received)
        async with self._one_at_a_time:
            if same in self._always and decision.reason != MAYBE_DONE:
                answer = Answer("allow")
            else:
                given_by_model = parse_arguments(tool.parameters, call.arguments)
                lines = await asyncio.to_thread(described, tool, received, given_by_model)
                answer = await self.ask(Question(branch, tool.name, received, lines, decision.reason))
            if answer.always and answer.decide == "allow":
                self._always.add(same)
        given = Consent(branch, call.id, answer.decide, "person", decision.reason, answer.note)
        self.recorder.say(given)
        if answer.decide == "stop":
            raise Stopped(f"stopped at a question about {tool.name}; resumed, the run asks it again")
        return given


def _written(tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> str:
    """What is the same for the very same call, and for no other one."""
    try:
        return json.dumps([tool.name, plain(received)], sort_keys=True)
    except ArgumentError:  # a value that nobody can look into
        return f"{tool.name} {call.id}"


def refusal(given: Consent) -> str:
    """What the model is told of a call that was not allowed."""
    who = "The user did not allow this call" if given.by == "person" else "This call is not allowed"
    why = f": {given.reason}" if given.reason and given.by == "rule" else ""
    note = f" They say: {given.note}" if given.note else ""
    return f"{who}{why}. It was not run.{note} Do it another way, or say why it cannot be done."
