"""Whatever a server sends, a reply comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.agent.engine.mend import count_usage, mend, needs_raw
from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.engine.received import Received
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import User
from fastslow.tools import ArgumentError, Tool, parse_arguments

SCHEMA = {
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
}
TOOLS = (Tool.from_schema("python", "Run code.", SCHEMA, lambda code: code),)


def mended(raw: str = "", **message: Any) -> Reply:
    received = Received()
    received.feed({"choices": [{"message": message, "finish_reason": "stop"}]})
    return mend(received, Request((User("Hi"),), TOOLS, FAST), find_profile("instruct"), raw)


@pytest.mark.parametrize("name", ["python", " python ", "functions.python", "functions.python:3"])
@pytest.mark.parametrize("arguments", ['{"code": "1"}', {"code": "1"}])
def test_a_name_and_arguments_in_another_form_are_what_they_mean(name: str, arguments: Any) -> None:
    [call] = mended(tool_calls=[{"id": "a", "function": {"name": name, "arguments": arguments}}]).calls
    assert (call.name, json.loads(call.arguments)) == ("python", {"code": "1"})


WHOLE = '<tool_call>{"name": "python", "arguments": {"code": "1"}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (
            'So: <tool_call>{"name": "python", "arguments": {"code": oops}}</tool_call>',
            "So:",
            [("python", '{"name": "python", "arguments": {"code": oops}}</tool_call>')],
        ),
        (
            '<tool_call>{"name": "python", "arguments": {"code": "rm',
            "",
            [("python", '{"name": "python", "arguments": {"code": "rm')],
        ),
        (WHOLE.replace("python", "pyton"), "", [("pyton", '{"code": "1"}')]),
        (
            f'{WHOLE}<tool_call>{{"name": "python", oops',
            "",
            [("python", '{"code": "1"}'), ("python", '{"name": "python", oops')],
        ),
        ("The tag <tool_call> begins a call.", "The tag <tool_call> begins a call.", []),
        ('{"name": "Bob", "arguments": {}}', '{"name": "Bob", "arguments": {}}', []),
    ],
)
def test_a_call_that_cannot_be_read_is_no_answer(text: str, content: str, calls: list[tuple[str, str]]) -> None:
    reply = mended(content=text)
    assert (reply.content, [(call.name, call.arguments) for call in reply.calls]) == (content, calls)
    for call in reply.calls[len(calls) - 1 :]:
        if call.name == "python":
            with pytest.raises(ArgumentError):  # it is told, and never runs
                parse_arguments(SCHEMA, call.arguments)


TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", "```python\n", "\n```\n", "```"]
BITS = ['{"name": "python", ', '"arguments": {"code": "1"}}', "x = 1", "\n", " ", '"', "}"]
PIECES = st.sampled_from(TAGS + BITS)
TEXT = st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda inner: st.lists(inner, max_size=3)
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": JSON,
        "id": JSON,
        "function": st.fixed_dictionaries({}, optional={"name": JSON, "arguments": JSON}),
    },
)
PART = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON,
        "reasoning": JSON,
        "reasoning_content": JSON,
        "tool_calls": st.lists(CALL | JSON, max_size=3) | JSON,
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "delta": PART | JSON,
        "message": PART | JSON,
        "finish_reason": JSON,
        "stop_reason": JSON,
        "token_ids": JSON,
    },
)
CHUNK = st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE | JSON, max_size=2) | JSON, "usage": JSON})


@settings(max_examples=300, deadline=None)
@given(
    chunks=st.lists(CHUNK, max_size=4),
    raw=TEXT,
    mode=st.sampled_from([FAST, Mode(64)]),
    profile=st.sampled_from(["exaone4", "instruct", "qwen35"]),
)
def test_nothing_that_arrives_breaks_the_client(
    chunks: list[dict[str, Any]], raw: str, mode: Mode, profile: str
) -> None:
    received = Received()
    for chunk in chunks:
        received.feed(chunk)
    needs_raw(received)
    reply = mend(received, Request((User("Hi"),), TOOLS, mode), find_profile(profile), raw)
    usage = count_usage(received, received.thinking_ids, 0.1)
    assert min(usage.prompt, usage.cached, usage.thinking, usage.answer) >= 0
    assert len({call.id for call in reply.calls}) == len(reply.calls)
    assert all(call.name for call in reply.calls)
    for call in reply.calls:
        if call.form == "fenced":
            assert json.loads(call.arguments)["code"].strip()
            assert reply.content.endswith("```") or received.finish != "length"
