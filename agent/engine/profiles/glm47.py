"""GLM-4.7, 4.7-Flash, GLM-5 to 5.2.

Not GLM-4.5 and 4.6, whose switch rewrites every user message, nor GLM-5.3, which has none.
"""

from __future__ import annotations

from fastslow.agent.engine.profiles.profile import Profile, Sampling

GLM47 = Profile(
    name="glm47",
    pattern=r"glm-?(4[._]7|5([._][0-2])?(?![._]?\d))",
    # The card evaluates with temperature 1.0 and top_p 0.95, and agents with 0.7 and 1.0.
    fast=Sampling(temperature=0.7),
    think=Sampling(temperature=1.0, top_p=0.95),
    reasoning_parser="glm47",
    tool_parser="glm47",
    dialect="glm47",
    opens_in_prompt=True,
    replay=True,
    links=("https://huggingface.co/zai-org/GLM-4.7", "https://github.com/vllm-project/vllm/issues/27703"),
)
