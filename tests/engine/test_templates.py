"""The chat templates that we ship: one tail a mode, and fast turns that only append."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from fastslow.agent.engine.profiles import find_profile, profile

TEMPLATES = ["instruct.jinja", "exaone4.jinja"]
OPEN = {"instruct.jinja": "<think>\nThe user wants", "exaone4.jinja": "<think>\n"}
SHUT = {"instruct.jinja": "", "exaone4.jinja": "<think>\n\n</think>\n\n"}
END = {"instruct.jinja": "<|im_end|>", "exaone4.jinja": "[|endofturn|]"}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Add 1 and 1."}
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [1, "ü"]}}}
CALL_TEXT = '{"name": "add", "arguments": {"a": 1, "b": [1, "ü"]}}'
BETWEEN = {"instruct.jinja": "\n", "exaone4.jinja": "</tool_call>\n<tool_call>"}
AROUND = {
    "instruct.jinja": ("<tool_call>\n", "\n</tool_call>"),
    "exaone4.jinja": ("<tool_call>", "</tool_call>"),
}
RESULT = {"role": "tool", "tool_call_id": "a", "content": 'line 1\n"two"'}


def tool(name: str) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": "Add.", "parameters": {"type": "object"}},
    }


def render(name: str, messages: list[dict[str, Any]], thinks: bool | str | None = False, **fields: Any) -> str:
    """As transformers and vLLM render: its JSON filter does not escape for HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(profile.__file__.removesuffix("profile.py")),
        undefined=jinja2.StrictUndefined if "strict" in fields else jinja2.Undefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    switch = {} if thinks is None else {"enable_thinking": thinks}
    return environment.get_template(name).render(
        messages=messages, **{"add_generation_prompt": True, **switch, **fields}
    )


CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [SYSTEM, USER, {"role": "assistant", "content": "I add.", "tool_calls": [CALL, CALL]}, RESULT, RESULT],
    [SYSTEM, USER, {"role": "assistant", "content": "2"}, {"role": "user", "content": "Sure?"}],
]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, [tool("add")]])
def test_modes_differ_in_the_tail_alone(name: str, messages: list[dict[str, Any]], tools: Any) -> None:
    fast, think = (render(name, messages, thinks, tools=tools) for thinks in (False, True))
    head = fast.removesuffix(SHUT[name])
    assert head.endswith("assistant\n" if name == "instruct.jinja" else "[|assistant|]\n")
    assert (fast, think) == (head + SHUT[name], head + OPEN[name])
    for default in (None, "true"):
        assert render(name, messages, default, tools=tools) == fast


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(("content", "calls"), [("It is 2.", []), ("", [CALL]), ("I add.\nTwice.", [CALL, CALL])])
def test_fast_turns_append(name: str, content: str, calls: list[dict[str, Any]]) -> None:
    before = [SYSTEM, USER]
    lines = BETWEEN[name].join([CALL_TEXT] * len(calls))
    spoken = "\n".join(([content] if content else []) + ([lines.join(AROUND[name])] if calls else []))
    results = [RESULT] * len(calls) or [{"role": "user", "content": "Sure?"}]
    after = [*before, {"role": "assistant", "content": content, "tool_calls": calls}, *results]
    tools = [tool("add")]
    assert render(name, after, tools=tools).startswith(render(name, before, tools=tools) + spoken + END[name])
    # and a thinking turn after it starts from the same prompt
    assert render(name, after, True, tools=tools).startswith(render(name, before, tools=tools) + spoken + END[name])


def test_results_side_by_side_share_a_block() -> None:
    two = render("instruct.jinja", CONVERSATIONS[2])
    assert two.count("<|im_start|>user") == 2
    block = 'line 1\n"two"'
    assert f"<|im_start|>user\n{block}\n{block}<|im_end|>\n" in two
    exaone = render("exaone4.jinja", CONVERSATIONS[2])
    line = r'<tool_result>{"result": "line 1\n\"two\""}</tool_result>'
    assert f"[|tool|]\n{line}\n{line}[|endofturn|]\n" in exaone


def test_first_words_of_a_turn() -> None:
    assert render("instruct.jinja", [USER], True, opening="I failed as").endswith("<think>\nI failed as")
    assert render("instruct.jinja", [USER], False, opening="As") == render("instruct.jinja", [USER]) + "As"


def test_a_fenced_code_tool_is_not_listed() -> None:
    tools = [tool("python"), tool("plan")]
    fenced = render("instruct.jinja", [SYSTEM, USER], tools=tools, code_fence=True)
    assert '"name": "python"' not in fenced
    assert '"name": "plan"' in fenced
    listed = render("instruct.jinja", [SYSTEM, USER], tools=tools)
    assert '"name": "python"' in listed
    alone = render("instruct.jinja", [SYSTEM, USER], tools=[tool("python")], code_fence=True)
    assert "<tools>" not in alone


def test_template_stands_beside_its_profile() -> None:
    path = find_profile("instruct").template
    assert path is not None
    assert path.is_file()
    assert find_profile("exaone4").template is None
