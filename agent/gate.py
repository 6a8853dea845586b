"""The gate that every call passes on its way to a tool: rules first, then a person, whose word is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastslow.agent.approval import Answer, Approval, Ask, Decision, Question, preview
from fastslow.agent.events import Consent
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.transcript import ToolCall
from fastslow.tools import Tool

UNATTENDED = (
    "it needs somebody's consent, and nobody is there to give it; a rule can: "
    '[[rule]] decide = "allow", tool = "{tool}", in the file of --approval'
)
MAYBE_DONE = "the run was interrupted while this call was under way: it may have taken effect already. Run it (again)?"


COMPARED = 200_000  # characters of a file that are read to show what a call would change


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

    async def consent(self, branch: str, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Consent | None:
        """None for a call that the rules allow. Raises `Stopped`."""
        if given := self.recorder.consent(branch, call.id):
            return given
        decision = self.approval.judge(tool, arguments, attended=self.ask is not None)
        if decision.decide == "allow":
            return None
        if decision.decide == "deny":
            reason = decision.reason or "a rule denies it"
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        return await self._ask_person(branch, tool, call, arguments, decision)

    async def confirm_rerun(
        self, branch: str, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]
    ) -> Consent | None:
        """Whether a call that may have happened already is to run; None where nobody is there. Raises `Stopped`."""
        if self.ask is None:
            return None
        return await self._ask_person(branch, tool, call, arguments, Decision("ask", MAYBE_DONE))

    async def _ask_person(
        self, branch: str, tool: Tool, call: ToolCall, arguments: Mapping[str, Any], decision: Decision
    ) -> Consent:
        same = json.dumps([tool.name, arguments], sort_keys=True)
        if self.ask is None:
            reason = "; ".join(filter(None, [decision.reason, UNATTENDED.format(tool=tool.name)]))
            return self.recorder.say(Consent(branch, call.id, "deny", "rule", reason))
        async with self._one_at_a_time:
            if same in self._always and decision.reason != MAYBE_DONE:
                answer = Answer("allow")
            else:
                shown = preview(arguments, _current_text(arguments))
                answer = await self.ask(Question(branch, tool.name, arguments, shown, decision.reason))
            if answer.always and answer.decide == "allow":
                self._always.add(same)
        given = Consent(branch, call.id, answer.decide, "person", decision.reason, answer.note)
        self.recorder.say(given)
        if answer.decide == "stop":
            raise Stopped(f"stopped at a question about {tool.name}; resumed, the run asks it again")
        return given


def _current_text(arguments: Mapping[str, Any]) -> str | None:
    """What the file holds now that a call would write; None where there is no such text on this disk."""
    path = arguments.get("path")
    if not isinstance(path, str) or "content" not in arguments:
        return None
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return file.read(COMPARED)
    except (OSError, ValueError):
        return None


def refusal(given: Consent) -> str:
    """What the model is told of a call that was not allowed."""
    who = "The user did not allow this call" if given.by == "person" else "This call is not allowed"
    why = f": {given.reason}" if given.reason and given.by == "rule" else ""
    note = f" They say: {given.note}" if given.note else ""
    return f"{who}{why}. It was not run.{note} Do it another way, or say why it cannot be done."
