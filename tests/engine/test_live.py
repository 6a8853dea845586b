"""The client against a real vLLM server with the embedded model and our chat template."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.scripted import ReplayModel
from fastslow.agent.engine.types import ANY, Delta, Reply, Request
from fastslow.agent.errors import ConfigurationError, ContextOverflow
from fastslow.agent.managed_server import key_for
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Assistant, Message, System, ToolResult, User
from fastslow.tools import Tool

pytestmark = pytest.mark.engine

REPORT = Tool.from_schema(
    "report",
    "Report a reading.",
    {
        "type": "object",
        "properties": {
            "level": {"type": "string", "enum": ["low", "high"]},
            "counts": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["level", "counts"],
        "additionalProperties": False,
    },
    lambda level, counts: level,
)
CODE = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "Python source."}},
    "required": ["code"],
    "additionalProperties": False,
}
PYTHON = Tool.from_schema("python", "Run Python.", CODE, lambda code: code)
SYSTEM = System(
    "You are careful. To run Python, write one ```python block and stop. "
    + "Numbers are exact, units are metric. " * 20
)


@pytest.fixture
async def engine(vllm_url: str) -> AsyncIterator[VLLM]:
    engine = VLLM(vllm_url, profile="instruct")
    await engine.connect()
    yield engine
    await engine.aclose()


async def turn(engine: VLLM, request: Request) -> Reply:
    *deltas, reply = [item async for item in engine.stream(request)]
    assert isinstance(reply, Reply)
    assert all(isinstance(item, Delta) for item in deltas)
    return reply


async def test_everything_the_profile_says_holds(engine: VLLM) -> None:
    findings = await engine.probe()
    assert [finding for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} >= {"switch", "prefix", "budget", "strict calls", "cache"}


async def test_the_mode_is_a_property_of_the_turn(engine: VLLM) -> None:
    messages = (SYSTEM, User("Explain in one sentence why the sky is blue."))
    fast = await turn(engine, Request(messages, answer_tokens=24))
    think = await turn(engine, Request(messages, mode=Mode(24), answer_tokens=24))
    assert (fast.reasoning, fast.usage.thinking) == ("", 0)
    assert fast.content
    assert think.reasoning
    assert 0 < think.usage.thinking <= 24 + 2
    assert "</think>" not in fast.content + think.content
    assert think.usage.cached > 0  # the switch kept the prompt


async def test_budget_ends_thoughts(engine: VLLM) -> None:
    request = Request((User("Write a long story about a fox."),), mode=Mode(8), answer_tokens=16)
    reply = await turn(engine, request)
    assert reply.usage.thinking <= 8 + 2
    assert reply.usage.thinking + reply.usage.answer <= 8 + 16


async def test_code_comes_from_a_block(engine: VLLM) -> None:
    request = Request((SYSTEM, User("Use Python to print the sum of the squares of 1 to 10.")), (PYTHON, REPORT))
    reply = await turn(engine, request)
    (call,) = reply.calls
    assert (call.name, call.form) == ("python", "fenced")
    compile(json.loads(call.arguments)["code"], "block", "exec")
    assert reply.content.endswith("```")
    assert "<|" not in reply.content


async def test_code_comes_where_it_must(engine: VLLM) -> None:
    ask = User("Greet me in words, and run nothing.")
    reply = await turn(engine, Request((SYSTEM, ask), (PYTHON, REPORT), answer_tokens=80, force="python"))
    (call,) = reply.calls
    assert (call.name, call.form) == ("python", "fenced")
    assert reply.content.startswith("```python\n")


@pytest.mark.parametrize("mode", [FAST, Mode(6)])
async def test_forced_call_obeys_its_schema(engine: VLLM, mode: Mode) -> None:
    ask = User("Report the level 'purple' and the counts one, two and 'many'.")
    reply = await turn(engine, Request((SYSTEM, ask), (PYTHON, REPORT), mode, answer_tokens=80, force="report"))
    (call,) = reply.calls
    assert (call.name, call.form) == ("report", "native")
    jsonschema.validate(json.loads(call.arguments), REPORT.parameters)


@pytest.mark.parametrize("mode", [FAST, Mode(6)])
async def test_as_many_calls_as_are_wanted_come_in_one_turn(engine: VLLM, mode: Mode) -> None:
    ask = User("Report a reading for each day: Monday low 1, Tuesday high 2, Wednesday low 3.")
    reply = await turn(engine, Request((SYSTEM, ask), (REPORT,), mode, force=ANY))
    told = [json.loads(call.arguments) for call in reply.calls]
    for each in told:
        jsonschema.validate(each, REPORT.parameters)
    assert told
    if not mode.thinks:  # thoughts that are cut off so soon may mislead it
        assert [(each["level"], each["counts"]) for each in told] == [("low", [1]), ("high", [2]), ("low", [3])]
    assert reply.notes == ()


@pytest.mark.parametrize("mode", [FAST, Mode(6)])
async def test_schema_is_obeyed(engine: VLLM, mode: Mode) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "green"]}, "n": {"type": "integer", "maximum": 9}},
        "required": ["color", "n"],
        "additionalProperties": False,
    }
    ask = (SYSTEM, User("What is your favourite colour and number?"))
    reply = await turn(engine, Request(ask, (REPORT,), mode, answer_tokens=40, schema=schema))
    assert reply.calls == ()
    jsonschema.validate(json.loads(reply.content), schema)


async def test_a_tool_loop_is_served_from_the_cache(engine: VLLM) -> None:
    """Fast turns only append, so all whole blocks of prompt and answer come from the prefix cache."""
    messages: tuple[Message, ...] = (
        SYSTEM,
        User("Use Python to print 7 to the power of 5. Then say the result."),
    )
    first = await turn(engine, Request(messages, (PYTHON, REPORT)))
    assert first.calls
    result = ToolResult(first.calls[0].id, "python", "16807")
    messages = (*messages, Assistant(first.content, first.calls, first.reasoning), result)
    second = await turn(engine, Request(messages, (PYTHON, REPORT), answer_tokens=40))
    assert second.usage.cached >= (first.usage.prompt + first.usage.answer) // 32 * 32 - 32
    assert second.usage.cached > 0
    third = await turn(engine, Request(messages, (PYTHON, REPORT), Mode(8), answer_tokens=8))
    assert third.usage.cached >= second.usage.cached  # thinking sees the same prompt up to its tail


async def test_count_agrees_with_the_server(engine: VLLM) -> None:
    messages = (SYSTEM, User("Hello."))
    reply = await turn(engine, Request(messages, (PYTHON, REPORT), answer_tokens=8))
    assert await engine.count(messages, (PYTHON, REPORT)) == reply.usage.prompt


async def test_a_prompt_that_is_too_long(engine: VLLM) -> None:
    with pytest.raises(ContextOverflow, match="--max-model-len"):
        await turn(engine, Request((User("0 1 " * engine.context),)))


async def test_closing_stops_the_server_from_generating(engine: VLLM, vllm_url: str) -> None:
    async with aclosing(engine.stream(Request((User("Count from 1 to 1000."),)))) as items:
        async for _ in items:
            break
    metrics = vllm_url.removesuffix("/v1") + "/metrics"
    headers = {"Authorization": f"Bearer {key_for(vllm_url)}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        for _ in range(50):
            running = re.findall(r"^vllm:num_requests_running\S* (\S+)", (await client.get(metrics)).text, re.MULTILINE)
            if running and sum(map(float, running)) == 0:
                return
            await asyncio.sleep(0.1)
    pytest.fail("the server still generates 5 s after the connection was closed")


async def test_unknown_model(vllm_url: str) -> None:
    engine = VLLM(vllm_url, "no-such-model")
    with pytest.raises(ConfigurationError, match="no-such-model"):
        await engine.connect()
    await engine.aclose()


async def test_a_recorded_stream_is_replayed(vllm_url: str, tmp_path: Path) -> None:
    request = Request((SYSTEM, User("Report level low, count 1.")), (REPORT,), force="report", answer_tokens=80)
    live = VLLM(vllm_url, profile="instruct", probe=False, record=tmp_path / "run.jsonl")
    before = await turn(live, request)
    await live.aclose()
    replay = ReplayModel(tmp_path / "run.jsonl", profile="instruct")
    after = await turn(replay, request)
    replay.assert_complete()
    assert (after.calls, after.content, after.usage.answer) == (
        before.calls,
        before.content,
        before.usage.answer,
    )


class Looping(VLLM):
    """Makes the model say the same token for ever."""

    async def _body(self, turn: Any) -> dict[str, Any]:
        server = await self._reach.server()
        word = {"model": self.model, "prompt": " dog", "add_special_tokens": False}
        [token] = (await server.post(f"{server.root}/tokenize", word))["tokens"]
        return {**await super()._body(turn), "logit_bias": {token: 100}}


async def test_the_server_ends_an_answer_that_goes_round_in_circles(vllm_url: str) -> None:
    engine = Looping(vllm_url, profile="instruct", probe=False)
    *_, reply = [item async for item in engine.stream(Request((User("Hi"),)))]
    await engine.aclose()
    assert isinstance(reply, Reply)
    assert (reply.finish, reply.usage.answer) == ("repetition", 256)  # of the 700 that it might have had
    assert "round in circles" in reply.notes[-1]
