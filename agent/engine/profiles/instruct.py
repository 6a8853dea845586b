"""Plain instruct models that speak ChatML (Qwen2.5-Coder-Instruct, ...): our template brings the switch."""

from __future__ import annotations

from types import MappingProxyType

from fastslow.agent.engine.profiles.profile import Profile, Sampling
from fastslow.agent.modes import Kind, ModeRule

_PLAN = "16 tasks of workflows, seed 1: 13 right with it, 9 without (docs/modes.md)"
_REPAIR = "the README's example, 6 of 6 right with it, planned first (docs/modes.md)"

INSTRUCT = Profile(
    name="instruct",
    pattern=r"(qwen-?2|qwen-?3|smollm2).*instruct",
    fast=Sampling(temperature=0.0, repetition_penalty=1.0),
    think=Sampling(temperature=0.0, repetition_penalty=1.0),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    switch="template",
    chat_template="instruct.jinja",
    opens_in_prompt=True,
    answer_tokens=700,
    rules=(
        ModeRule(Kind.PLAN, 60, _PLAN),
        ModeRule(Kind.REPAIR, 28, _REPAIR),
        ModeRule(Kind.REVIEW, 0, _REPAIR),
    ),
    code="fenced",
    block=("<tool_call>", "</tool_call>"),
    strategy="guided",
    edit="whole",
    extra_kwargs=MappingProxyType({"code_fence": True}),
    links=("https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct",),
)
