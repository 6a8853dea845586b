"""What a run did, as the model's server saw it: the same for every contender, whatever it reports of itself."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.rows import Row, measured
from fastslow.agent.events import CallStarted, Event, Exit, Result, TurnFinished, TurnStarted
from fastslow.agent.modes import FAST, Kind
from fastslow.agent.transcript import ToolCall
from fastslow.tools import Tool
from fastslow.tools.schema import compiled

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. valid: its tool was offered, and the arguments, as the model wrote them, fit its schema."""

    name: str
    text: str
    arguments: Mapping[str, Any]
    valid: bool


@dataclass(slots=True)
class Turn:
    """One answer of the model. native: its calls stood in the answer; those of other turns came with code or text."""

    usage: Usage
    calls: list[Call]
    native: bool


@dataclass(slots=True)
class Run:
    """One run of one contender. No request is answered after `most` of them, after the deadline, or once it is over."""

    case: Case
    tools: Sequence[Tool]
    most: int
    deadline: float = math.inf  # of the event loop's clock
    requests: int = 0
    turns: list[Turn] = field(default_factory=list)
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.monotonic)

    def asks(self) -> str:
        """Count a request; says why it is not to be answered, if so."""
        if not self.requests:
            self.began = time.monotonic()
        self.requests += 1
        self.settle()  # what code or text called since the last turn
        if self.decided.is_set():
            return "the run is over"
        return f"a run has {self.most} requests" if self.requests > self.most else ""

    def answered(self, request: Answer, answer: Answer, seconds: float) -> None:
        """Take down an answer of the server."""
        message = answer["choices"][0]["message"]
        offered = {each["function"]["name"]: each["function"]["parameters"] for each in request.get("tools") or ()}
        own = {tool.name: tool.parameters for tool in self.tools if tool.name in offered}
        functions = [each["function"] for each in message.get("tool_calls") or ()]
        calls = [_call(each["name"], each["arguments"], offered | own) for each in functions]
        usage, details = answer["usage"], answer["usage"].get("prompt_tokens_details") or {}
        spent = Usage(
            prompt=usage["prompt_tokens"],
            cached=details.get("cached_tokens") or 0,
            answer=usage["completion_tokens"],
            seconds=seconds,
        )
        self.turns.append(Turn(spent, calls, bool(calls)))
        if calls:
            self.settle()

    def called(self, tool: Tool, text: str) -> Call:
        """Take down that a tool is to be run; counted here where the server saw no call: it stood in code or text."""
        call = _call(tool.name, text, {tool.name: tool.parameters})
        if self.turns and not self.turns[-1].native:
            self.turns[-1].calls.append(call)
        return call

    def result(self, answer: str, exit_: Exit, reason: str, seconds: float, files: tuple[Path, ...]) -> Result:
        """As one of our own runs leaves it, so that the same judges read it."""
        return Result("", answer, None, None, files, {}, exit_, reason, seconds, tuple(self._events()))

    def row(self, arm: str, seed: int, model: str, result: Result, wrong: str) -> Row:
        valid = sum(call.valid for turn in self.turns for call in turn.calls)
        return replace(measured(self.case, arm, 0, seed, model, result, wrong), valid=valid)

    def settle(self) -> None:
        """See whether the run is over: where the first call of one of the case's tools is all that counts."""
        names = {tool.name for tool in self.tools}
        if self.case.stop_when and any(call.name in names for turn in self.turns for call in turn.calls):
            self.decided.set()

    def _events(self) -> list[Event]:
        events: list[Event] = []
        for number, turn in enumerate(self.turns, 1):
            made = [ToolCall(f"{number}.{n}", call.name, call.text) for n, call in enumerate(turn.calls)]
            events.append(TurnStarted("", number, Kind.CALL, FAST, ""))
            events.append(TurnFinished("", number, FAST, Reply(calls=tuple(made), usage=turn.usage)))
            pairs = zip(made, turn.calls, strict=True)
            events.extend(CallStarted("", call, each.arguments) for call, each in pairs)
        return events


def _call(name: str, text: str, schemas: Mapping[str, Mapping[str, Any]]) -> Call:
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return Call(name, text, {}, False)
    return Call(name, text, arguments, name in schemas and compiled(schemas[name]).is_valid(arguments))
