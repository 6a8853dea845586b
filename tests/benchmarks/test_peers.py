"""What the benchmark beside peers counts, against a server with scripted answers; and how it goes on where it was."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.contender import CONTENDERS, Contender
from benchmarks.peers.loopback import Loopback
from benchmarks.peers.measure import Limits
from benchmarks.peers.recorded import Run
from fastslow import ScriptedModel
from fastslow.agent.errors import EngineUnreachable
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.rows import read
from fastslow.agent.evals.suites import SUITES
from fastslow.agent.events import CallStarted, Exit, Result
from fastslow.tools import Tool

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 64}}
REQUEST = {
    "model": "m",
    "messages": [],
    "tools": [{"type": "function", "function": {"name": "double", "parameters": SCHEMA}}],
}
BARE = next(each for each in CONTENDERS if each.name == "bare loop")
WHOLE_FILES = next(each for each in CONTENDERS if each.name == "bare loop, whole files")
REQUIRED = next(each for each in CONTENDERS if each.name == "bare loop, required")


def says(content: str, *calls: tuple[str, str]) -> dict[str, Any]:
    functions = [
        {"id": str(n), "type": "function", "function": {"name": name, "arguments": text}}
        for n, (name, text) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": functions}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}


def double(x: int) -> int:
    if x > 100:
        raise ValueError("too much")
    return 2 * x


def case(**more: Any) -> Case:
    tool = Tool.from_schema("double", "Double a number.", SCHEMA, double)
    return Case("single", "g", "c", "task", lambda _: "", tools=lambda: (tool,), sandboxed=False, **more)


@asynccontextmanager
async def upstream(answers: Iterable[dict[str, Any]]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A model's server with these answers, and the requests that it got."""
    script, asked = iter(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if posted := head.lower().partition(b"content-length:")[2]:
            asked.append(json.loads(await reader.readexactly(int(posted.split()[0]))))
        answer = next(script, None) if posted else {}
        body, status = json.dumps(answer).encode(), b"404" if answer is None else b"200"
        fields = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        writer.write(b"HTTP/1.1 %s .\r\n%s%s" % (status, fields, body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", asked


@asynccontextmanager
async def recorded(run: Run, *answers: dict[str, Any], **filled: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    async with upstream(answers) as (url, asked), Loopback(url, filled=filled) as loopback:
        loopback.runs["a"] = run
        async with httpx.AsyncClient(base_url=f"{loopback.address}/run/a", trust_env=False) as client:
            yield client, asked


def row(run: Run) -> Any:
    return run.row("peer", 2, "m", run.result("", Exit.ANSWERED, "", 1.0, ()), "")


async def test_tokens_turns_and_calls_are_counted_where_they_pass() -> None:
    run = Run(case(), case().tools(), most=9)
    calls = [("double", '{"x": 1}'), ("double", '{"x": "1"}'), ("treble", '{"x": 1}'), ("double", '{"x":')]
    async with recorded(run, says("", *calls), says("done")) as (client, _):
        for _ in range(2):
            await client.post("/v1/chat/completions", json=REQUEST)
    counted = row(run)
    assert (counted.calls, counted.valid, counted.turns, counted.tool_turns) == (4, 1, 2, 1)
    assert (counted.prompt, counted.cached, counted.answer, counted.tool_tokens) == (200, 128, 14, 7)


async def test_calls_that_stand_in_code_or_text_are_counted_where_they_are_carried_out() -> None:
    run = Run(case(), case().tools(), most=9)
    async with recorded(run, says("double(x=21)"), says("", ("double", '{"x": 1}'))) as (client, _):
        await client.post("/v1/chat/completions", json=REQUEST)
        ran = await client.post("/tool/double", json={"x": 21})
        unfit = await client.post("/tool/double", content="{'x': 21}")
        failed = await client.post("/tool/double", json={"x": 101})
        await client.post("/v1/chat/completions", json=REQUEST)
        await client.post("/tool/double", json={"x": 1})
    assert (ran.status_code, ran.text) == (200, "42")
    assert unfit.status_code == failed.status_code == 422
    assert "too much" in failed.text
    assert (row(run).calls, row(run).valid) == (4, 3)  # that of the answer is not counted twice


async def test_a_run_is_left_behind_the_calls_that_count() -> None:
    run = Run(case(stop_when=lambda _: False), case().tools(), most=9)
    async with recorded(run, says("", ("treble", "{}")), says("", ("double", '{"x": 1}'))) as (client, asked):
        statuses = [(await client.post("/v1/chat/completions", json=REQUEST)).status_code for _ in range(3)]
    assert statuses == [200, 200, 400]
    assert run.decided.is_set()
    assert len(asked) == 2


async def test_a_run_has_so_many_requests() -> None:
    run = Run(case(), case().tools(), most=1)
    async with recorded(run, says("a")) as (client, _):
        statuses = [(await client.post("/v1/chat/completions", json=REQUEST)).status_code for _ in range(2)]
    assert statuses == [200, 400]


async def test_requests_keep_what_they_say_and_are_given_what_they_leave_out() -> None:
    run = Run(case(), case().tools(), most=9)
    async with recorded(run, says("a"), says("b"), temperature=0.0) as (client, asked):
        await client.post("/v1/chat/completions", json=REQUEST)
        await client.post("/v1/chat/completions", json=REQUEST | {"temperature": 0.5})
    assert [each["temperature"] for each in asked] == [0.0, 0.5]


async def test_who_wants_a_stream_gets_one() -> None:
    run = Run(case(), case().tools(), most=9)
    wanted = REQUEST | {"stream": True, "stream_options": {"include_usage": True}}
    async with recorded(run, says("hello", ("double", "{}"))) as (client, asked):
        lines = (await client.post("/v1/chat/completions", json=wanted)).text.split("\n\n")
    assert "stream" not in asked[0]
    delta = json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]
    assert (delta["content"], delta["tool_calls"][0]["index"]) == ("hello", 0)
    assert lines[1] == "data: [DONE]"


def test_calls_reach_the_judges_as_those_of_our_own_runs_do() -> None:
    one = SUITES["single"](2)[0]
    name = one.tools()[0].name
    run = Run(one, one.tools(), most=9)
    tools = [
        {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}} for tool in one.tools()
    ]
    run.answered({"tools": tools}, says("", (name, '{"city": "Nowhere"}')), 1.0)
    result: Result = run.result("", Exit.ANSWERED, "", 1.0, ())
    seen = [event.call.name for event in result.events if isinstance(event, CallStarted)]
    assert seen == [name]
    assert name in one.judge(result)


def told(out: Path, url: str) -> argparse.Namespace:
    return argparse.Namespace(out=out, base_url=url, at_once=2, temperature=None, seed=2, limits=Limits())


@pytest.fixture
def _unconnected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peers, "VLLM", lambda _: ScriptedModel([]))
    return


@pytest.mark.usefixtures("_unconnected")
async def test_goes_on_where_it_was(tmp_path: Path) -> None:
    cases = SUITES["chat"](2)[:3]
    async with upstream([says("hello")] * 3) as (url, asked):
        options = told(tmp_path, url)
        await peers.measure(options, cases[:2], [BARE])
        with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"suite": "cha')  # killed while it wrote
            file.write("\n")
        await peers.measure(options, cases, [BARE])
    rows = read(tmp_path / "rows.jsonl")
    assert sorted(row.case for row in rows) == sorted(case.id for case in cases)
    assert len(asked) == 3
    assert asked[0]["messages"][1]["content"] in {case.task for case in cases}
    assert "| bare loop | 100 | 0 of 3 |" in peers.report(rows, "command", Limits())


@pytest.mark.usefixtures("_unconnected")
async def test_only_a_first_turn_must_call(tmp_path: Path) -> None:
    async with upstream([says("", ("nothing", "{}")), says("hello")]) as (url, asked):
        await peers.measure(told(tmp_path, url), SUITES["chat"](2)[:1], [REQUIRED])
    assert [each["tool_choice"] for each in asked] == ["required", "auto"]


@pytest.mark.usefixtures("_unconnected")
async def test_what_a_contender_dies_of_is_its_result(tmp_path: Path) -> None:
    broken = Contender("broken", "bare.py:nothing")
    async with upstream([]) as (url, _):
        options = told(tmp_path, url)
        await peers.measure(options, SUITES["chat"](2)[:1], [broken])
        await peers.measure(options, SUITES["chat"](2)[:1], [BARE])  # its server says nothing
    rows = read(tmp_path / "rows.jsonl")
    assert [row.exit for row in rows] == ["failed", "failed"]
    assert "the process ended with 1" in rows[0].wrong


@pytest.mark.usefixtures("_unconnected")
async def test_a_server_that_went_away_is_nobodys_failure(tmp_path: Path) -> None:
    async with upstream([]) as (url, _):
        pass
    with pytest.raises(ExceptionGroup) as raised:
        await peers.measure(told(tmp_path, url), SUITES["chat"](2)[:1], [BARE])
    assert raised.group_contains(EngineUnreachable)
    assert not read(tmp_path / "rows.jsonl")


def test_names_that_are_not_known_are_told() -> None:
    assert [each.name for each in peers.chosen("langgraph,smolagents-code")] == ["smolagents, code", "langgraph"]
    with pytest.raises(SystemExit, match=r"expected some of fastslow,bare-loop,.*; got nobody"):
        peers.chosen("nobody")


def test_those_that_mend_repositories_take_part_where_there_are_some() -> None:
    with pytest.raises(SystemExit, match="got mini-swe-agent"):
        peers.chosen("mini-swe-agent")
    assert [each.name for each in peers.chosen("mini-swe-agent", coding=True)] == ["mini-swe-agent"]
    assert set(peers.chosen(None, coding=True)) > set(peers.chosen(None))


@pytest.mark.docker
@pytest.mark.usefixtures("_unconnected")
async def test_whole_files_are_written_tested_and_judged(tmp_path: Path) -> None:
    one, other, *_ = SUITES["edits"](2)
    assert one.repository
    [(path, content)] = one.repository.solution.items()
    assert content
    mended = f"**{path}**\n```python\n{content.decode()}```\n"
    won_over = "tests/test_slugs.py\n```\n```\ntests/test_names.py\n```\n```\ntests/test_table.py\n```\n```\n"
    async with upstream([says("It is mended."), says(mended), *[says(won_over)] * 5]) as (url, asked):
        await peers.measure(told(tmp_path, url), [one], [WHOLE_FILES])
        await peers.measure(told(tmp_path, url), [other], [WHOLE_FILES])
    first, second = read(tmp_path / "rows.jsonl")
    assert (first.right, first.exit, first.turns) == (True, "answered", 2)
    assert "There was no file in your answer." in asked[1]["messages"][-1]["content"]
    prompt = asked[0]["messages"][1]["content"]
    assert prompt.startswith(one.task)
    assert "1 failed" in prompt
    assert all(name in prompt for name in one.repository.files)
    assert (second.right, second.turns) == (False, 5)  # tests that were emptied are put back
    assert "the tests end with error 1" in second.wrong


@pytest.mark.docker
@pytest.mark.usefixtures("_unconnected")
async def test_a_repository_is_mended_with_bash_alone(tmp_path: Path) -> None:
    [one] = SUITES["edits"](2)[:1]
    assert one.repository
    [(path, content)] = one.repository.solution.items()
    assert content
    command = f"cat > {path} <<'END'\n{content.decode()}END\nrm README.md"
    async with upstream([says("", ("bash", json.dumps({"command": command}))), says("Done.")]) as (url, asked):
        await peers.measure(told(tmp_path, url), [one], [BARE])
    [row] = read(tmp_path / "rows.jsonl")
    assert (row.right, row.calls, row.valid) == (True, 1, 1)
    assert [tool["function"]["name"] for tool in asked[0]["tools"]] == ["bash"]
    assert asked[1]["messages"][-1]["content"] == "exit code 0\n"
