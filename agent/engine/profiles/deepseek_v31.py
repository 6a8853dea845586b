"""DeepSeek V3.1: its kwarg is `thinking`, and it calls tools only while not thinking."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling
from fastslow.agent.modes import Kind, ModeRule

DEEPSEEK_V31 = Profile(
    name="deepseek_v31",
    pattern=r"deepseek-?v3[._]1",
    fast=Sampling(temperature=0.6, top_p=0.95),
    think=Sampling(temperature=0.6, top_p=0.95),
    reasoning_parser="deepseek_v3",
    tool_parser="deepseek_v31",
    dialect="deepseek_v31",
    kwarg="thinking",
    thinks_by_default=False,
    opens_in_prompt=True,
    # A tool loop cannot change its mode (no header stands behind a tool result) nor can a thinking turn call.
    rules=tuple(ModeRule(kind, 0, "a thinking turn cannot call tools (model card)") for kind in Kind),
    # vLLM's deepseek_v3 parser does not tell the engine its tags, which a thinking budget needs.
    server_flags=(
        "--reasoning-config",
        '{"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}',
    ),
    links=(
        "https://huggingface.co/deepseek-ai/DeepSeek-V3.1",
        "https://docs.vllm.ai/projects/recipes/en/stable/DeepSeek/DeepSeek-V3_1.html",
    ),
    notice="DeepSeek V3.1 calls tools only without thinking: every turn is fast.",
)
