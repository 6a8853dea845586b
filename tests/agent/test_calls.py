"""Code that an agent runs calls the agent's own tools."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from fastslow import Agent, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallDisplay, CallFinished, CallStarted, Event, NetworkUsed, RunFinished
from fastslow.agent.transcript import System, ToolCall
from fastslow.sandbox import DockerSandbox, Limits, Network
from fastslow.tools import Tool, tool


@tool(effect="read")
def price(item: str, count: int = 1) -> dict[str, float]:
    """The price of some items.

    Args:
        item: Which.
        count: How many.
    """
    if item == "air":
        raise ValueError("air is free")
    return {"total": 2.5 * count}


@tool(effect="read")
async def late(seconds: float) -> float:
    """Wait.

    Args:
        seconds: How long.
    """
    await asyncio.sleep(seconds)
    return seconds


async def run(code: str, tools: Sequence[Tool], allow: Sequence[str] = ()) -> tuple[list[Event], ScriptedModel]:
    call = ToolCall("c1", "python", json.dumps({"code": code}))
    model = ScriptedModel([Reply(calls=(call,)), Reply("Done.")])
    sandbox = DockerSandbox(Limits(memory=256 << 20, seconds=20), network=Network(tuple(allow)))
    agent = Agent(engine=model, tools=tools, sandbox=sandbox)
    events = [event async for event in agent.stream("Do it.")]
    await agent.aclose()
    return events, model


def outer(events: list[Event]) -> CallFinished:
    [finished] = [event for event in events if isinstance(event, CallFinished) and not event.parent]
    return finished


@pytest.mark.docker
async def test_code_calls_the_agents_tools() -> None:
    code = """
total = sum(tools.price(item=name, count=2)["total"] for name in "abc")
try:
    tools.price(item="air")
except tools.ToolError as error:
    print(error)
try:
    tools.price(item="a", count="many")
except tools.ToolError as error:
    print(error)
print(total)
"""
    events, model = await run(code, [price, late])
    finished = outer(events)
    assert finished.ok, finished.content
    assert "price failed: ValueError: air is free" in finished.content
    assert "count" in finished.content
    assert finished.content.rstrip().endswith("15.0")
    started = [event for event in events if isinstance(event, CallStarted) and event.parent]
    ended = [event for event in events if isinstance(event, CallFinished) and event.parent]
    assert [event.call.id for event in started] == [f"c1.{n}" for n in range(1, 6)]
    assert [event.ok for event in ended] == [True, True, True, False, False]
    assert {event.parent for event in started + ended} == {"c1"}
    assert ended[0].content == '{"total":5.0}'
    [python] = [one for one in model.requests[0].tools if one.name == "python"]
    assert "tools.price(item: str, *, count: int = 1); tools.late(seconds: float)" in python.description


@pytest.mark.docker
async def test_calls_by_code_run_side_by_side_and_stop_with_it() -> None:
    code = "import asyncio\nprint(await asyncio.gather(*(tools.aio.late(seconds=0.3) for _ in range(10))))"
    events, _ = await run(code, [late])
    assert outer(events).content == str([0.3] * 10)
    assert outer(events).seconds < 2.5


@pytest.mark.docker
async def test_a_call_that_its_code_does_not_wait_for_is_stopped_and_told() -> None:
    code = """
import asyncio
try:
    await asyncio.wait_for(tools.aio.late(seconds=60), 0.3)
except TimeoutError:
    print("too late")
"""
    events, _ = await run(code, [late])
    assert outer(events).content == "too late"
    [ended] = [event for event in events if isinstance(event, CallFinished) and event.parent]
    assert (ended.ok, ended.content) == (False, "stopped: the code that called it ended")
    assert events.index(ended) < events.index(outer(events))


@pytest.mark.docker
async def test_code_calls_nothing_but_what_was_offered() -> None:
    code = "tools._call('python', {'code': '1'})"
    events, _ = await run(code, [late])
    assert "there is no function 'python' to call; there are: ['late']" in outer(events).content
    assert not [event for event in events if isinstance(event, CallStarted) and event.parent]


@pytest.mark.docker
async def test_connections_are_events_and_the_model_knows_what_it_reaches() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code = f"""
import urllib.request
print(urllib.request.urlopen("http://{here}/").read().decode())
urllib.request.urlopen("http://example.org/")
"""
        events, model = await run(code, [], allow=[here])
    assert outer(events).content.startswith("hello")
    used = {event.egress.host: event.egress for event in events if isinstance(event, NetworkUsed)}
    assert (used["127.0.0.1"].allowed, used["127.0.0.1"].received > 0) == (True, True)
    assert (used["example.org"].allowed, "not allowed" in used["example.org"].reason) == (False, True)
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert [event for event in finished.result.events if isinstance(event, NetworkUsed)]
    system = model.requests[0].messages[0]
    assert isinstance(system, System)
    assert f"no others: {here}." in system.content
    assert "without network" not in system.content


@pytest.mark.docker
async def test_displays_are_events_and_the_model_sees_text() -> None:
    events, _ = await run("import pandas as pd; pd.DataFrame({'a': [1]})", [])
    [display] = [event for event in events if isinstance(event, CallDisplay)]
    assert (display.call_id, "text/html" in display.data) == ("c1", True)
    assert outer(events).content == "   a\n0  1"
    assert isinstance(events[-1], RunFinished)


async def test_nothing_is_told_of_functions_where_there_are_none() -> None:
    from fastslow.tools.builtin import builtin_tools, host_functions

    odd = Tool.from_schema("odd-name", "Odd.", {"type": "object", "properties": {}}, lambda: None)
    assert builtin_tools(host_functions([odd])) == builtin_tools()
