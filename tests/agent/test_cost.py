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

from fastslow import Agent, DummySandbox, Journal, ScriptedModel
from fastslow.sandbox import Execution
from fastslow.tools import tool
from tests.agent.helpers import calls, says

ROOT = Path(__file__).parents[2]
OURS = f"{ROOT}/fastslow/"


def _counting(seen: list[str]) -> Callable[[FrameType, str, Any], None]:
    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            seen.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}")

    return profile


async def _calls_of_a_run(agent: Agent) -> list[str]:
    """Calls of ours that the agent's second run takes: what is done once in a process is no cost of a run."""
    await agent.run("look")
    seen: list[str] = []
    sys.setprofile(_counting(seen))
    try:
        result = await agent.run("look")
    finally:
        sys.setprofile(None)
    assert result.answer == "done", result.reason
    return seen


def _sandboxed(journal: Journal | None) -> Agent:
    """All that an agent offers by default; its model runs one piece of code."""
    script = [calls(("python", {"code": "print(1)"})), says("done")] * 2
    return Agent(engine=ScriptedModel(script), sandbox=DummySandbox([Execution("ok", "1\n")] * 2), journal=journal)


async def test_from_run_to_a_tools_body() -> None:
    depth: list[str] = []

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        depth.clear()
        frame: FrameType | None = sys._getframe()
        while frame:
            if frame.f_code.co_filename.startswith(OURS):
                depth.append(frame.f_code.co_qualname)
            frame = frame.f_back
        return "seen"

    script = [calls(("look", {})), says("done")] * 2
    seen = await _calls_of_a_run(Agent(engine=ScriptedModel(script), tools=[look], sandbox=None, journal=None))
    assert len(depth) <= 8, depth
    assert len(seen) <= 300, Counter(seen).most_common(20)


async def test_with_the_sandboxs_tools() -> None:
    seen = await _calls_of_a_run(_sandboxed(None))
    assert len(seen) <= 300, Counter(seen).most_common(20)


async def test_with_a_journal(tmp_path: Path) -> None:
    """For information, with a loose limit: a journal encodes each event, field by field."""
    seen = await _calls_of_a_run(_sandboxed(Journal(tmp_path / "runs.db")))
    assert len(seen) <= 700, Counter(seen).most_common(20)
