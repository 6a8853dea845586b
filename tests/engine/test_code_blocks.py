"""Code that a model writes as a fenced block is a call."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from asking import ASK, PYTHON, WEATHER, ask
from fake_server import Answer, FakeServer, delta, said

from fastslow.agent.engine.fenced import stops_at_opening
from fastslow.agent.engine.types import Request
from fastslow.agent.modes import Mode

FENCED = Request((ASK,), (PYTHON, WEATHER))
BLOCK = "I compute.\n```python\nprint(1 + 1)\n```"


async def test_code_block_is_a_call(fake: FakeServer) -> None:
    reply, _ = await ask(fake, said(BLOCK + "\nThe output is 2."), profile="instruct", request=FENCED)
    assert [(c.name, json.loads(c.arguments), c.form) for c in reply.calls] == [
        ("python", {"code": "print(1 + 1)"}, "fenced")
    ]
    assert reply.content == BLOCK
    assert fake.chats[0]["stop"] == ["\n```\n"]


async def test_stop_string_gets_its_fence_back(fake: FakeServer) -> None:
    answer = Answer(
        [
            delta([1], content="```py\nx = 1"),
            {"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": "\n```\n"}]},
        ]
    )
    reply, _ = await ask(fake, answer, profile="instruct", request=FENCED)
    assert reply.content == "```py\nx = 1\n```"
    assert json.loads(reply.calls[0].arguments) == {"code": "x = 1"}


async def test_bare_opening_fence_is_not_taken_for_the_end(fake: FakeServer) -> None:
    stopped = Answer(
        [
            delta(content="Code:"),
            {"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": "\n```\n"}]},
        ]
    )
    reply, _ = await ask(fake, stopped, said("Code:\n```\nx = 1\n```"), profile="instruct", request=FENCED)
    assert json.loads(reply.calls[0].arguments) == {"code": "x = 1"}
    assert "stop" not in fake.chats[1]


THOUGHT = replace(FENCED, mode=Mode(60))
STOPPED = {"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": "\n```\n"}]}


async def test_code_that_must_come_is_begun_by_the_prompt(fake: FakeServer) -> None:
    answer = Answer([delta(content="x = 1"), STOPPED])
    reply, deltas = await ask(fake, answer, profile="instruct", request=replace(FENCED, force="python"))
    assert json.loads(reply.calls[0].arguments) == {"code": "x = 1"}
    assert reply.content == "```python\nx = 1\n```"
    assert "".join(item.text for item in deltas) == "```python\nx = 1"
    sent = fake.chats[0]
    assert sent["chat_template_kwargs"]["opening"] == "```python\n"
    assert (sent["tool_choice"], sent["stop"]) == ("auto", ["\n```\n"])


@pytest.mark.parametrize(
    ("reasoning", "content"),
    [
        ("One sum.\n\n```python\nimport", "x = 1"),  # the budget ended them in a line, which is written anew
        ("One sum.\n\n```python\nx = 1", ""),  # the stop string ended thoughts and turn
    ],
)
async def test_a_block_that_was_begun_in_the_thoughts_is_code(fake: FakeServer, reasoning: str, content: str) -> None:
    answer = Answer([delta(reasoning=reasoning), delta(content=content), STOPPED])
    reply, _ = await ask(fake, answer, profile="instruct", request=THOUGHT)
    assert (reply.reasoning, reply.content) == ("One sum.", "```python\nx = 1\n```")
    assert json.loads(reply.calls[0].arguments) == {"code": "x = 1"}
    assert len(fake.chats) == 1


async def test_a_block_of_its_own_stands_behind_thoughts_with_another(fake: FakeServer) -> None:
    answer = Answer([delta(reasoning="Not ```\nx"), delta(content="```python\nx = 1"), STOPPED])
    reply, _ = await ask(fake, answer, profile="instruct", request=THOUGHT)
    assert json.loads(reply.calls[0].arguments) == {"code": "x = 1"}


async def test_thoughts_of_a_model_that_never_learned_to_end_them_do_not_end_the_text(fake: FakeServer) -> None:
    await ask(fake, said(BLOCK), profile="instruct", request=THOUGHT)
    assert fake.chats[0]["bad_words"] == ["<|endoftext|>"]


async def test_block_cut_by_length_is_not_run(fake: FakeServer) -> None:
    reply, _ = await ask(
        fake, said("```python\nimport os\nos.remo", finish="length"), profile="instruct", request=FENCED
    )
    assert (reply.calls, reply.finish) == ((), "length")


async def test_block_without_a_code_tool_is_text(fake: FakeServer) -> None:
    reply, _ = await ask(fake, said(BLOCK), profile="instruct", request=Request((ASK,), (WEATHER,)))
    assert reply.calls == ()
    assert "stop" not in fake.chats[0]


async def test_call_before_a_block_goes_first(fake: FakeServer) -> None:
    text = '<tool_call>{"name": "weather", "arguments": {"city": "Seoul", "unit": null}}</tool_call>\n' + BLOCK
    reply, _ = await ask(fake, said(text), profile="instruct", request=FENCED)
    assert [c.name for c in reply.calls] == ["weather"]


def test_stop_at_a_bare_opening_fence() -> None:
    assert stops_at_opening("Here is the code:")
    assert not stops_at_opening("Here:\n```python\nx = 1")
    assert not stops_at_opening('```json\n{"a": 1}')
