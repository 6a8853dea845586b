"""The benchmark's report, on a small run as it was recorded."""

from __future__ import annotations

import json
import math

import pytest
from rich.console import Console

from benchmarks.sandbox import report
from benchmarks.sandbox.report import FLOOR, METRICS, OURS, Metric, Report, Series

RECORDED = Report(
    date="2026-11-24 03:51 UTC",
    facts=("2 processors", "Docker 20.10.24"),
    gave_up=5.0,
    contenders=(OURS, "AutoGen", "smolagents"),
    series=(
        Series("warm", OURS, (3.3, 2.9, 2.7, 11.5)),
        Series("cold", OURS, (305.0, 251.0, 290.0)),
        Series("cold", "AutoGen", (512.0, 498.0, 530.0)),
        Series("flood", OURS, (51.4,)),
        Series("flood", "smolagents", (), "321 bytes came back"),
        Series("stubborn", OURS, (56.0, 63.0)),
        Series("stubborn", "AutoGen", (math.inf, math.inf)),
        Series("refill", OURS, (4.2,)),
        Series("floor_run", FLOOR, (293.0, 280.0)),
    ),
)


def test_side_by_side_has_what_others_can_do_and_no_more() -> None:
    head, *body = report.side_by_side(RECORDED)
    assert head[1:] == [OURS, "AutoGen", "smolagents"]
    assert body == [
        ["first result, cold", "290 (305)", "512 (530)", ""],
        ["10 MB of stdout", "51.4", "", "321 bytes came back"],
        ["a loop that ignores SIGINT and SIGTERM is gone", "59.5 (63.0)", "never", ""],
    ]


def test_goals_are_met_by_the_median_and_the_percentile() -> None:
    told = {line[0]: line[1:] for line in report.against_goals(RECORDED)}
    assert told["first result, warm pool"] == ["3.1 (11.5)", "≤ 3, p95 ≤ 10", "no"]
    assert told["first result, cold"][-1] == "yes"
    assert told["10 MB of stdout"][-1] == "no"
    assert told["refill of the pool, containers a second"] == ["4.2", "≥ 4", "yes"]
    assert told["floor: `docker run --rm --network none … true`"] == ["286 (293)", "", ""]


@pytest.mark.parametrize(
    ("samples", "met"),
    [((2.0, 2.0, 2.0), "yes"), ((2.0, 2.0, 20.0), "no"), ((4.0, 4.0, 4.0), "no"), ((), "not measured")],
)
def test_verdicts(samples: tuple[float, ...], met: str) -> None:
    metric = Metric("warm", "", goal=3, goal_p95=10)
    assert report.verdict(metric, Series("warm", OURS, samples)) == met


def test_the_page_and_the_json_hold_everything() -> None:
    page = report.page(RECORDED)
    assert "fastslow 3, AutoGen 3." in page
    assert "- smolagents, 10 MB of stdout: 321 bytes came back\n" in page
    assert "| first result, cold | 290 (305) | ≤ 350 | yes |\n" in page
    data = json.loads(RECORDED.to_json())
    assert len(data["series"]) == len(RECORDED.series)
    assert {metric["key"] for metric in data["metrics"]} == {metric.key for metric in METRICS}


def test_the_tables_show_in_a_terminal() -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(report.table(report.side_by_side(RECORDED)))
    assert "never" in shown.get()
