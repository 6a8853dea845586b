"""Any text at all: recovery of calls never raises, never gives what is no JSON, and takes linear time."""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.agent.engine.recover import DIALECTS, lost_calls, recover_calls

CALL = '{"name": "f", "arguments": {"a": 1}}'
# What texts are put together from; no piece has a blank in it but those of SPACED.
UNSPACED = """
<tool_call> </tool_call> <think> </think> <function=f> </function> <parameter=a> </parameter> </invoke>
<arg_key> </arg_key> <arg_value> </arg_value> [TOOL_CALLS] [ARGS] <|python_tag|> f( a= ) r'''
<｜tool▁call▁begin｜> <｜tool▁sep｜> <|tool_call_begin|> <|tool_call_argument_begin|>
<|"|> <|tool_call>call:f{a: <tool_call|> ]<]minimax[>[<a> to=functions.f<|message|>
"name" "arguments" "f" 1 true NaN x { } [ ] , : " '
"""
SPACED = [
    *("```json\n", "\n```", "\n", " ", "\\", "\ud800", "\\ud800", "\0", CALL, f"<tool_call>\n{CALL}\n</tool_call>"),
    *('<invoke name="f">', '<parameter name="a">', ']<]minimax[>[<invoke name="f">'),
    '<|open|>call tool="f" index="1"<|sep|>',
]
PIECES = st.sampled_from([*UNSPACED.split(), *SPACED])


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=200), st.sampled_from(sorted(DIALECTS)))
def test_any_text(text: str, dialect: str) -> None:
    content, calls = recover_calls(text, dialect)
    content.encode()
    lost_calls(content, dialect)
    for name, arguments in calls:
        assert name
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=3), st.booleans())
def test_what_was_written_is_read(calls: list[dict[str, Any]], ascii_only: bool) -> None:
    written = [json.dumps({"name": "f", "arguments": arguments}, ensure_ascii=ascii_only) for arguments in calls]
    found = recover_calls("\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in written), "hermes")
    assert found == ("", [("f", arguments) for arguments in calls])


@pytest.mark.parametrize(
    "piece",
    [
        "<tool_call>",
        '<tool_call>{"a":',
        '{"a":[\n',
        "<function=f><parameter=a>",
        "<tool_call>f<arg_key>a</arg_key><arg_value>",
        '```json\n{"a":',
        "[f(a=1), ",
        "[f(a=(",
        "[f(a='''",
        "<|tool_call>call:f{a:[",
        "]<]minimax[>[<invoke name=f>]<]minimax[>[<a>",
        "to=functions.f <|channel|>",
        f"<tool_call>\n{CALL}\n</tool_call></think>",
        " ",
        "a",
        '"',
    ],
)
def test_time_is_linear(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        started = time.process_time()  # its own work: a busy machine makes the clock on the wall say anything
        recover_calls(text, "pythonic")
        return time.process_time() - started

    assert seconds(600_000) < 1 + 200 * seconds(6_000)  # 100 times the text; quadratic would be 10,000 times
