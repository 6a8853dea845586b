"""The benchmark of rows: its arithmetic and its page, and a small run of ours beside a plain script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.rows import __main__ as command
from benchmarks.rows import report
from benchmarks.rows.contender import BENCHMARKS, CONTENDERS, FLOOR, OURS, OURS_TWO, Contender, Server, server
from benchmarks.rows.measure import Killed, Look, Measured, MeasurementFailed, cpu_at, lines, measure
from benchmarks.rows.report import GOALS, Report

HTTPX = Measured(FLOOR, 0.0, 10_000, 0.2, 10.0, 10.4, 9.0, 2.0, 42.0, 40.0, 41.0, 0.0, 0.4, 0.3, Killed(2000, 60, 0, 0))
FASTSLOW = Measured(
    OURS, 0.0, 10_000, 0.6, 20.0, 20.9, 18.0, 3.0, 80.0, 70.0, 77.0, 410.0, 0.8, 0.6, Killed(2000, 90, 0, 0)
)
SLOW = replace(FASTSLOW, delay=0.05, asking=25.0, again=None, again_cpu=None, killed=None)
RECORDED = Report(
    date="2026-11-28 17:45 UTC",
    facts=("2 processors",),
    measured=(HTTPX, FASTSLOW, SLOW, replace(SLOW, name=OURS_TWO, asking=15.625)),
    notes=("langgraph takes no part: ERROR: No matching distribution found",),
)


@pytest.fixture
def beside() -> Iterator[Server]:
    with server(0.0) as fast:
        yield fast


def test_the_page_and_the_json_hold_everything() -> None:
    page = report.page(RECORDED)
    assert f"| {OURS} | 10000 | 500 | 0.50 | 1.80 | 2.00 | 80.0 | 70.0, 77.0 | 0.90, 0.15 |\n" in page
    assert f"| {FLOOR} | nothing | 0.20 | 10.4 | 0.40 (0.30) | 60 of 2000 | 0 | 0 |\n" in page
    assert "- langgraph takes no part: ERROR: No matching distribution found\n" in page
    assert f"- less memory: {FLOOR}\n" in page
    assert f"- fewer rows asked twice after a kill: {FLOOR}\n" in page
    assert "- more rows a second: nobody\n" in report.page(
        replace(RECORDED, measured=(FASTSLOW, replace(HTTPX, asking=21.0)))
    )
    assert "asks all again" in report.page(replace(RECORDED, measured=(replace(HTTPX, again=None),)))
    assert json.loads(RECORDED.to_json())["measured"][1]["killed"]["twice"] == 90
    console = Console(width=200)
    with console.capture() as shown:
        console.print(report.shown(*report.tables(RECORDED)[0]))
    assert "two workers x one" in shown.get()


def test_goals_are_met_or_not() -> None:
    values = {goal.title[:12]: goal.value(RECORDED) for goal in GOALS}
    assert values == {
        "rows/s of on": 500.0,
        "rows for eac": pytest.approx(555.6, abs=0.1),
        "two workers ": 1.6,
        "resident mem": 80.0,
        "flat: memory": 1.1,
        "journal, byt": 410.0,
        "second start": 0.8,
    }
    assert [report.met(goal, goal.value(RECORDED)) for goal in GOALS] == [True] * 7
    assert report.met(GOALS[0], 299.0) is False
    assert report.met(GOALS[6], 1.01) is False
    assert report.met(GOALS[2], GOALS[2].value(replace(RECORDED, measured=(HTTPX,)))) is None


def test_cpu_between_two_looks() -> None:
    looks = [Look(1.0, 0.5, 0.0), Look(2.0, 1.5, 0.0)]
    assert [cpu_at(looks, at) for at in (0.0, 1.25, 2.0, 9.0)] == [0.5, 0.75, 1.5, 1.5]


def test_lines_are_counted(tmp_path: Path) -> None:
    right = {"urgency": "today", "why": ""}
    said = [{"id": 1, "output": right}, {"id": 2, "output": right}, {"id": 2, "output": right}, {"id": 3}]
    (tmp_path / "out.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in said) + '{"id": ')
    assert lines(tmp_path) == (2, 3)  # one too many, one without an output, one that is half there


def test_ours_and_the_floor_do_all_rows(tmp_path: Path, beside: Server) -> None:
    for contender in CONTENDERS[:1] + CONTENDERS[2:3]:
        told = command.one(contender, contender.python(), beside, 0.0, 120, _made(tmp_path / contender.name[:5]))
        assert (told.name, told.rows) == (contender.name, 120)
        assert told.again is not None  # it asked nobody
        assert told.killed is not None
        assert (told.killed.lost, told.killed.wrong) == (0, 0)
        assert (told.kept > 0) == (contender.name == OURS)
        assert told.rss > 20


def test_a_command_that_fails_is_told(tmp_path: Path, beside: Server) -> None:
    with pytest.raises(MeasurementFailed, match=r"it ended with 2: .*No such file"):
        measure(Contender("none", ("none.py",)), CONTENDERS[0].python(), beside, 0.0, 3, tmp_path / "none")


def test_every_peer_has_its_releases_pinned() -> None:
    for peer in CONTENDERS:
        if peer.requirements:
            pinned = (BENCHMARKS / peer.requirements).read_text("utf-8").split()
            assert all("==" in line for line in pinned)
            assert {*peer.distributions} <= {line.partition("==")[0] for line in pinned}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
