"""What profiles say of other families' templates, held against templates rebuilt from what is known of those.

A rebuilt one has the family's own control tokens, and puts the thoughts and the switch where the family does; words
that make no difference to the prefix are left out. Sources: the links of each profile. The mode of a turn must change
the end of the prompt alone, so that the server's prefix cache serves it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

from fastslow.agent.engine.profiles import Profile, find_profile
from fastslow.agent.engine.wire import encode_history, template_kwargs
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User
from tests.agent.helpers import add

THINK = Mode(256)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("chatml", {"opens": False}),
    "qwen35": ("chatml", {"opens": True}),
    "glm47": ("glm47", {}),
    "deepseek_v31": ("deepseek_v31", {}),
    "smollm3": ("smollm3", {}),
}
HEADER = {
    "chatml": "<|im_start|>assistant\n",
    "glm47": "<|assistant|>",
    "deepseek_v31": "<\uff5cAssistant\uff5c>",
    "smollm3": "<|im_start|>assistant\n",
}
CALL = ToolCall("a", "add", '{"a": 1, "b": 2}')
ASKED = (System("Be brief."), User("Add 1 and 2."))
CALLED = (*ASKED, Assistant("", (CALL,), "They want a sum."), ToolResult("a", "add", "3"))
TWICE = (*CALLED, Assistant("Once more.", (CALL,)), ToolResult("a", "add", "3"))
AGAIN = (*TWICE, Assistant("It is 3."), User("Sure?"))
CONVERSATIONS = {"asked": ASKED, "called": CALLED, "twice": TWICE, "again": AGAIN}
KEEP = [name for name in FAMILIES if find_profile(name).switch_keeps_prefix]


def render(family: str, messages: tuple[Message, ...], mode: Mode) -> str:
    """As vLLM does it: arguments are parsed, and what the template does not know is left out."""
    name, more = FAMILIES[family]
    profile = find_profile(family)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("families")), trim_blocks=False, autoescape=False
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    told = json.loads(json.dumps(encode_history(messages, profile)))
    for call in [call for message in told for call in message.get("tool_calls", [])]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    kwargs = {**template_kwargs(profile, mode), **more}
    return environment.get_template(f"{name}.jinja").render(messages=told, tools=[add.spec], **kwargs)


def tail(family: str, prompt: str) -> str:
    """What stands behind the last header."""
    return prompt.rpartition(HEADER[FAMILIES[family][0]])[2]


@pytest.mark.parametrize("family", KEEP)
@pytest.mark.parametrize("said", CONVERSATIONS)
def test_modes_differ_in_the_tail_alone(family: str, said: str) -> None:
    fast, think = (render(family, CONVERSATIONS[said], mode) for mode in (FAST, THINK))
    assert "Add 1 and 2." in fast
    assert fast.removesuffix(tail(family, fast)) == think.removesuffix(tail(family, think))


@pytest.mark.parametrize("family", FAMILIES)
def test_who_opens_the_thoughts(family: str) -> None:
    fast, think = (tail(family, render(family, ASKED, mode)) for mode in (FAST, THINK))
    profile: Profile = find_profile(family)
    opening, closing = profile.tags
    assert think.strip() == (opening if profile.opens_in_prompt else "")
    assert fast.rstrip().endswith(closing)


@pytest.mark.parametrize("family", ["qwen3", "qwen35", "glm47"])
def test_thoughts_that_are_sent_back_keep_the_prefix_in_a_tool_loop(family: str) -> None:
    """Else each turn of the loop computes the one before it anew: https://github.com/QwenLM/Qwen3/issues/1826"""
    before, after = (render(family, said, THINK) for said in (ASKED, CALLED))
    assert find_profile(family).replay
    assert after.startswith(before)
    assert "They want a sum." in after


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_thoughts_before_the_last_task_are_gone(family: str) -> None:
    assert "They want a sum." not in render(family, AGAIN, THINK)


@pytest.mark.parametrize("mode", [FAST, THINK])
def test_a_tool_loop_of_deepseek_keeps_its_mode(mode: Mode) -> None:
    """Why its profile never thinks: behind a result there is nowhere to say so."""
    assert render("deepseek_v31", CALLED, mode) == render("deepseek_v31", CALLED, FAST)
    assert all(rule.budget == 0 for rule in find_profile("deepseek_v31").rules)


def test_a_switch_of_smollm3_changes_the_head_and_calls_are_in_the_content() -> None:
    fast, think = (render("smollm3", CALLED, mode) for mode in (FAST, THINK))
    assert fast[:60] != think[:60]
    assert not find_profile("smollm3").switch_keeps_prefix
    assert '"name": "add"' in fast
