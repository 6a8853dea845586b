"""EXAONE 4.0 (1.2B, 32B): thinking off by default, all earlier reasoning dropped by the template."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling

EXAONE4 = Profile(
    name="exaone4",
    pattern=r"exaone[-_. ]?4",
    # README: greedy or a temperature below 0.6 without reasoning; 0.6 and 0.95 with it, and a presence
    # penalty of 1.5 when it degenerates.
    fast=Sampling(temperature=0.0),
    think=Sampling(temperature=0.6, top_p=0.95),
    # The README's deepseek_r1 puts a non-reasoning answer into `reasoning`; qwen3 does not, and counts
    # thinking tokens.
    reasoning_parser="qwen3",
    tool_parser="hermes",
    thinks_by_default=False,
    opens_in_prompt=True,
    links=(
        "https://github.com/LG-AI-EXAONE/EXAONE-4.0",
        "https://github.com/LG-AI-EXAONE/EXAONE-4.0/issues/6",
        "https://github.com/vllm-project/vllm/issues/21718",
        "https://arxiv.org/abs/2507.11407",
    ),
)
