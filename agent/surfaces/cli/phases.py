"""Long set-up work, phase by phase, some side by side: what happens, why, and how long it took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fastslow.agent.surfaces.cli.text import one_line, seconds

OnProgress: TypeAlias = Callable[[str, float | None], None]

PAUSE = 20.0  # seconds between two signs of life where nothing can be redrawn
WIDEST = 100  # columns of the table: beyond, the times would stand too far from what they belong to
ECHO = 3  # columns left free: a terminal writes ^C at the end of the last line, and on a full one scrolls
_DONE, _FAILED, _STOPPED = Text("✓", "green"), Text("✗", "red"), Text("■", "yellow")


class Phases:
    """Draws phases on a console: one table on a terminal, plain lines elsewhere.

    >>> phases = Phases(Console())
    >>> with phases.phase("Model weights", "vLLM serves them from disk") as on_progress:
    ...     on_progress("part 3 of 22", 3 / 22)
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = console.is_terminal and not console.is_dumb_terminal
        self._rows: list[_Row] = []  # of the phases that go on, and of those that ended meanwhile
        self._display: Live | _SignsOfLife | None = None
        self._began: float | None = None
        self._ended = 0.0

    @property
    def seconds(self) -> float:
        """From the begin of the first phase to the end of the last."""
        return 0.0 if self._began is None else self._ended - self._began

    @contextmanager
    def phase(self, title: str, why: str) -> Iterator[OnProgress]:
        """Time the body, which reports through the given function. Several phases may go on at once.

        One that raises leaves a cross, one that was cancelled a square.
        """
        row = _Row(title, why)
        self._begin(row)
        try:
            yield row.report
        except (asyncio.CancelledError, KeyboardInterrupt):
            self._end(row, _STOPPED)
            raise
        except BaseException:
            self._end(row, _FAILED)
            raise
        self._end(row, _DONE)

    def _begin(self, row: _Row) -> None:
        self._began = row.began if self._began is None else self._began
        self._rows.append(row)
        if not self._drawn:
            self._console.print(Text(f"▸ {row.title} (why: {row.why})"), soft_wrap=True)
        if self._display is None:
            self._display = Live(self, console=self._console, refresh_per_second=5) if self._drawn else self._signs()
            self._display.start()

    def _end(self, row: _Row, mark: Text) -> None:
        row.end(mark)
        self._ended = time.monotonic()
        if not self._drawn:
            said = f"  {one_line(row.detail)}" if row.detail else ""
            self._console.print(Text(f"{mark} {row.title}{said}  {seconds(row.elapsed)}"), soft_wrap=True)
        if self._display is not None and all(each.mark for each in self._rows):
            self._display.stop()
            self._display = None
            self._rows.clear()

    def _signs(self) -> _SignsOfLife:
        return _SignsOfLife(self._console, self._rows)

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.width = min(self._console.width - ECHO, WIDEST)
        table.add_column(width=1)
        table.add_column(min_width=14, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(min_width=4, justify="right", no_wrap=True, style="cyan")
        table.add_column(min_width=11, justify="right", no_wrap=True, style="dim")
        for row in self._rows:
            table.add_row(*row.cells())
        return table


class _Row:
    """One phase."""

    def __init__(self, title: str, why: str) -> None:
        self.title = one_line(title)
        self.why = one_line(why)
        self.detail = ""
        self.fraction: float | None = None
        self.mark: Text | None = None  # how it ended
        self.began = time.monotonic()
        self._took = 0.0
        self._spinner = Spinner("dots")

    @property
    def elapsed(self) -> float:
        return self._took if self.mark else time.monotonic() - self.began

    @property
    def percent(self) -> str:
        return "" if self.fraction is None or self.mark else f"{min(max(self.fraction, 0.0), 1.0):.0%}"

    def report(self, what: str, fraction: float | None) -> None:
        self.detail = what
        self.fraction = fraction if fraction is not None else self.fraction

    def end(self, mark: Text) -> None:
        self._took, self.mark = self.elapsed, mark

    def cells(self) -> tuple[Spinner | Text, Text, Text, Text, Text]:
        now = one_line(self.detail) or self.why
        said = Text(now, "dim") if self.mark else Text(now) + Text(f"\n{self.why}", "dim")
        mark = self.mark or self._spinner
        return mark, Text(self.title, "bold"), said, Text(self.percent), Text(seconds(self.elapsed))


class _SignsOfLife:
    """Where nothing can be redrawn: a line for each phase that goes on, now and then."""

    def __init__(self, console: Console, rows: list[_Row]) -> None:
        self._console = console
        self._rows = rows
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._over.wait(PAUSE):
            for row in [row for row in self._rows if row.mark is None]:
                percent = f" ({row.percent})" if row.percent else ""
                line = f"  {row.title}: {one_line(row.detail)}{percent}  {seconds(row.elapsed)}"
                self._console.print(Text(line), soft_wrap=True)
