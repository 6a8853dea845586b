"""Qwen3, the hybrid checkpoints of 2025-04 (0.6B to 235B). The later 2507 checkpoints have one mode each."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling

QWEN3 = Profile(
    name="qwen3",
    pattern=r"qwen-?3(?![._]\d)(?!.*(2507|instruct|coder|next|guard|embed|rerank))",
    fast=Sampling(temperature=0.7, top_p=0.8, top_k=20),
    think=Sampling(temperature=0.6, top_p=0.95, top_k=20),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    # The template keeps reasoning behind the last user message when it is sent back, and drops older one. Not
    # sending it costs prefix cache on every turn of a tool loop: https://github.com/QwenLM/Qwen3/issues/1826
    replay=True,
    links=(
        "https://huggingface.co/Qwen/Qwen3-0.6B#best-practices",
        "https://github.com/QwenLM/Qwen3/issues/1817",
        "https://github.com/vllm-project/vllm/pull/35982",
    ),
)
