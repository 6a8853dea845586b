"""What a run costs beside the model: how deep a tool's body lies, and how many calls of ours a run takes.

Peers for two model calls and one tool: 66 in mini-swe-agent, 129 in smolagents, 2,231 in openai-agents, 2,900 in
pydantic-ai.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from fastslow import Agent, ScriptedModel
from fastslow.tools import tool
from tests.agent.helpers import calls, says

ROOT = Path(__file__).parents[2]
OURS = f"{ROOT}/fastslow/"


def _counting(seen: list[str]) -> Callable[[FrameType, str, Any], None]:
    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            seen.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}")

    return profile


async def test_from_run_to_a_tools_body() -> None:
    depth: list[str] = []

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        frame: FrameType | None = sys._getframe()
        while frame:
            if frame.f_code.co_filename.startswith(OURS):
                depth.append(frame.f_code.co_qualname)
            frame = frame.f_back
        return "seen"

    script = [calls(("look", {})), says("done")] * 2
    agent = Agent(engine=ScriptedModel(script), tools=[look], sandbox=None, journal=None)
    await agent.run("look")  # what is done once in a process is no cost of a run
    depth.clear()
    seen: list[str] = []
    sys.setprofile(_counting(seen))
    try:
        result = await agent.run("look")
    finally:
        sys.setprofile(None)
    assert result.answer == "done"
    assert len(depth) <= 8, depth
    assert len(seen) <= 300, Counter(seen).most_common(20)
