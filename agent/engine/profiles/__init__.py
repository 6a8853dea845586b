"""Model families: a profile each, and the search for the one that fits a served model."""

from __future__ import annotations

from pathlib import PurePosixPath

from fastslow.agent.engine.profiles.deepseek_v31 import DEEPSEEK_V31
from fastslow.agent.engine.profiles.exaone4 import EXAONE4
from fastslow.agent.engine.profiles.exaone45 import EXAONE45
from fastslow.agent.engine.profiles.fallback import FALLBACK
from fastslow.agent.engine.profiles.glm47 import GLM47
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.profiles.profile import Profile, Sampling
from fastslow.agent.engine.profiles.qwen3 import QWEN3
from fastslow.agent.engine.profiles.qwen35 import QWEN35
from fastslow.agent.engine.profiles.smollm3 import SMOLLM3

__all__ = ["FALLBACK", "PROFILES", "Profile", "Sampling", "find_profile"]

PROFILES: tuple[Profile, ...] = (
    EXAONE45,
    EXAONE4,
    QWEN35,
    QWEN3,
    SMOLLM3,
    GLM47,
    DEEPSEEK_V31,
    INSTRUCT,
    FALLBACK,  # fits every model, so it stands last
)


def find_profile(model: str) -> Profile:
    """The first profile that fits a served model id, a hub id, a path, or a profile's own name.

    Of a path only the last two parts are searched: a folder further up says nothing about the weights.

    >>> find_profile("LGAI-EXAONE/EXAONE-4.0-1.2B").name, find_profile("Qwen/Qwen3-8B").name
    ('exaone4', 'qwen3')
    """
    named = {profile.name: profile for profile in PROFILES}
    if model in named:
        return named[model]
    tail = "/".join(PurePosixPath(model).parts[-2:])
    return next(profile for profile in PROFILES if profile.matches(tail))
