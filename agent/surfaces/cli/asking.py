"""A question on the terminal: may this call run?"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.cells import chop_cells
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from fastslow.agent.approval import Answer, Question
from fastslow.agent.question import Kind, Line
from fastslow.agent.surfaces.cli.blocks import branch_label, join_dots
from fastslow.agent.surfaces.cli.text import one_line

KEYS = "y yes · n no · a always in this run · e no, and say why · s stop, resume later"
_STYLES: dict[Kind, str] = {"value": "", "code": "bold", "added": "green", "removed": "red", "note": "dim"}
_FRAME = 4  # columns, and rows, that are not the call's
_NARROWEST = 20


class Asker:
    """Asks whoever sits at the terminal. paused: stops the live display while the question is there."""

    def __init__(self, console: Console, paused: Callable[[], AbstractContextManager[None]]) -> None:
        self._console = console
        self._paused = paused

    async def __call__(self, question: Question) -> Answer:
        """Ctrl-C cancels the run, as anywhere; the end of input is a no."""
        with self._paused():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before the question is no answer to it
            self._show(question)
            while True:
                match await _read_key():
                    case "y" | "Y":
                        return Answer("allow")
                    case "a" | "A":
                        return Answer("allow", always=True)
                    case "n" | "N" | "\x04" | "":
                        return Answer("deny")
                    case "e" | "E":
                        self._console.print(Text("What should the model know? ", "bold"), end="")
                        return Answer("deny", note=one_line(await _read_line()))
                    case "s" | "S":
                        return Answer("stop")

    def _show(self, question: Question) -> None:
        """All of the question. What it is about stands below it too, and that it is long, if it is: its head may be out
        of sight."""
        width, height = max(self._console.width - _FRAME, _NARROWEST), self._console.height
        lines = (Line("", one_line(question.reason), "note"), *question.lines)
        rows = [Text(row, _STYLES[line.kind]) for line in lines for row in line.rows(width, chop_cells)]
        title = Text(join_dots(f"May {one_line(question.tool)} run?", branch_label(question.branch)), "bold yellow")
        self._console.print(Panel(Text("\n", no_wrap=True).join(rows), title=title, title_align="left"))
        if len(rows) > height - _FRAME:
            hint = f"It has {len(rows)} rows, more than fit here: scroll up to see all of it."
            self._console.print(Text(hint, "yellow"))
        self._console.print(Text.assemble(title, " ", (KEYS, "dim")))


def attended() -> bool:
    """Whether somebody sits at the terminal who sees a question and can answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def can_confirm() -> bool:
    """Whether somebody sees a question on stderr, where all are that come before or behind a run, and can answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


async def _read_key() -> str:
    """One key, as soon as it is pressed."""
    with _without_line_buffering(sys.stdin.fileno()) as fd:
        return await _read(fd, 1)


async def _read_line() -> str:
    return await _read(sys.stdin.fileno(), 4096)


async def _read(fd: int, size: int) -> str:
    """Bytes as they are typed, without a thread: one that still waits in `read` would swallow the next key."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, size).decode("utf-8", "replace")


@contextmanager
def _without_line_buffering(fd: int) -> Iterator[int]:
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd, termios.TCSANOW)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
