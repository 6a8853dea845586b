"""SmolLM3-3B: the switch changes the head of the prompt, and the template forgets tool calls."""

from __future__ import annotations

from types import MappingProxyType

from agent.engine.profiles.profile import Profile, Sampling
from agent.modes import Kind

SMOLLM3 = Profile(
    name="smollm3",
    pattern=r"smollm3",
    fast=Sampling(temperature=0.6, top_p=0.95),
    think=Sampling(temperature=0.6, top_p=0.95),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    answer_tokens=2048,
    budgets=MappingProxyType({Kind.PLAN: 2048, Kind.ACT: 0, Kind.REPAIR: 1024, Kind.ANSWER: 0}),
    renders_calls=False,
    switch_keeps_prefix=False,
    links=("https://huggingface.co/HuggingFaceTB/SmolLM3-3B",),
    notice="SmolLM3 writes its mode at the head of the prompt: each switch computes all of it anew.",
)
