"""Small makers for the strategies' tables: states and results without a run, and what a move does without its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from fastslow.agent.events import CallFinished
from fastslow.agent.modes import Kind
from fastslow.agent.strategy import Move, Next, State
from fastslow.agent.transcript import Assistant, System, ToolCall, ToolResult, Transcript, User
from fastslow.tools import Status

CODE = "```python\nprint(6 * 7)\n```"
STEP = "Compute the sum"


def result(status: Status = "ok", content: str = "42", name: str = "python", silent: bool = False) -> CallFinished:
    return CallFinished("", "call-1", name, status, content, 0.1, silent=silent)


OK, SILENT, FAILED = result(), result(content="(nothing)", silent=True), result("error", "Traceback\nKeyError: 'price'")


def state(*turns: tuple[CallFinished, ...], **fields: Any) -> State:
    """Of a branch with a tool that runs code, where these turns called something and nothing else was said."""
    history = Transcript((System("You are terse."), User("the task")))
    for turn in turns:
        made = tuple(ToolCall(done.call_id, done.name, "{}") for done in turn)
        told = [ToolResult(done.call_id, done.name, done.content, done.ok) for done in turn]
        history = history.append(Assistant(CODE, made), *told)
    known: dict[str, Any] = {"task": "the task", "tools": frozenset({"plan", "python"}), "kind": Kind.CALL} | fields
    return State(transcript=history, turns=turns, **known)


def bare(move: Move) -> Move:
    """A move without the words in it."""
    return replace(move, why="", hint="", opening="") if isinstance(move, Next) else replace(move, why="")


def words(move: Move, of: Literal["hint", "answer", "opening"]) -> str:
    said = getattr(move, of)
    assert isinstance(said, str)
    return said
