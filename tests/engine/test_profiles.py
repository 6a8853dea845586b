"""Which profile fits which model."""

from __future__ import annotations

import pytest

from fastslow.agent.engine.profiles import PROFILES, find_profile
from fastslow.agent.modes import FAST, Kind, ModePolicy

FAMILIES = {
    "LGAI-EXAONE/EXAONE-4.0-32B": "exaone4",
    "LGAI-EXAONE/EXAONE-4.0.1-32B": "exaone4",
    "/models/exaone4-random": "exaone4",
    "LGAI-EXAONE/EXAONE-4.5-33B": "exaone45",
    "LGAI-EXAONE/K-EXAONE-236B-A23B": "exaone45",
    "Qwen/Qwen3-0.6B": "qwen3",
    "Qwen/Qwen3-30B-A3B-FP8": "qwen3",
    "Qwen/Qwen3.5-9B": "qwen35",
    "Qwen/Qwen3.6-27B": "qwen35",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "instruct",
    "Qwen/Qwen3-30B-A3B-Thinking-2507": "fallback",
    "HuggingFaceTB/SmolLM3-3B": "smollm3",
    "zai-org/GLM-4.7-Flash": "glm47",
    "zai-org/GLM-5": "glm47",
    "zai-org/GLM-5.1": "glm47",
    "zai-org/GLM-5.3": "fallback",
    "zai-org/GLM-4.5-Air": "fallback",
    "deepseek-ai/DeepSeek-V3.1": "deepseek_v31",
    "deepseek-ai/DeepSeek-V3.2": "fallback",
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": "instruct",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "instruct",
    "meta-llama/Llama-3.1-8B-Instruct": "fallback",
    "/home/qwen3-user/models/mistral/7b": "fallback",
}


@pytest.mark.parametrize(("model", "name"), FAMILIES.items())
def test_families(model: str, name: str) -> None:
    assert find_profile(model).name == name


def test_every_profile_is_whole() -> None:
    for profile in PROFILES:
        assert profile.links, f"{profile.name} must say where its facts come from"
        assert ModePolicy(profile.rules).mode(Kind.CALL)[0] == FAST
        assert all(rule.because for rule in profile.rules), "each rule says what set it"
