"""What was measured, as a table for people, as JSON, and as a page."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

OURS = "fastslow"
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity, in ms unless its title says otherwise. rising: more is better.

    goal: what we set ourselves for the median; goal_p95: for the 95th percentile.
    """

    key: str
    title: str
    goal: float | None = None
    goal_p95: float | None = None
    rising: bool = False


METRICS = (
    Metric("warm", "first result, warm pool", goal=3, goal_p95=10),
    Metric("cold", "first result, cold", goal=350),
    Metric("later", "later `print(1+1)`", goal=0.3),
    Metric("stack", "import numpy, pandas, matplotlib in a started sandbox"),
    Metric("stack_session", "session with numpy, pandas, matplotlib, from the pool", goal=15),
    Metric("fork", "fork of a session", goal=10),
    Metric("fork_100", "fork of a session with 100 MB", goal=10),
    Metric("fork_1000", "fork of a session with 1 GB"),
    Metric("flood", "10 MB of stdout", goal=25),
    Metric("call", "call of a host function from code", goal=0.2),
    Metric("loop", "a loop is gone, after its deadline", goal=100),
    Metric("loop_next", "next call after the loop"),
    Metric("stubborn", "a loop that ignores SIGINT and SIGTERM is gone", goal=100),
    Metric("stubborn_next", "next call after that one"),
    Metric("stop", "end of a sandbox"),
    Metric("memory", "idle sandbox after a first call, MB", goal=12),
    Metric("memory_pool", "idle sandbox of a pool of four, data stack loaded, MB", goal=12),
    Metric("memory_fork", "each further session (fork), MB"),
    Metric("refill", "refill of the pool, containers a second", goal=4, rising=True),
    Metric("refill_ready", "the same, with their data stack loaded", rising=True),
    Metric("slowdown", "a live session's work takes longer meanwhile, by %", goal=20),
    Metric("floor_run", "floor: `docker run --rm --network none … true`"),
    Metric("floor_exec", "floor: `docker exec … true`"),
    Metric("floor_pipe", "floor: `print(1+1)` by a process of the host, through pipes"),
    Metric("floor_fork", "floor: fork of a small process, and its end"),
)


@dataclass(frozen=True, slots=True)
class Series:
    """What one contender showed for one metric. inf: it never happened. note: why there are no samples, or too few."""

    metric: str
    contender: str
    samples: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """Nearest rank."""
        return sorted(self.samples)[max(0, math.ceil(0.95 * len(self.samples)) - 1)]


@dataclass(frozen=True, slots=True)
class Report:
    """One run. facts: what machine and which versions, in words. gave_up: seconds after which `never` was said."""

    date: str
    facts: tuple[str, ...]
    gave_up: float
    contenders: tuple[str, ...]
    series: tuple[Series, ...]

    def find(self, metric: str, contender: str) -> Series | None:
        return next((one for one in self.series if (one.metric, one.contender) == (metric, contender)), None)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "metrics": [asdict(metric) for metric in METRICS]}, indent=1)


def number(value: float) -> str:
    """Three digits that say something.

    >>> number(0.0571), number(3.14159), number(1234.5), number(math.inf)
    ('0.057', '3.1', '1234', 'never')
    """
    if math.isinf(value):
        return "never"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{digits}f}"


def cell(series: Series | None) -> str:
    """Median and 95th percentile; the note where there is no number."""
    if series is None:
        return ""
    if not series.samples:
        return series.note
    median, p95 = number(series.median), number(series.p95)
    return median if median == p95 else f"{median} ({p95})"


def verdict(metric: Metric, series: Series | None) -> str:
    """Whether our goal is met: yes, no, or nothing where there is none."""
    if metric.goal is None:
        return ""
    if series is None or not series.samples:
        return "not measured"
    met = series.median >= metric.goal if metric.rising else series.median <= metric.goal
    return "yes" if met and (metric.goal_p95 is None or series.p95 <= metric.goal_p95) else "no"


def goal(metric: Metric) -> str:
    if metric.goal is None:
        return ""
    sign = "≥" if metric.rising else "≤"
    return f"{sign} {metric.goal:g}" + (f", p95 {sign} {metric.goal_p95:g}" if metric.goal_p95 else "")


Lines = list[list[str]]
"""A table's cells, its head first."""


def side_by_side(report: Report) -> Lines:
    """What all can do."""
    found = [[metric.title, *(cell(report.find(metric.key, name)) for name in report.contenders)] for metric in METRICS]
    return [["ms, median (p95)", *report.contenders], *(line for line in found if any(line[2:]))]


def against_goals(report: Report) -> Lines:
    """Ours, with the goals, then the floors."""
    lines = [["ms, median (p95)", OURS, "goal", "met"]]
    for metric in METRICS:
        series = report.find(metric.key, FLOOR if metric.key.startswith("floor") else OURS)
        if series is not None:
            lines.append([metric.title, cell(series), goal(metric), verdict(metric, series)])
    return lines


def table(lines: Lines) -> Table:
    head, *body = lines
    shown = Table(*head, box=None)
    for line in body:
        shown.add_row(*line)
    return shown


def markdown(lines: Lines) -> str:
    head, *body = lines
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *body])


def notes(report: Report) -> list[str]:
    """What went wrong, by contender."""
    titles = {metric.key: metric.title for metric in METRICS}
    return [f"{one.contender}, {titles[one.metric]}: {one.note}" for one in report.series if one.note]


def page(report: Report) -> str:
    """docs/sandbox-benchmarks.md."""
    remarks = [*notes(report)] or ["None."]
    return PAGE.format(
        date=report.date,
        facts=_bullets(report.facts),
        peers=markdown(side_by_side(report)) if len(report.contenders) > 1 else "",
        goals=markdown(against_goals(report)),
        notes=_bullets(remarks),
        gave_up=f"{report.gave_up:g}",
        counts=_counts(report),
    )


def _counts(report: Report) -> str:
    counted = [(name, report.find("cold", name)) for name in report.contenders]
    return ", ".join(f"{name} {len(series.samples)}" for name, series in counted if series)


def _bullets(items: Sequence[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


PAGE = """# What the sandbox costs, beside others

Written by `make bench` on {date}. All contenders were measured in one run, on one image, in turns whose order
rotated. Cold starts of each: {counts}. With so few, the 95th percentile of what is taken once a start is the largest.
Numbers of other runs, machines or hours are not comparable with these.

{facts}
{peers}
- **fastslow** runs with every protection on: no network, no capabilities, our list of system calls, limits on memory,
  processors (one), processes and disk. The others run as they come: root, on Docker's bridge network, without limits.
- **Cold** is from nothing to the output of `print(1+1)`; the library is imported before. What a start leaves to do in
  the background is waited for before what follows.
- **State**: fastslow and smolagents keep variables between calls. AutoGen, llm-sandbox and SWE-ReX's `execute` start a
  new Python for each call, so they import again each time. A cold session of ours imports once; one of the pool has
  the data stack in it.
- **10 MB of stdout** count only if all of it came back.
- **Gone** is watched on the host, by the process itself: from the deadline, 1 s as given to the library, until it ended
  or was interrupted. `never`: not within {gave_up} s. smolagents takes no deadline, so its caller only stopped waiting.
  The next call must answer rightly within {gave_up} s, else it counts as `never`, too.
- **Idle sandbox**: the proportional set size (PSS) of all processes of the container and its shim, once they rest.
  No other container of the image runs then, so nothing is shared. None of them has numpy, pandas or matplotlib loaded:
  ours loads them ahead only while no session has begun, as in a pool.

## Against our goals

{goals}
- **Idle sandbox of a pool**: the mean of its four containers, which share what they read from files only.
- **Refill**: until four containers run again after four were taken; then the same while a session works all the time,
  for how much longer its work (a sum in plain Python) takes.
- **Floors** are what the machine and Docker take without any library.

## What did not work

{notes}"""
