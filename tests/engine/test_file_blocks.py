"""A file that a small model writes as a fenced block is a call, where no code runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from asking import ASK, PYTHON, ask
from fake_server import Answer, FakeServer, delta, said

from fastslow.agent.engine.fenced import FileBlock, first_file
from fastslow.agent.engine.types import NO_CALL, Request
from fastslow.tools.builtin import builtin_tools

[WRITE] = [tool for tool in builtin_tools(edit="whole") if tool.name == "write_file"]
FILES = Request((ASK,), (WRITE,), opening="The file is `")
BLOCK = "The file is `src/a.py`.\n\n```python\nx = 1\n```"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (BLOCK, "src/a.py"),
        ("Not `tests/b.py`, but:\n\nsrc/a.py\n```python\nx = 1\n```", "src/a.py"),
        ("**src/a.py**:\n\n```\nx = 1\n```\nDone.", "src/a.py"),
        ("### `src/a.py`\n~~~python\nx = 1\n~~~", "src/a.py"),
        ("In `tests/b.py`:\n```python src/a.py\nx = 1\n```", "src/a.py"),
        ("`src/a.py` has `b/c.py`.\n\nHere it is:\n```python\nx = 1\n```", "src/a.py"),
        ("Fixed:\n```python\nx = 1\n```", ""),
        ("`x` is wrong:\n```python\nx = 1\n```", ""),
    ],
)
def test_the_path_of_a_block(text: str, path: str) -> None:
    block = first_file(text)
    assert block is not None
    assert (block.path, block.content) == (path, "x = 1\n")
    assert text[block.start : block.end].strip("`~").endswith("x = 1\n")


def test_a_block_may_be_empty_and_must_end() -> None:
    assert first_file("`a.py`\n```\n```") == FileBlock("a.py", "", 7, 14)
    assert first_file("`a.py`\n```python\nx = 1") is None
    assert first_file("no block") is None


async def test_a_block_is_a_call_that_the_prompt_begins(fake: FakeServer) -> None:
    answer = Answer(
        [
            delta(content=BLOCK.removeprefix(FILES.opening).removesuffix("\n```")),
            {"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": "\n```\n"}]},
        ]
    )
    reply, deltas = await ask(fake, answer, profile="instruct", request=FILES)
    assert [(c.name, json.loads(c.arguments), c.form) for c in reply.calls] == [
        ("write_file", {"path": "src/a.py", "content": "x = 1\n"}, "fenced")
    ]
    assert reply.content == BLOCK == "".join(each.text for each in deltas) + "\n```"
    assert fake.chats[0]["chat_template_kwargs"]["opening"] == FILES.opening
    assert fake.chats[0]["stop"] == ["\n```\n"]
    assert "tools" not in fake.chats[0]


async def test_a_block_without_a_path_is_a_call_without_one(fake: FakeServer) -> None:
    request = replace(FILES, opening="")
    reply, _ = await ask(fake, said("```python\nx = 1\n```"), profile="instruct", request=request)
    assert [json.loads(call.arguments) for call in reply.calls] == [{"content": "x = 1\n"}]


async def test_half_a_file_is_no_call(fake: FakeServer) -> None:
    cut = Answer(
        [delta(content="src/a.py`\n\n```python\nx = 1"), {"choices": [{"delta": {}, "finish_reason": "length"}]}]
    )
    reply, _ = await ask(fake, cut, profile="instruct", request=FILES)
    assert (reply.calls, reply.finish) == ((), "length")


@pytest.mark.parametrize(
    "request_", [replace(FILES, force=NO_CALL), replace(FILES, tools=(replace(WRITE, place="host"),))]
)
async def test_an_answer_may_show_a_file(fake: FakeServer, request_: Request) -> None:
    reply, _ = await ask(fake, said(BLOCK), profile="instruct", request=replace(request_, opening=""))
    assert reply.calls == ()


async def test_where_code_runs_blocks_are_code(fake: FakeServer) -> None:
    request = Request((ASK,), (PYTHON, WRITE))
    reply, _ = await ask(fake, said(BLOCK), profile="instruct", request=request)
    assert [call.name for call in reply.calls] == ["python"]
    assert [tool["function"]["name"] for tool in fake.chats[0]["tools"]] == ["python", "write_file"]


async def test_other_models_call_it_as_any_tool(fake: FakeServer) -> None:
    reply, _ = await ask(fake, said(BLOCK), profile="qwen3", request=replace(FILES, opening=""))
    assert reply.calls == ()
    assert fake.chats[0]["tools"][0]["function"]["name"] == "write_file"
