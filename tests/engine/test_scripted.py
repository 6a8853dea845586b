"""The public doubles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_server import Answer, FakeServer, call, delta, said, serving, usage

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.scripted import ReplayModel, ScriptedModel
from fastslow.agent.engine.types import Delta, Engine, Reply, Request
from fastslow.agent.errors import ContextOverflow
from fastslow.agent.transcript import ToolCall, User
from fastslow.tools import Tool

ADD = Tool.from_schema(
    "add",
    "Add.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    lambda a: a,
)


async def collect(engine: Engine, request: Request) -> list[Delta | Reply]:
    return [item async for item in engine.stream(request)]


async def test_script_is_followed() -> None:
    async def later(request: Request) -> Reply:
        return Reply(f"{len(request.messages)} messages")

    model = ScriptedModel([Reply("Hello.", "Hm."), lambda request: Reply(request.mode.name), later])
    request = Request((User("Hi"),))
    assert await model.connect() == ()
    assert await collect(model, request) == [
        Delta("thinking", "Hm."),
        Delta("text", "Hello."),
        Reply("Hello.", "Hm."),
    ]
    assert (await collect(model, request))[-1] == Reply("fast")
    with pytest.raises(AssertionError, match="2 of 3"):
        model.assert_complete()
    assert (await collect(model, request))[-1] == Reply("1 messages")
    model.assert_complete()
    assert model.requests == [request] * 3


async def test_script_that_is_too_short() -> None:
    with pytest.raises(AssertionError, match="0 replies"):
        await collect(ScriptedModel([]), Request((User("Hi"),)))


async def test_a_prompt_that_fills_the_context_is_refused() -> None:
    model = ScriptedModel([Reply("ok")], context=100)
    assert await model.count((User("x" * 380),)) < 110 <= await model.count((User("x" * 380),), (ADD,))
    with pytest.raises(ContextOverflow, match="100 tokens"):
        await collect(model, Request((User("x" * 400),)))
    assert await model.count((User("한" * 380),)) == await model.count((User("x" * 380),))


async def test_recording_is_replayed_through_the_same_code(tmp_path: Path) -> None:
    """A damaged stream, with the detokenized text that mends it, gives the same reply from the file."""
    path = tmp_path / "run.jsonl"
    request = Request((User("Add \u2028 1"),), (ADD,))
    async with serving(FakeServer()) as fake:
        fake.text = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
        broken = call(0, "x", name="add", arguments='{"a"')
        fake.answers = [
            Answer([delta([1, 2], tool_calls=[broken]), delta(finish="stop"), usage()]),
            said("Done."),
        ]
        live = VLLM(fake.url, profile="exaone4", api_key="s3cret", probe=False, record=path)
        recorded = [await collect(live, request), await collect(live, Request((User("Bye"),)))]
        await live.aclose()
    assert "s3cret" not in path.read_text("utf-8")
    lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    assert all(set(json.loads(line)) >= {"path", "request", "status", "body"} for line in lines)

    replay = ReplayModel(path, profile="exaone4")
    replayed = [await collect(replay, request), await collect(replay, Request((User("Bye"),)))]
    replay.assert_complete()
    for before, after in zip(recorded, replayed, strict=True):
        was, now = before[-1], after[-1]
        assert isinstance(was, Reply)
        assert isinstance(now, Reply)
        assert (was.content, was.notes, was.usage.answer) == (now.content, now.notes, now.usage.answer)
        assert [(c.name, c.arguments) for c in was.calls] == [(c.name, c.arguments) for c in now.calls]
    reply = replayed[0][-1]
    assert isinstance(reply, Reply)
    assert isinstance(reply.calls[0], ToolCall)


async def test_recording_that_is_too_short_or_too_long(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with serving(FakeServer()) as fake:
        fake.answers = [said("One.")]
        live = VLLM(fake.url, profile="exaone4", probe=False, record=path)
        await collect(live, Request((User("Hi"),)))
        await live.aclose()
    replay = ReplayModel(path, profile="exaone4")
    await replay.connect()
    with pytest.raises(AssertionError, match="1 recorded"):
        replay.assert_complete()
    await collect(replay, Request((User("Hi"),)))
    with pytest.raises(LookupError, match="no further answer"):
        await collect(replay, Request((User("Hi"),)))
