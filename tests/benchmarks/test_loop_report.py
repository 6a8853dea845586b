"""The loop benchmark's arithmetic, its script, and the page, on a small run."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from benchmarks.loop import contender, report, server
from benchmarks.loop.contender import BARE, BARE_SSE, CONTENDERS, OURS, OURS_KEPT
from benchmarks.loop.report import GOALS, TURNS, Column, Report

RECORDED = Report(
    date="2026-11-24 16:51 UTC",
    facts=("2 processors",),
    rounds=3,
    runs=64,
    contenders=(BARE, BARE_SSE, OURS, OURS_KEPT, "strands"),
    samples={
        BARE: {"turn_cpu": [1.0, 2.0, 1.0], "import": [0.2, 0.2, 0.4]},
        BARE_SSE: {"turn_cpu": [2.0, 4.0, 1.0]},
        OURS: {"turn_cpu": [2.6, 6.0, None], "import": [0.38, 0.39, 0.9], "steps": [300.0, 310.0, 290.0]},
        OURS_KEPT: {"turn_cpu": [4.0, 8.0, 2.0], "stall": [40.0, 60.0, 70.0]},
        "strands": {"turn_cpu": [30.0, 60.0, 30.0]},
    },
    notes=("smolagents takes no part: ERROR: No matching distribution found",),
    encoded=({"turns": 20, "encoded": 432.1, "sent": 216.0},),
)


def test_ratios_are_taken_within_a_round() -> None:
    column = Column("turn_cpu", "", BARE_SSE)
    assert RECORDED.values(OURS, column) == [1.3, 1.5]  # nothing of the round that failed
    assert RECORDED.values("strands", column) == [15.0, 15.0, 30.0]
    assert RECORDED.values("strands", Column("stall", "", BARE)) == []


def test_a_cell_has_the_median_and_the_middle_half() -> None:
    assert report.cell([1.0, 2.0, 9.0]) == "2.00 (1.50-5.50)"
    assert report.cell([2.0, 2.0, 2.0]) == "2.00"
    assert report.cell([]) == ""


def test_goals_are_met_by_the_median() -> None:
    met = {goal.column.title[:20]: report.met(RECORDED, OURS, goal) for goal in GOALS}
    assert met == {
        "CPU of a turn, x bar": False,  # beside whole answers 2.8, of both rows the last told
        "flat: the last ten o": None,
        "many runs at once, s": True,
        "longest stall of the": None,
        "import, s": True,  # 0.39 s, but 1.95 times httpx
    }
    assert report.met(RECORDED, OURS, GOALS[0]) is True
    assert report.met(RECORDED, OURS_KEPT, GOALS[4]) is False


def test_gaps_and_growth() -> None:
    assert contender.gaps([(0.0, 1.0, 9), (1.5, 2.0, 9), (4.0, 4.1, 9)]) == [0.5, 2.0]
    told = contender.depth([0.001 + 0.0001 * turn for turn in range(100)])
    assert told["early"] == pytest.approx(1.45)
    assert told["late"] == pytest.approx(10.45)
    assert told["growth"] == pytest.approx(100.0)


def test_the_page_and_the_json_hold_everything() -> None:
    page = report.page(RECORDED)
    assert "| strands |  | 30.0 (30.0-45.0) | 30.0 | 15.0 (15.0-22.5) |  |\n" in page
    assert "- smolagents takes no part: ERROR: No matching distribution found\n" in page
    assert "432 KB for the 216 KB that 20 turns send" in page
    assert "| 64 runs at once" not in page
    assert json.loads(RECORDED.to_json())["samples"][OURS]["turn_cpu"] == [2.6, 6.0, None]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(report.shown("20 turns", report.side_by_side(RECORDED, TURNS)))
    assert "strands" in shown.get()


def test_a_streamed_answer_says_what_a_whole_one_says() -> None:
    body = server.answer(3, False, False, False, False).partition(b"\r\n\r\n")[2]
    message = json.loads(body)["choices"][0]["message"]
    stream = server.answer(3, False, False, True, True).partition(b"\r\n\r\n")[2]
    events = [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    pieces = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())]
    assert "".join(pieces) == message["tool_calls"][0]["function"]["arguments"]


def test_every_peer_has_its_releases_pinned() -> None:
    for peer in CONTENDERS:
        if peer.requirements:
            lines = (contender.HERE / f"requirements/{peer.requirements}.txt").read_text("utf-8").split()
            assert all("==" in line for line in lines)
            assert {*peer.distributions} <= {line.partition("==")[0] for line in lines}
