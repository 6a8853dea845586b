"""What was measured, as tables for people, as JSON, and as a page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from benchmarks.loop.contender import BARE, BARE_SSE, OURS, OURS_KEPT


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity. beside: it is shown as times that of this contender in the same round."""

    key: str
    title: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """What we set ourselves for the median. rising: more is better. times_httpx: enough, too."""

    column: Column
    limit: float
    rising: bool = False
    times_httpx: float | None = None

    @property
    def text(self) -> str:
        sign = "≥" if self.rising else "≤"
        return f"{sign} {self.limit:g}" + (f", or {self.times_httpx:g} x httpx" if self.times_httpx else "")


TURNS = (
    Column("turn_ms", "ms a turn"),
    Column("turn_cpu", "CPU ms a turn"),
    Column("turn_cpu", f"CPU x {BARE}", BARE),
    Column("turn_cpu", f"CPU x {BARE_SSE}", BARE_SSE),
    Column("sent", "KB sent"),
)
DEPTH = (
    Column("early", "ms at turns 1-10"),
    Column("middle", "46-55"),
    Column("late", "91-100"),
    Column("growth", "µs more per turn of history"),
    Column("late_by_early", "last / first ten"),
    Column("last_body", "last request, KB"),
)
MANY = (
    Column("steps", "steps/s"),
    Column("step_cpu", "CPU ms a step"),
    Column("step_cpu", f"CPU x {BARE_SSE}", BARE_SSE),
    Column("stall", "longest stall, ms"),
    Column("rss_many", "RSS after, MB"),
)
START = (
    Column("import", "import, s"),
    Column("import", "x httpx", BARE),
    Column("rss_import", "RSS after import, MB"),
    Column("rss_turns", "RSS after 20 turns, MB"),
)
GOALS = (
    Goal(Column("turn_cpu", f"CPU of a turn, x {BARE_SSE} (asked for a stream, as ours asks)", BARE_SSE), 1.5),
    Goal(Column("turn_cpu", f"CPU of a turn, x {BARE} (asked for a whole answer)", BARE), 1.5),
    Goal(Column("late_by_early", "flat: the last ten of 100 turns, x the first ten"), 1.25),
    Goal(Column("steps", "many runs at once, steps/s"), 300, rising=True),
    Goal(Column("stall", "longest stall of the event loop meanwhile, ms"), 50),
    Goal(Column("import", "import, s"), 0.35, times_httpx=2),
)


@dataclass(frozen=True, slots=True)
class Report:
    """One run. samples: by contender and key, one of each round; None where the measurement failed.

    facts: what machine and which versions, in words. notes: what went wrong. encoded: of ours, JSON made and sent.
    """

    date: str
    facts: tuple[str, ...]
    rounds: int
    runs: int
    contenders: tuple[str, ...]
    samples: Mapping[str, Mapping[str, Sequence[float | None]]]
    notes: tuple[str, ...] = ()
    encoded: tuple[Mapping[str, float], ...] = ()

    def values(self, contender: str, column: Column) -> list[float]:
        """One of each round, or times another's of the same round; rounds without one are left out."""
        mine = self.samples.get(contender, {}).get(column.key, ())
        if not column.beside:
            return [value for value in mine if value is not None]
        theirs = self.samples.get(column.beside, {}).get(column.key, ())
        return [a / b for a, b in zip(mine, theirs, strict=False) if a is not None and b]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def number(value: float) -> str:
    """Three digits that say something.

    >>> number(0.0571), number(3.14159), number(1234.5), number(-0.2)
    ('0.06', '3.14', '1234', '-0.20')
    """
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def cell(values: Sequence[float]) -> str:
    """The median, and the middle half where it differs from it."""
    if not values:
        return ""
    median = number(statistics.median(values))
    if len(values) == 1:
        return median
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    spread = f"{number(low)}-{number(high)}"
    return median if spread == f"{median}-{median}" else f"{median} ({spread})"


def met(report: Report, contender: str, goal: Goal) -> bool | None:
    """Whether a goal is met by the median; None when it was not measured."""
    values = report.values(contender, goal.column)
    if not values:
        return None
    median = statistics.median(values)
    if goal.rising:
        return median >= goal.limit
    times = report.values(contender, Column(goal.column.key, "", BARE)) if goal.times_httpx else []
    return median <= goal.limit or bool(times and statistics.median(times) <= (goal.times_httpx or 0))


Lines = list[list[str]]
"""A table's cells, its head first."""


def side_by_side(report: Report, columns: Sequence[Column]) -> Lines:
    """Contenders below one another, those with nothing to show left out."""
    lines = [[name, *(cell(report.values(name, column)) for column in columns)] for name in report.contenders]
    return [["", *(column.title for column in columns)], *(line for line in lines if any(line[1:]))]


def against_goals(report: Report) -> Lines:
    """Ours, without and with the journal, beside the goals."""
    shown = [name for name in (OURS, OURS_KEPT) if name in report.contenders]
    lines = [["", "goal", *(word for name in shown for word in (name, "met"))]]
    for goal in GOALS:
        line = [goal.column.title, goal.text]
        for name in shown:
            line += [cell(report.values(name, goal.column)), _word(met(report, name, goal))]
        lines.append(line)
    return lines


def _word(is_met: bool | None) -> str:
    return "" if is_met is None else "yes" if is_met else "**no**"


def tables(report: Report) -> list[tuple[str, Lines]]:
    return [
        ("20 turns", side_by_side(report, TURNS)),
        ("100 turns", side_by_side(report, DEPTH)),
        (f"{report.runs} runs at once, 10 turns each", side_by_side(report, MANY)),
        ("Import and memory", side_by_side(report, START)),
        ("Against our goals", against_goals(report)),
    ]


def shown(title: str, lines: Lines) -> Table:
    head, *body = lines
    table = Table(*head, box=None, title=title, title_justify="left")
    for line in body:
        table.add_row(*(word.replace("**", "") for word in line))
    return table


def markdown(lines: Lines) -> str:
    head, *body = lines
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *body])


def page(report: Report) -> str:
    """docs/loop-benchmarks.md."""
    turns, depth, many, start, goals = (markdown(lines) for _, lines in tables(report))
    return PAGE.format(
        date=report.date,
        facts=_bullets(report.facts),
        rounds=report.rounds,
        runs=report.runs,
        turns=turns,
        depth=depth,
        many=many,
        start=start,
        goals=goals,
        encoded=_encoded(report),
        notes=_bullets(report.notes or ("None.",)),
    )


def _encoded(report: Report) -> str:
    told = [
        f"{number(one['encoded'])} KB for the {number(one['sent'])} KB that {one['turns']:.0f} turns send"
        for one in report.encoded
    ]
    return "; ".join(told) or "not measured"


def _bullets(items: Sequence[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


PAGE = """# What the loop costs, beside others

Written by `make bench-loop` (`python -m benchmarks.loop`) on {date}: medians of {rounds} rounds, the middle half in
brackets. In each round all contenders took turns at each measurement, in an order that rotated, each time in a fresh
process. Ratios are taken within a round. Numbers of other runs, machines or hours are not comparable with these, and
with other work on the machine a difference below a quarter says nothing.

{facts}
A server in a process of its own answers at once, from a script: a text of some 100 characters and one call of one of
eight tools, turn after turn, then a last text. What is left is the client: encoding, the wire, parsing, the loop, the
tool. The last turn, which only answers, counts as one.

## Against our goals

{goals}
- **Flat** is given a limit here, to be testable: a quarter more at the hundredth turn than at the first.
- Bytes that fastslow's encoder makes, all that goes through `json.JSONEncoder`: {encoded}.

## 20 turns

{turns}
- **ms a turn** is the server's view: from the end of an answer until the next request is whole, the median of the
  run's turns. **CPU** is that of the client's process with all its threads, over the whole run. A run of two turns
  before is not counted.
- **SSE**: the answer is asked for as a stream, 32 events of a token each. fastslow and strands always stream, and
  are to be compared with that line; the others ask for whole answers, as they do by default.
- **fastslow** runs as `Agent(engine=VLLM(url, profile="exaone4", probe=False), tools=[...], sandbox=None)`, with
  `journal=None` and with a journal. Of the peers, tracing is off.

## 100 turns

{depth}
- Each number is the median of its ten turns. The whole history is sent each time, by everyone; what bare httpx grows
  by is the price of that.

## {runs} runs at once

{many}
- 10 turns each, in one process; a step is a turn of any of them. **bare httpx** has a client for each 8 runs, as httpx
  compares all connections of a client with one another for each request; "one client" shows what that costs.
- **Stall**: a task that sleeps 5 ms, over and over, and by how much its longest sleep was too long. smolagents runs in
  threads, so it has none.

## Import and memory

{start}
- **Import**: `python -c` of what a program with the library begins with, wall clock, files cached.
  smolagents loads the openai SDK later, when a model is made.

## What did not work

{notes}"""
