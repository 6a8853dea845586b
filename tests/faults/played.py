"""Plays one fault at a conversation over real HTTP, and says what came of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from unittest.mock import patch

from fastslow import VLLM, Agent, Result
from fastslow.agent.engine import retries
from fastslow.agent.engine.wire import is_object
from fastslow.agent.events import Notice
from fastslow.tools import Tool, tool
from tests.engine.fake_server import CHAT, Answer, FakeServer, Seen, serving
from tests.faults.catalog import CALL, FINAL, HANG_SECONDS, KNOWN, Fault, Played, Said


class Server(FakeServer):
    """Plays the fault; after it, a model that calls `weather` and answers once a tool has told it."""

    def __init__(self, fault: Fault, way: str) -> None:
        super().__init__()
        self.way = way
        self.plays = list(fault.plays)

    def answer(self, seen: Seen) -> Answer:
        if seen.path != CHAT:
            return super().answer(seen)
        if self.plays:
            return self._sent(self.plays.pop(0))
        knows = any(KNOWN in str(message["content"]) for message in seen.json["messages"] if message["role"] == "tool")
        return self._sent(Said(FINAL) if knows else CALL)

    def _sent(self, played: Played) -> Answer:
        if isinstance(played, Answer):
            return played
        return Answer(played.streamed()) if self.way == "stream" else Answer(body=played.whole())


@dataclass(frozen=True)
class Outcome:
    """ran: the tools' bodies, in order. told: to the model and the user. bodies: of the requests."""

    result: Result
    ran: tuple[str, ...]
    told: tuple[str, ...]
    bodies: tuple[Mapping[str, Any], ...]


async def play(fault: Fault, way: str) -> Outcome:
    """way: `"stream"`, or `"body"` for a server, or a proxy before it, that does not stream."""
    ran: list[str] = []
    async with serving(Server(fault, way)) as server:
        engine = VLLM(server.url, profile="exaone4", probe=False, timeout=fault.timeout)
        agent = Agent(engine=engine, tools=_tools(ran), sandbox=None, journal=None, think=fault.think)
        with _hurried():
            result = await agent.run("What is the weather in Seoul?")
        await agent.aclose()
        notes = [event.text for event in result.events if isinstance(event, Notice)]
        read = [str(message["content"]) for body in server.chats for message in body["messages"]]
        return Outcome(result, tuple(ran), (*notes, *read), tuple(server.chats))


@contextmanager
def _hurried() -> Iterator[None]:
    """The pauses between tries are drawn from milliseconds."""
    with patch.object(retries, "FIRST_PAUSE", 0.001):
        yield


def _tools(ran: list[str]) -> list[Tool]:
    @tool(effect="read")
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        ran.append(f"weather({city})")
        return f"{city}: {KNOWN}"

    @tool(effect="read")
    def forecast(city: str, days: int) -> str:
        """Foretell the weather.

        Args:
            city: Where.
            days: How many.
        """
        ran.append(f"forecast({city}, {days})")
        return f"{city}: {KNOWN}"

    @tool(effect="read")
    def clock() -> str:
        """Tell the time."""
        ran.append("clock()")
        return f"Noon, {KNOWN}"

    @tool(effect="read", timeout=HANG_SECONDS)
    async def bad(how: str) -> Any:
        """Go wrong.

        Args:
            how: In what way.
        """
        ran.append(f"bad({how})")
        return await _go_wrong(how)

    return [weather, forecast, clock, bad]


async def _go_wrong(how: str) -> Any:
    match how:
        case "raise":
            raise OSError("no such station")
        case "hang":
            await asyncio.sleep(60)
        case "flood":
            return "ten bytes.\n" * 500_000
        case "object":
            return object
        case "surrogate":
            return "20 \ud800"
        case "exit":
            _leave()
    raise AssertionError(how)


def _leave() -> NoReturn:
    sys.exit(3)


def history_problem(body: Mapping[str, Any]) -> str:
    """What a server, or its chat template, would choke on in a request's history; empty for a clean one."""
    open_calls: list[str] = []
    ids: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return f"a result without its call: {message['tool_call_id']}"
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"calls without a result: {open_calls}"
        if message["role"] != "assistant":
            continue
        calls = message.get("tool_calls") or []
        if not calls and not (message.get("content") or "").strip():
            return "an empty assistant turn"
        for each in calls:
            if not is_object(each["function"]["arguments"]) or each["id"] in ids:
                return f"a damaged call: {each}"
            ids.add(each["id"])
            open_calls.append(each["id"])
    return f"calls without a result: {open_calls}" if open_calls else ""
