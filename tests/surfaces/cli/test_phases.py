"""Phases of set-up: plain lines where there is no terminal, one table where there is one."""

import asyncio
import io
import time

import pytest
from rich.console import Console

from fastslow.agent.serving.machine import side_by_side
from fastslow.agent.surfaces.cli import phases
from fastslow.agent.surfaces.cli.phases import Phases


def plain() -> Console:
    return Console(file=io.StringIO(), width=40)


def drawn(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, _environ={})


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def left(console: Console) -> list[str]:
    """The lines that stay on a terminal: those of the last frame."""
    frame = printed(console).rpartition("\x1b[2K")[2]
    shown = Console(file=io.StringIO(), width=200)
    return [line.rstrip() for line in _text(frame, shown).splitlines() if line.strip()]


def _text(frame: str, console: Console) -> str:
    from rich.text import Text

    console.print(Text.from_ansi(frame), soft_wrap=True)
    return printed(console)


def test_a_phase_says_what_why_and_how_long() -> None:
    console = plain()
    with Phases(console).phase("Model weights", "vLLM serves them from disk") as on_progress:
        on_progress("/cache/\x1b[2Jmodels", 1.0)
    assert printed(console).splitlines() == [
        "▸ Model weights (why: vLLM serves them from disk)",
        "✓ Model weights  /cache/models  0.0 s",
    ]


def test_a_phase_that_is_silent_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PAUSE", 0.05)
    console = plain()
    told = Phases(console)
    with told.phase("Engine", "it is needed") as of_engine, told.phase("Image", "it is too") as of_image:
        of_engine("part 1 of 4", 0.25)
        of_image("asking", None)
        time.sleep(0.5)
    lines = printed(console).splitlines()
    assert lines[:2] == ["▸ Engine (why: it is needed)", "▸ Image (why: it is too)"]
    assert lines[2].startswith("  Engine: part 1 of 4 (25%)  0.")
    assert lines[3].startswith("  Image: asking  0.")
    count = len(lines)
    time.sleep(0.2)
    assert len(printed(console).splitlines()) == count, "none once all have ended"


async def two(told: Phases, how: str) -> None:
    async def first() -> None:
        with told.phase("Image", "code runs in it") as on_progress:
            on_progress("building", 0.5)
            await asyncio.sleep(0.05)
            if how == "fails":
                raise OSError("full")

    async def second() -> None:
        with told.phase("Engine", "it serves") as on_progress:
            on_progress("installing", 0.1)
            await asyncio.sleep(0.1 if how == "ends" else 60)

    await side_by_side(first(), second())


def test_phases_side_by_side_are_one_table_that_stays() -> None:
    console = drawn()
    told = Phases(console)
    asyncio.run(two(told, "ends"))
    rows = left(console)
    assert [row.split()[:3] for row in rows] == [["✓", "Image", "building"], ["✓", "Engine", "installing"]]
    assert all(row.endswith("0.1 s") for row in rows)
    assert 0.1 <= told.seconds < 1


def test_the_order_of_plain_lines_is_that_of_what_happened() -> None:
    console = plain()
    asyncio.run(two(Phases(console), "ends"))
    assert [line[:8] for line in printed(console).splitlines()] == ["▸ Image ", "▸ Engine", "✓ Image ", "✓ Engine"]


@pytest.mark.parametrize("console", [plain(), drawn(), drawn(width=40)], ids=["plain", "drawn", "narrow"])
def test_a_branch_that_fails_ends_the_other_and_is_marked(console: Console) -> None:
    begun = time.monotonic()
    with pytest.raises(OSError, match="full"):
        asyncio.run(two(Phases(console), "fails"))
    assert time.monotonic() - begun < 10
    assert printed(console).count("✗") == 1
    marks = {line.split()[1]: line[0] for line in left(console)[-2:]}
    assert marks == {"Image": "✗", "Engine": "■"}
    if console.is_terminal:
        assert printed(console).rfind("\x1b[?25h") > printed(console).rfind("\x1b[?25l") >= 0, "the cursor is back"


def test_no_row_is_wider_than_the_terminal() -> None:
    console = drawn(width=60)
    with Phases(console).phase("Engine", "why " * 40) as on_progress:
        on_progress("what " * 40, 0.5)
        time.sleep(0.3)
    assert max(map(len, left(console))) <= 60 - phases.ECHO
