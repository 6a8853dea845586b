"""EXAONE 4.5 and K-EXAONE: as EXAONE 4.0, but they think unless told not to."""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling

EXAONE45 = Profile(
    name="exaone45",
    pattern=r"k-?exaone|exaone[-_. ]?4[._]5",
    # The cards give one sampling (temperature 1.0, top_p 0.95; 0.6 for documents) and none for fast turns.
    fast=Sampling(temperature=0.6, top_p=0.95),
    think=Sampling(temperature=1.0, top_p=0.95),
    reasoning_parser="qwen3",
    tool_parser="hermes",
    opens_in_prompt=True,
    links=("https://arxiv.org/abs/2604.08644", "https://arxiv.org/abs/2601.01739"),
)
