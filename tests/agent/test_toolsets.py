"""Toolsets: opened and closed once a run, asked for their tools before each turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, Exit, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import Event, RunFinished, RunStarted
from fastslow.tools import Tool, ToolDefinitionError, Toolset
from tests.agent.helpers import add, calls, fail, says


class Server(Toolset):
    """Lists `add`, and what was added since; writes down how often it was opened and closed."""

    def __init__(self, *tools: Tool, broken: str = "") -> None:
        self.tools = list(tools) or [add]
        self.broken = broken
        self.seen: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Callable[[], Sequence[Tool]]]:
        if self.broken == "open":
            raise ConnectionError("no server there")
        self.seen.append("open")
        try:
            yield self.list
        finally:
            self.seen.append("close")
        if self.broken == "close":
            raise ConnectionError("hung up")

    def list(self) -> Sequence[Tool]:
        if self.broken == "list":
            raise ConnectionError("gone")
        return self.tools


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, server: Toolset, *script: Any, tools: Sequence[Any] = ()) -> Agent:
    return Agent(engine=ScriptedModel(script), tools=[*tools, server], sandbox=None, journal=journal)


def names(request: Request) -> list[str]:
    return [tool.name for tool in request.tools if tool.name not in ("plan", "give_up")]


async def test_a_toolset_is_opened_and_closed_once_a_run(journal: Journal) -> None:
    server = Server()
    one = agent(
        journal, server, calls(("add", {"a": 1, "b": 2})), says("3"), calls(("add", {"a": 1, "b": 1})), says("2")
    )
    result = await one.run("t")
    assert (result.answer, server.seen) == ("3", ["open", "close"])
    assert isinstance(started := result.events[0], RunStarted)
    assert "add" in started.tools
    assert (await one.run("t")).answer == "2"
    assert server.seen == ["open", "close"] * 2


async def test_it_is_closed_when_the_run_fails(journal: Journal) -> None:
    def crash(request: Request) -> Reply:
        raise SystemError

    server = Server()
    with pytest.raises(SystemError):
        await agent(journal, server, crash).run("t")
    assert server.seen == ["open", "close"]


async def test_it_is_closed_when_the_run_is_cancelled(journal: Journal) -> None:
    async def waits(request: Request) -> Reply:
        under_way.set()
        await asyncio.sleep(60)
        raise AssertionError

    server, said, under_way = Server(), list[Event](), asyncio.Event()

    async def main() -> None:
        async with aclosing(agent(journal, server, waits).stream("t")) as events:
            async for event in events:
                said.append(event)

    running = asyncio.create_task(main())
    await under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.seen == ["open", "close"]
    assert isinstance(said[-1], RunFinished)
    assert said[-1].result.exit is Exit.CANCELLED


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("open", "the toolset Server could not be opened: ConnectionError: no server there"),
        ("list", "the toolset Server could not list its tools: ConnectionError: gone"),
    ],
)
async def test_what_cannot_be_opened_ends_the_run_with_a_reason(journal: Journal, broken: str, reason: str) -> None:
    other = Server()
    one = agent(journal, Server(broken=broken), tools=[other])
    result = await one.run("t")
    assert (result.exit, result.reason) == (Exit.FAILED, reason)
    assert other.seen == ["open", "close"]
    assert journal.runs()[0].exit is Exit.FAILED
    well = agent(journal, Server(), calls(("add", {"a": 1, "b": 2})), says("3"))
    assert (await well.resume("last")).answer == "3"


async def test_what_breaks_later_ends_the_run_with_a_reason(journal: Journal) -> None:
    server = Server()

    def breaks(request: Request) -> Reply:
        server.broken = "list"
        return calls(("add", {"a": 1, "b": 2}))

    result = await agent(journal, server, breaks).run("t")
    assert (result.exit, server.seen) == (Exit.FAILED, ["open", "close"])
    assert "could not list its tools" in result.reason


async def test_what_cannot_be_closed_is_told_and_the_answer_stays(journal: Journal) -> None:
    result = await agent(journal, Server(broken="close"), says("done")).run("t")
    assert (result.exit, result.answer) == (Exit.ANSWERED, "done")
    assert result.reason == "answered. a toolset could not be closed: ConnectionError: hung up"


async def test_a_list_that_changes_is_seen_by_the_next_turn(journal: Journal) -> None:
    server = Server()

    def more(request: Request) -> Reply:
        server.tools = [add, fail]
        return calls(("add", {"a": 1, "b": 2}))

    one = agent(journal, server, more, calls(("add", {"a": 1, "b": 3})), says("done"))
    assert (await one.run("t")).answer == "done"
    assert isinstance(one.engine, ScriptedModel)
    assert [names(request) for request in one.engine.requests] == [["add"], ["add", "fail"], ["add", "fail"]]
    assert one.engine.requests[1].tools is one.engine.requests[2].tools


async def test_two_tools_of_one_name_are_told(journal: Journal) -> None:
    result = await agent(journal, Server(), tools=[add]).run("t")
    assert (result.exit, result.reason) == (Exit.FAILED, "two tools are named 'add'; rename one: @tool(name=...)")
    with pytest.raises(ToolDefinitionError, match="two tools are named 'add'"):
        agent(journal, Server(), tools=[add, add])


async def test_a_replay_opens_nothing(journal: Journal) -> None:
    result = await agent(journal, Server(), calls(("add", {"a": 1, "b": 2})), says("3")).run("t")
    server = Server()
    replayed = [event async for event in agent(journal, server).replay(result.run)]
    assert isinstance(replayed[-1], RunFinished)
    assert (replayed[-1].result.answer, server.seen) == ("3", [])
