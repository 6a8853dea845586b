"""Histories and settings as the server gets them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.engine.types import ANY, Request
from fastslow.agent.engine.wire import encode_history, encode_request
from fastslow.agent.errors import ContextOverflow
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Assistant, System, ToolCall, ToolResult, User
from fastslow.tools import Tool

EXAONE, QWEN, SMOL = (find_profile(name) for name in ("exaone4", "qwen3", "smollm3"))
ADD = Tool.from_schema("add", "Add.", {"type": "object", "properties": {"a": {"type": "integer"}}}, lambda a: a)
CALL = ToolCall("c1", "add", '{"a":1,  "b":2}')


def test_every_kind_of_message() -> None:
    history = (
        System("Be brief."),
        User("Add."),
        Assistant("I add.", (CALL,), "Hm."),
        ToolResult("c1", "add", "3"),
    )
    assert encode_history(history, EXAONE) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add."},
        {
            "role": "assistant",
            "content": "I add.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": CALL.arguments}}],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "3"},
    ]


def test_reasoning_goes_back_only_behind_the_last_user_message() -> None:
    history = (
        User("A"),
        Assistant("x", reasoning="old"),
        User("B"),
        Assistant("y", (CALL,), "new"),
        ToolResult("c1", "add", "3"),
    )
    assert [message.get("reasoning") for message in encode_history(history, QWEN)] == [
        None,
        None,
        None,
        "new",
        None,
    ]
    assert not any("reasoning" in message for message in encode_history(history, EXAONE))


@pytest.mark.parametrize("arguments", ['{"a": 1', '"celsius"', "[1]", "", "null"])
def test_bad_arguments_are_never_sent_back(arguments: str) -> None:
    (message,) = encode_history((Assistant("", (ToolCall("c1", "add", arguments),)),), EXAONE)
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_fenced_call_is_not_sent_twice() -> None:
    text = "```python\n1\n```"
    call = ToolCall("c1", "python", '{"code": "1"}', form="fenced")
    assert encode_history((Assistant(text, (call,)),), EXAONE) == [{"role": "assistant", "content": text}]


def test_an_empty_turn_is_left_out() -> None:
    assert encode_history((User("A"), Assistant(" \n", reasoning="Hm.")), QWEN) == [{"role": "user", "content": "A"}]


def test_calls_become_text_where_the_template_forgets_them() -> None:
    (message,) = encode_history((Assistant("I add.", (CALL,)),), SMOL)
    assert message == {
        "role": "assistant",
        "content": f'I add.\n<tool_call>\n{{"name": "add", "arguments": {CALL.arguments}}}\n</tool_call>',
    }


def test_a_message_is_encoded_once() -> None:
    history = (User("A"), Assistant("x", (CALL,)))
    first, second = encode_history(history, EXAONE), encode_history((*history, User("B")), EXAONE)
    assert all(a is b for a, b in zip(first, second, strict=False))


def test_a_longer_history_only_appends() -> None:
    history = (System("S"), User("A"), Assistant("x", (CALL,)), ToolResult("c1", "add", "3"))
    longer = (*history, Assistant("3."), User("B"))
    short, long = (json.dumps(encode_history(h, EXAONE)) for h in (history, longer))
    assert long.startswith(short.removesuffix("]"))


def test_model_that_cannot_switch() -> None:
    profile = replace(EXAONE, switch="none")
    body = encode_request(Request((User("A"),), mode=Mode(500)), profile, "m", 10_000, budgeted=True)
    assert "thinking_token_budget" not in body
    assert body["chat_template_kwargs"] == {}
    assert body["max_tokens"] == profile.answer_tokens


def test_no_budget_for_a_server_that_refuses_one() -> None:
    body = encode_request(Request((User("A"),), mode=Mode(500)), EXAONE, "m", 10_000, budgeted=False)
    assert "thinking_token_budget" not in body
    assert body["max_tokens"] == 500 + EXAONE.answer_tokens


def test_calls_that_must_be_made_are_lines_of_a_block() -> None:
    """vLLM's grammar for `required` ends where the embedded model would write a further line."""
    request = Request((User("A"),), (ADD,), force=ANY)
    body = encode_request(request, find_profile("instruct"), "m", 4096, True, {"<tool_call>": 7})
    assert body["tool_choice"] == "none"
    begin, line, lines, end = json.loads(body["structured_outputs"]["structural_tag"])["format"]["elements"]
    assert (begin["token"], line["value"]) == (7, "\n")  # as text, the embedded model spells it and calls once
    assert [part["value"] for part in end["content"]["elements"]] == ["\n", "</tool_call>"]
    [call] = lines["tags"]
    assert (lines["separator"], call["begin"], call["end"]) == ("\n", '{"name": "add", "arguments": ', "}")
    assert call["content"]["json_schema"] == ADD.spec["function"]["parameters"]
    body = encode_request(request, QWEN, "m", 4096, budgeted=True)
    assert (body["tool_choice"], "structured_outputs" in body) == ("required", False)


def test_no_room() -> None:
    with pytest.raises(ContextOverflow, match="0 tokens"):
        encode_request(Request((User("A"),), mode=FAST), EXAONE, "m", -5, budgeted=True)


def test_arguments_that_no_json_reader_takes_are_not_sent_back() -> None:
    for text in ('{"a": NaN}', '{"a": -Infinity}', '{"a": 1', "[1]"):
        (message,) = encode_history([Assistant("", (ToolCall("c1", "add", text),))], EXAONE)
        assert message["tool_calls"][0]["function"]["arguments"] == "{}"
