"""What was measured, as tables for people, as JSON, and as a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from benchmarks.rows.contender import AT_ONCE, FLOOR, OURS, OURS_TWO
from benchmarks.rows.measure import Measured

Lines = list[list[str]]
"""A table's cells, its head first."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run. facts: what machine, which versions, how loaded, in words. notes: what went wrong. delays: seconds that
    the server took."""

    date: str
    facts: tuple[str, ...]
    measured: tuple[Measured, ...]
    notes: tuple[str, ...] = ()

    def of(self, name: str, delay: float) -> Measured | None:
        return next((each for each in self.measured if (each.name, each.delay) == (name, delay)), None)

    def at(self, delay: float) -> list[Measured]:
        return [each for each in self.measured if each.delay == delay]

    @property
    def delays(self) -> list[float]:
        return sorted({each.delay for each in self.measured})

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True, slots=True)
class Goal:
    """What we set ourselves. value: of a report, None where it was not measured. rising: more is better."""

    title: str
    limit: float
    value: Callable[[Report], float | None]
    rising: bool = False


def _ours(value: Callable[[Measured], float | None], delay: float = 0.0) -> Callable[[Report], float | None]:
    def of(report: Report) -> float | None:
        ours = report.of(OURS, delay)
        return value(ours) if ours else None

    return of


def gain(report: Report) -> float | None:
    """Rows a second of two workers, times one, beside the server that takes its time."""
    one, two = report.of(OURS, 0.05), report.of(OURS_TWO, 0.05)
    return two.rate / one.rate if one and two else None


def rows_for_cpu(measured: Measured) -> float:
    return measured.rows / measured.cpu


def growth(measured: Measured) -> float:
    return measured.rss_last / measured.rss_first


GOALS = (
    Goal("rows/s of one process, server without delay", 300, _ours(lambda ours: ours.rate), rising=True),
    Goal("rows for each second of CPU, as one core of its own would do", 300, _ours(rows_for_cpu), rising=True),
    Goal("two workers x one, rows/s, server that takes 50 ms", 1.4, gain, rising=True),
    Goal("resident memory at most, MB", 150, _ours(lambda ours: ours.rss)),
    Goal("flat: memory in the last quarter x in the first", 1.1, _ours(growth)),
    Goal("journal, bytes a row", 2000, _ours(lambda ours: ours.kept)),
    Goal("second start with all rows done, s", 1, _ours(lambda ours: ours.again)),
)


BETTER: tuple[tuple[str, Callable[[Measured], float | None]], ...] = (
    ("more rows a second", lambda one: -one.rate),
    ("less CPU a row", lambda one: one.cpu_ms),
    ("less memory", lambda one: one.rss),
    ("sooner at its first row", lambda one: one.start),
    ("a second start that takes less", lambda one: one.again),
    ("fewer rows asked twice after a kill", lambda one: one.killed.twice / one.killed.rows if one.killed else None),
)


def who_is_better(report: Report) -> list[str]:
    """Of each quantity, who is better at it than ours beside the server without delay."""
    ours = report.of(OURS, 0.0)
    others = [each for each in report.at(0.0) if each.name not in (OURS, OURS_TWO)]
    found = []
    for what, value in BETTER if ours else ():
        limit, told = value(ours), [(each.name, value(each)) for each in others]
        names = [name for name, theirs in told if theirs is not None and limit is not None and theirs < limit]
        found.append(f"{what}: {'; '.join(names) or 'nobody'}")
    return found


def number(value: float | None) -> str:
    """Three digits that say something.

    >>> number(0.0571), number(3.14159), number(1234.5), number(None)
    ('0.06', '3.14', '1234', '')
    """
    if value is None:
        return ""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def asking(report: Report, delay: float) -> Lines:
    floor = report.of(FLOOR, delay)
    head = ["", "rows", "rows/s", "x httpx", "CPU ms a row", "x httpx", "peak RSS, MB", "first, last quarter"]
    lines = [[*head, "cores in use: its, the server's"]]
    for each in report.at(delay):
        ratios = (each.rate / floor.rate, each.cpu_ms / floor.cpu_ms) if floor else (None, None)
        memory = [number(each.rss), f"{number(each.rss_first)}, {number(each.rss_last)}"]
        cells = [number(each.rate), number(ratios[0]), number(each.cpu_ms), number(ratios[1]), *memory]
        cores = f"{number(each.cpu / each.asking)}, {number(each.server_share)}"
        lines.append([each.name, str(each.rows), *cells, cores])
    return lines


def keeping(report: Report) -> Lines:
    head = ["", "kept, bytes a row", "before the first row, s", "the whole command, s", "second start, s (CPU)"]
    lines = [[*head, "killed in the middle: asked twice", "lost", "lines broken or too many"]]
    for each in report.at(0.0):
        again = "asks all again" if each.again is None else f"{number(each.again)} ({number(each.again_cpu)})"
        after = each.killed
        left = [f"{after.twice} of {after.rows}", str(after.lost), str(after.wrong)] if after else ["", "", ""]
        cells = [number(each.kept) if each.kept else "nothing", number(each.start), number(each.wall), again]
        lines.append([each.name, *cells, *left])
    return lines


def against_goals(report: Report) -> Lines:
    lines = [["", "goal", "fastslow map", "met"]]
    for goal in GOALS:
        value = goal.value(report)
        sign = "≥" if goal.rising else "≤"
        lines.append([goal.title, f"{sign} {goal.limit:g}", number(value), word(met(goal, value))])
    return lines


def met(goal: Goal, value: float | None) -> bool | None:
    """None when it was not measured."""
    if value is None:
        return None
    return value >= goal.limit if goal.rising else value <= goal.limit


def word(is_met: bool | None) -> str:
    return "" if is_met is None else "yes" if is_met else "**no**"


def tables(report: Report) -> list[tuple[str, Lines]]:
    found = [("Against our goals", against_goals(report))]
    for delay in report.delays:
        found.append((f"A server that takes {1e3 * delay:.0f} ms", asking(report, delay)))
    return [*found, ("What is kept, and what it is good for", keeping(report))]


def shown(title: str, lines: Lines) -> Table:
    head, *body = lines
    table = Table(*head, box=None, title=title, title_justify="left")
    for line in body:
        table.add_row(*(cell.replace("**", "") for cell in line))
    return table


def markdown(lines: Lines) -> str:
    head, *body = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *body])


def _bullets(items: Sequence[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def page(report: Report) -> str:
    """docs/workflow-benchmarks.md."""
    found = "\n".join(f"## {title}\n\n{markdown(lines)}" for title, lines in tables(report)[1:])
    return PAGE.format(
        date=report.date,
        at_once=AT_ONCE,
        facts=_bullets(report.facts),
        goals=markdown(against_goals(report)),
        better=_bullets(who_is_better(report)),
        tables=found,
        notes=_bullets(report.notes or ("None.",)),
    )


PAGE = """# What a row of a map costs, beside others

Written by `python -m benchmarks.rows` on {date}, in one run: each contender's command in a fresh process and folder,
one after the other. Ratios are of this run; numbers of other runs, machines or hours are not comparable with these, and
with other work on the machine a difference below a quarter says nothing.

{facts}
Each row is one constrained call (two fields, one of them an enum) with {at_once} rows in hand. A server in a process of
its own gives everyone the same answer: as 14 events of a token each to who asks for a stream, as fastslow does, whole
to the others. What is left is the client.

- **httpx**: an asyncio script with a semaphore and no retries that appends a line for each row, and at its start skips
  the ids that have one. A client for each 8 rows in hand spares httpx what one client for all costs it; the ratios are
  beside that.
- **fastslow map**: the command, journal and all. **pydantic-ai**: an agent with a typed `NativeOutput` in the same
  script. **langgraph**: a graph of one node, a thread a row. **ray.data.llm**: the HTTP processor on a local cluster
  with Ray Data's checkpoint, a block of 250 rows.

## Against our goals

{goals}
## Who does better than `fastslow map`

{better}
{tables}
- **rows/s** is the server's view: from the first request to the last answer. **CPU** is that of all processes of the
  command in that time, memory that of all of them together. **Cores in use**: where a contender could have used a whole
  core and got less, other programs had the rest; then its CPU says more than its rows/s.
- **Second start**: the same command again when all rows are done, whole.
- **Killed**: SIGKILL for the command when half of its rows had been asked about, then the same command again. Only
  fastslow and LangGraph wait for the disk; what the scripts wrote outlives a kill, but not a power cut.

## What did not work

{notes}"""
