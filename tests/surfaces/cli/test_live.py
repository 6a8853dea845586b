"""The live view on consoles of all sizes, fed with a recorded run."""

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from fastslow.agent.events import (
    CallOutput,
    CallStarted,
    Event,
    RunFinished,
    StepFinished,
    TurnDelta,
    TurnStarted,
)
from fastslow.agent.modes import FAST, Kind
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.transcript import ToolCall
from tests.surfaces.cli.recorded import events

SIZES = [(40, 10), (40, 24), (80, 24), (120, 50)]


def console(width: int = 80, height: int = 24, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        color_system="truecolor" if terminal else None,
        markup=False,
        emoji=False,
        highlight=False,
        record=True,
        _environ={},
    )


def shown(told: list[Event], **options: bool) -> str:
    """All that a run leaves in the scrollback, as plain text."""
    screen = console(120, 50)
    view = RunView(screen, **options)
    for event in told:
        view.show(event)
    return screen.export_text()


def frame(view: RunView, width: int) -> list[str]:
    """The live area as lines of text."""
    screen = console(width, 200, terminal=False)
    screen.print(view.render())
    return screen.export_text().splitlines()


def test_the_scrollback_holds_the_whole_run() -> None:
    text = shown(events())
    for part in (
        "Which region sells most?",
        "turn 1  think 96   96 thinking",
        "4 lines of thinking folded",
        "Thought 7 about 売上",
        "Plan: Find the best region and draw it 📊",
        "3 Count the customers of each region",
        "turn 2 · step 1  fast",
        "512 prompt (480 cached)",
        "✓ tools.price",
        "▣ image/svg+xml",
        "⇄ index.example:443  1.2 kB out, 3.4 MB in, 0.3 s",
        "⇄ evil.example:443  refused: not allowed",
        "⇣ history shortened from 7,900 to 3,100 tokens · step 1",
        "I read the file.",
        "orders = pd.read_csv('orders.csv')",
        "20 more lines above",
        "✗ step 2 failed: ZeroDivisionError",
        "South sells most: 55,937.95",
        "✓ answered (12.5 s)",
    ):
        assert part in text, part
    assert "Thought 4" not in text
    assert text.count("```") == 0, "the code that became a call is shown once, with its output"


def test_thinking_can_be_unfolded() -> None:
    assert "Thought 1 about" in shown(events(), show_thinking=True)


def test_the_table_has_a_row_for_each_turn_and_each_mode() -> None:
    lines = [line.split() for line in shown(events()).splitlines()]
    table = lines[lines.index(["turn", "mode", "think", "answer", "cached", "prompt", "secs"]) + 1 :]
    assert table[0] == ["1", "think", "96", "40", "0", "512", "2.5"]
    assert table[1] == ["2", "(step", "1)", "fast", "0", "40", "480", "512", "2.5"]
    assert table[5] == ["all", "1", "think", "96", "40", "0", "512", "2.5"]
    assert table[6] == ["all", "4", "fast", "0", "160", "1,940", "512", "2.5"]


def test_files_made_are_listed_with_their_size(tmp_path: Path) -> None:
    made = tmp_path / "plot\x1b[2J.png"
    made.write_bytes(b"x" * 1500)
    text = "".join(shown(events((made,))).split())
    assert "plot.png1.5kB" in text


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_live_area_fits_the_terminal_after_every_event(width: int, height: int) -> None:
    view = RunView(console(width, height))
    for event in events():
        view.show(event)
        lines = frame(view, width)
        assert len(lines) < height
        assert max(map(cell_len, lines), default=0) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_printed_is_wider_than_the_terminal(width: int, height: int) -> None:
    screen = console(width, height)
    view = RunView(screen)
    for event in events():
        view.show(event)
    lines = screen.export_text().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(line for line in lines if line.startswith(("turn", "all", "1 ")))


def test_steps_that_run_side_by_side_have_a_line_each() -> None:
    view = RunView(console())
    for event in events():
        view.show(event)
        if isinstance(event, CallOutput) and event.stream == "stderr":
            break
    text = "\n".join(frame(view, 80))
    assert " ▸ 1 Compute the revenue" in text
    assert " · 2 Plot 売上" in text
    assert " ▸ 3 Count the customers" in text
    assert "▸ python  step 1" in text
    assert "▸ python  step 3" in text
    assert "20 %" in text
    assert "10 %" not in text


def test_a_turn_that_its_step_did_not_wait_for_goes_with_the_step() -> None:
    view = RunView(console())
    view.show(TurnStarted("1", 7, Kind.CALL, FAST, "a step"))
    view.show(TurnStarted("2", 8, Kind.CALL, FAST, "a step"))
    view.show(StepFinished(1, False, "its time was over"))
    drawn = "\n".join(frame(view, 80))
    assert "turn 7" not in drawn
    assert "turn 8" in drawn


def test_a_growing_turn_shows_its_end() -> None:
    view = RunView(console(60, 12))
    view.show(TurnStarted("", 1, Kind.CALL, FAST, "go on"))
    for number in range(100):
        view.show(TurnDelta("", 1, "text", f"line {number}\n"))
    lines = frame(view, 60)
    assert "turn 1" in "".join(lines)
    assert lines[-1].strip() == "line 99"


def test_many_branches_at_once_still_fit() -> None:
    view = RunView(console(80, 12))
    for number in range(30):
        view.show(CallStarted(str(number), ToolCall(f"c{number}", "shell", "{}"), {"command": "sleep 1\n" * 9}))
    assert len(frame(view, 80)) < 12


def test_hostile_text_neither_moves_the_cursor_nor_is_markup() -> None:
    screen = console(80, 24)
    view = RunView(screen)
    for event in events():
        view.show(event)
        screen.print(view.render())
    assert isinstance(screen.file, io.StringIO)
    raw = screen.file.getvalue()
    for sequence in ("\x1b[2J", "\x1b]0;", "\x9b", "\x07", "\x00", "\u202e"):
        assert sequence not in raw
    assert "[bold red]not markup[/] :smile:" in screen.export_text(clear=False).replace("\n", " ")


def test_entities_in_an_answer_become_no_control_characters() -> None:
    told = events()
    finished = told[-1]
    assert isinstance(finished, RunFinished)
    answer = "&#27;[2J &#155;2J &#x1b;]0;owned&#7; [link](https://evil.example)"
    changed = RunFinished(type(finished.result)(**{**_fields(finished.result), "answer": answer}))
    screen = console(80, 24)
    RunView(screen).show(changed)
    assert isinstance(screen.file, io.StringIO)
    raw = screen.file.getvalue()
    assert "\x1b[2J" not in raw
    assert "\x1b]" not in raw
    assert "\x9b" not in raw
    assert "https://evil.example" in raw, "where a link leads is shown"


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}  # type: ignore[attr-defined]


def test_without_a_terminal_plain_lines_come_out() -> None:
    screen = console(40, 24, terminal=False)
    with RunView(screen) as view:
        for event in events():
            view.show(event)
    assert isinstance(screen.file, io.StringIO)
    raw = screen.file.getvalue()
    assert "\x1b" not in raw
    assert "\r" not in raw
    assert "    orders = pd.read_csv('orders.csv')\n" in raw
    assert "step 1: Compute the revenue of every region from orders.csv and customers.csv, joined" in raw
    assert "**South** sells most: `55,937.95`. [bold red]not markup[/] :smile: evil\n" in raw, (
        "a program gets the answer as it is"
    )


def test_a_terminal_is_left_as_it_was() -> None:
    screen = console()
    with RunView(screen) as view:
        for event in events()[:11]:
            view.show(event)
    assert isinstance(screen.file, io.StringIO)
    raw = screen.file.getvalue()
    assert raw.rfind("\x1b[?25h") > raw.rfind("\x1b[?25l") >= 0
