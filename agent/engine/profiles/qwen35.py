"""Qwen3.5 and later (3.6, ...): the thinking tag stands in the prompt, calls are XML."""

from __future__ import annotations

from types import MappingProxyType

from fastslow.agent.engine.profiles.profile import Profile, Sampling

QWEN35 = Profile(
    name="qwen35",
    pattern=r"qwen-?3[._][5-9]",
    fast=Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5),
    # The card's values for code; it gives temperature 1.0 and a presence penalty of 1.5 for chat.
    think=Sampling(temperature=0.6, top_p=0.95, top_k=20),
    reasoning_parser="qwen3",
    tool_parser="qwen3_coder",
    dialect="qwen3_coder",
    opens_in_prompt=True,
    replay=True,
    # From 3.6 on the template keeps old reasoning, and with it the prefix cache, when asked to.
    extra_kwargs=MappingProxyType({"preserve_thinking": True}),
    links=(
        "https://huggingface.co/Qwen/Qwen3.5-9B",
        "https://github.com/vllm-project/vllm/issues/39056",
        "https://github.com/can1357/oh-my-pi/pull/3549",
    ),
)
