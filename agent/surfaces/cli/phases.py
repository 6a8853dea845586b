"""Long set-up work, phase by phase: what happens, why, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fastslow.agent.surfaces.cli.text import one_line, seconds

OnProgress: TypeAlias = Callable[[str, float | None], None]

PAUSE = 3.0  # seconds at least between two lines of a phase where nothing can be redrawn


class Phases:
    """Draws phases on a console: a spinner and a bar on a terminal, plain lines elsewhere.

    >>> phases = Phases(Console())
    >>> with phases.phase("Model weights", "vLLM serves them from disk") as on_progress:
    ...     on_progress("part 3 of 22", 3 / 22)
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = console.is_terminal and not console.is_dumb_terminal

    @contextmanager
    def phase(self, title: str, why: str) -> Iterator[OnProgress]:
        """Time the body, which reports through the given function; one that raises leaves a cross."""
        row = _Row(title, why)
        try:
            if self._drawn:
                with Live(row, console=self._console, transient=True, refresh_per_second=5):
                    yield row.report
            else:
                yield _Lines(self._console, row).report
        except BaseException:
            self._end(row, Text("✗ ", "red"))
            raise
        self._end(row, Text("✓ ", "green"))

    def _end(self, row: _Row, mark: Text) -> None:
        line = mark + Text(row.title, "bold") + Text(f"  {one_line(row.detail)}" if row.detail else "", "dim")
        self._console.print(line + Text(f"  {seconds(row.elapsed)}", "dim"))


class _Row:
    """One phase on a terminal, drawn anew several times a second."""

    def __init__(self, title: str, why: str) -> None:
        self.title = title
        self.why = why
        self.detail = ""
        self.fraction: float | None = None
        self._started = time.monotonic()
        self._spinner = Spinner("dots")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def report(self, what: str, fraction: float | None) -> None:
        self.detail = what
        self.fraction = fraction if fraction is not None else self.fraction

    def __rich__(self) -> Table:
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, Text(self.title, "bold"), Text(seconds(self.elapsed), "cyan"), self._bar())
        grid = Table.grid()
        grid.add_row(head)
        for line in (f"Why: {self.why}.", one_line(self.detail)):
            grid.add_row(Text(f"  {line}", "dim", no_wrap=True, overflow="ellipsis"))
        return grid

    def _bar(self) -> ProgressBar | Text:
        if self.fraction is None:
            return Text("")
        return ProgressBar(total=1.0, completed=min(max(self.fraction, 0.0), 1.0), width=20)


class _Lines:
    """One phase where nothing can be redrawn: a first line that says why, then one now and then."""

    def __init__(self, console: Console, row: _Row) -> None:
        self._console = console
        self._row = row
        self._next = PAUSE
        console.print(Text(f"▸ {row.title} (why: {row.why})"), soft_wrap=True)

    def report(self, what: str, fraction: float | None) -> None:
        self._row.report(what, fraction)
        if self._row.elapsed < self._next:
            return
        self._next = self._row.elapsed + max(PAUSE, self._row.elapsed / 4)
        done = "" if self._row.fraction is None else f" ({self._row.fraction:.0%})"
        self._console.print(Text(f"  {one_line(what)}{done}  {seconds(self._row.elapsed)}"), soft_wrap=True)
