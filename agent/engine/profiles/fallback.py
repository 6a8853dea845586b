"""Any model that no other profile knows: the commonest facts, and a notice that they are guesses."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling

FALLBACK = Profile(
    name="fallback",
    pattern=r"",
    fast=Sampling(temperature=0.3, top_p=0.9),
    think=Sampling(temperature=0.6, top_p=0.95),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    links=("https://docs.vllm.ai/en/stable/features/reasoning_outputs/",),
    notice=(
        "No profile knows this model: its thinking switch, tags, call syntax and sampling are guesses "
        "(enable_thinking, <think>, hermes, temperature 0.3 and 0.6). `fastslow doctor` shows which hold; "
        "pass profile=Profile(...) to replace them."
    ),
)
