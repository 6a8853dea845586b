"""SmolLM3-3B: the switch changes the head of the prompt, and the template forgets tool calls."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling
from fastslow.agent.modes import Kind, ModeRule

_CARD = "AIME25 36.7 thinking, 9.3 fast; tool calls 88.8 and 92.3 (model card); budgets by judgement"

SMOLLM3 = Profile(
    name="smollm3",
    pattern=r"smollm3",
    fast=Sampling(temperature=0.6, top_p=0.95),
    think=Sampling(temperature=0.6, top_p=0.95),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    answer_tokens=2048,
    rules=(ModeRule(Kind.PLAN, 2048, _CARD), ModeRule(Kind.REPAIR, 1024, _CARD), ModeRule(Kind.REVIEW, 0, _CARD)),
    renders_calls=False,
    switch_keeps_prefix=False,
    links=("https://huggingface.co/HuggingFaceTB/SmolLM3-3B",),
    notice="SmolLM3 writes its mode at the head of the prompt: each switch computes all of it anew.",
)
