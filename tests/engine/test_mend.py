"""Whatever a server sends, a reply comes of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.mend import count_usage, mend, needs_raw
from agent.engine.profiles import find_profile
from agent.engine.received import Received
from agent.engine.types import Request
from agent.modes import FAST, Mode
from agent.transcript import User
from tools import Tool

SCHEMA = {
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
}
TOOLS = (Tool.from_schema("python", "Run code.", SCHEMA, lambda code: code),)

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
