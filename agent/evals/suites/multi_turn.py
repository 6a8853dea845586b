"""`multi_turn_base` of the leaderboard: what a user wants one after the other of a small world (files, tickets, a car).

The world is the leaderboard's own code, and so is its checker, which compares what the calls left behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastslow.agent.evals.case import Case
from fastslow.agent.evals.suites.package import ask, lines, schema_of
from fastslow.agent.events import CallFinished, CallStarted, Event, Result, RunStarted
from fastslow.tools import Tool, ToolError

CATEGORY = "multi_turn_base"
FAILED = "Error during execution: "  # how the world's answer begins where a call raised
FUNCTIONS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One task of the leaderboard. tasks: the user's words, one after the other. world: as the leaderboard describes
    it, for its own code. answers: for each task, calls that lead to the right end."""

    id: str
    tasks: tuple[str, ...]
    world: Mapping[str, Any]
    answers: tuple[tuple[str, ...], ...]


def conversations() -> list[Conversation]:
    """All of them, in the order of the leaderboard."""
    answers = {each["id"]: each["ground_truth"] for each in lines(f"possible_answer/BFCL_v4_{CATEGORY}.json")}
    return [
        Conversation(
            id=told["id"],
            tasks=tuple(turn[0]["content"] for turn in told["question"]),
            world={name: told[name] for name in ("id", "initial_config", "involved_classes")},
            answers=tuple(tuple(calls) for calls in answers[told["id"]]),
        )
        for told in lines(f"BFCL_v4_{CATEGORY}.json")
    ]


def case_of(talk: Conversation) -> Case:
    first, *more = talk.tasks
    return Case(
        suite="bfcl",
        group=CATEGORY,
        id=talk.id,
        task=first,
        follow_ups=tuple(more),
        judge=partial(_judge, talk),
        tools=partial(tools_of, talk),
        sandboxed=False,
    )


def tools_of(talk: Conversation) -> tuple[Tool, ...]:
    """The functions of a fresh world, which goes with them."""
    world = World(talk)
    return tuple(
        Tool.from_schema(each["name"], each["description"], schema_of(each["parameters"]), world.function(each["name"]))
        for kind in talk.world["involved_classes"]
        for each in lines(f"multi_turn_func_doc/{FUNCTIONS[kind]}.json")
    )


class World:
    """What the calls so far made of a world. It is made anew for each call, and all calls are made again: so there is
    no process to be looked after, and a tenth of a second is little beside a turn of a model."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._calls: list[str] = []
        self._turn = asyncio.Lock()  # calls of one turn come side by side; their order matters here

    def function(self, name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> str:
            async with self._turn:
                calls = [*self._calls, call_source(name, arguments)]
                results = await asyncio.to_thread(ask, {"world": self._talk.world, "calls": calls})
                self._calls = calls
            told = str(results[-1])
            if told.startswith(FAILED):
                raise ToolError(told.removeprefix(FAILED))
            return told

        return call


def call_source(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the leaderboard writes it: Python, which its own code evaluates; so names must be names.

    >>> call_source("cd", {"folder": "a 'b'"})
    'cd(folder="a \\'b\\'")'
    """
    if odd := [each for each in (name, *arguments) if not each.isidentifier()]:
        raise ToolError(f"expected names of Python, got {odd[0]!r}")
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def verdict(talk: Conversation, made: Iterable[Iterable[str]]) -> str:
    """Empty when the calls, for each task, leave behind what the leaderboard's do, else why not."""
    made = [list(calls) for calls in made]
    if len(made) < len(talk.tasks):
        return f"expected {len(talk.tasks)} tasks to be done, got {len(made)}"
    asked = {"world": talk.world, "made": made, "answers": talk.answers}
    told = ask(asked)
    return "" if told["valid"] else " ".join(str(told.get("error_message") or told.get("error_type")).split())[:300]


def _judge(talk: Conversation, result: Result) -> str:
    names = {tool.name for tool in tools_of(talk)}
    return verdict(talk, _calls_by_task(result.events, names))


def _calls_by_task(events: Iterable[Event], names: set[str]) -> list[list[str]]:
    """The calls that went well, by the task that they were made for."""
    begun: dict[str, str] = {}
    made: list[list[str]] = []
    for event in events:
        if isinstance(event, RunStarted):
            made.append([])
        elif isinstance(event, CallStarted) and event.call.name in names and not event.parent:
            begun[event.call.id] = json.dumps([event.call.name, dict(event.arguments)])
        elif isinstance(event, CallFinished) and event.ok and event.call_id in begun:
            made[-1].append(call_source(*json.loads(begun.pop(event.call_id))))
    return made
