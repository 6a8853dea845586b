"""How a turn reads in the terminal."""

from __future__ import annotations

from fastslow.agent.engine.types import Reply
from fastslow.agent.surfaces.cli.blocks import visible_text
from fastslow.agent.transcript import ToolCall


def test_a_block_that_became_a_call_is_not_shown_twice() -> None:
    for name, fence in (("python", "```python"), ("write_file", "a.json\n```json")):
        call = ToolCall("c", name, "{}", form="fenced")
        assert visible_text(Reply(f"So:\n{fence}\n1\n```", calls=(call,))).startswith("So:")
        assert "```" not in visible_text(Reply(f"So:\n{fence}\n1\n```", calls=(call,)))
    assert "```" in visible_text(Reply("So:\n```python\n1\n```"))
