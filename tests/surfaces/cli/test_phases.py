"""Phases of set-up: plain lines where there is no terminal, nothing left behind where there is one."""

import io

import pytest
from rich.console import Console

from fastslow.agent.surfaces.cli import phases
from fastslow.agent.surfaces.cli.phases import Phases


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_phase_says_what_why_and_how_long() -> None:
    console = Console(file=io.StringIO(), width=40)
    with Phases(console).phase("Model weights", "vLLM serves them from disk") as on_progress:
        on_progress("/cache/\x1b[2Jmodels", 1.0)
    assert printed(console).splitlines() == [
        "▸ Model weights (why: vLLM serves them from disk)",
        "✓ Model weights  /cache/models  0.0 s",
    ]


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PAUSE", 0.0)
    console = Console(file=io.StringIO(), width=40)
    with Phases(console).phase("Engine", "it is needed") as on_progress:
        on_progress("part 1 of 4", 0.25)
        on_progress("part 2 of 4", None)
    assert "  part 1 of 4 (25%)  0.0 s\n" in printed(console)
    assert "  part 2 of 4 (25%)  0.0 s\n" in printed(console)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_that_fails_is_marked(terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, _environ={})
    with pytest.raises(OSError, match="full"), Phases(console).phase("Engine", "it is needed"):
        raise OSError("full")
    assert "✗" in printed(console)
    if terminal:
        assert printed(console).rfind("\x1b[?25h") > printed(console).rfind("\x1b[?25l") >= 0
