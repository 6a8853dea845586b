"""How far a map is, while it goes on, and what came of it at its end: on standard error, as the lines may go to
standard output."""

from __future__ import annotations

import json
import sys
import threading
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fastslow.agent.flow.mapping import Tally, Work
from fastslow.agent.surfaces.cli.text import one_line, seconds, terminal

NAME = 80  # characters of a row's id that are shown
PAUSE = 30.0  # seconds between two signs of life where nothing can be redrawn


class Progress:
    """Shows a tally as it changes: one line that is redrawn, or, elsewhere than on a terminal, one now and then."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self._tally = tally
        self._console = console
        self._live: Live | None = None
        self._over = threading.Event()
        self._signs = threading.Thread(target=self._now_and_then, daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._drawn, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self._signs.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        self._over.set()

    def _now_and_then(self) -> None:
        while not self._over.wait(PAUSE):
            self._console.print(progress_line(self._tally), soft_wrap=True)

    def _drawn(self) -> RenderableType:
        tally = self._tally
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(max(tally.total, 1), tally.answered + tally.failed, width=20)
        grid.add_row(bar, Text(progress_line(tally), overflow="ellipsis", no_wrap=True))
        return grid


def progress_line(tally: Tally) -> str:
    """Rows, rate, rest, failures and tokens by mode, of this start."""
    parts = [f"{tally.answered + tally.failed} of {tally.total} rows", f"{tally.rate:.1f} rows/s"]
    if tally.rate and tally.left:
        parts.append(f"{seconds(tally.left / tally.rate)} left")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    return ", ".join([*parts, tokens_text(tally)])


def tokens_text(tally: Tally) -> str:
    spent = {name: value - tally.at_start.get(name, 0) for name, value in tally.spent.items()}
    return f"{spent['tokens'] - spent['thinking']} fast and {spent['thinking']} thinking tokens"


def print_end(work: Work, status: int, *, as_json: bool) -> None:
    """What came of it, and what to type next."""
    tally, out = work.tally, work.order.out
    if as_json:
        said = {"type": "result", "status": status, "rows": tally.total, "answered": tally.answered}
        said |= {"failed": tally.failed, "left": tally.left, "stopped": work.stopped, "spent": tally.spent}
        sys.stdout.write(json.dumps({**said, "out": str(out) if out else None}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    console = terminal(stderr=True)
    counts = f"{tally.answered} of {tally.total} rows answered, {tally.failed} failed, {tally.left} left"
    console.print(Text(counts, "green" if status == 0 else "yellow"), soft_wrap=True)
    if tally.answered + tally.failed > tally.before:
        console.print(f"{tally.rate:.1f} rows/s, {tokens_text(tally)}", style="dim", soft_wrap=True)
    if tally.slowest:
        slowest = f"slowest: {one_line(tally.slowest.name)[:NAME]}, {seconds(tally.slowest.seconds)}"
        console.print(slowest, style="dim", soft_wrap=True)
    for result in tally.errors:
        console.print(f"{one_line(result.name)[:NAME]}: {one_line(result.reason)[:300]}", style="red", soft_wrap=True)
    if work.stopped:
        console.print(f"Stopped: {one_line(work.stopped)[:600]}", soft_wrap=True)
    if out:
        console.print(f"Lines: {one_line(str(out))}", soft_wrap=True)
    if tally.left and work.order.out:
        console.print("The same command again goes on.", soft_wrap=True)
    if tally.failed:
        console.print("With --retry failed, the rows that failed are done again.", soft_wrap=True)
