"""Makes text that others wrote (models, tools, files, servers) safe to print on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fastslow.agent.quoting import CONTROLS, without_controls

TAB = 4  # columns


def clean(text: str) -> str:
    """The text without anything that moves a cursor, sets a title or reorders a line; of a line that was
    overwritten (a progress bar), its last state. Takes linear time.

    >>> clean("\\x1b[31mred\\x1b[0m\\r\\n1 %\\r2 %")
    'red\\n2 %'
    """
    return without_controls(text).expandtabs(TAB)  # rich, which would, takes quadratic time to


def typed(word: str) -> str:
    """A word as one types it behind a command, so that the shell and the command take it as it is.

    >>> typed("not yet"), typed("--no")
    ("'not yet'", '-- --no')
    """
    return ("-- " if word.startswith("-") else "") + shlex.quote(one_line(word))


def one_line(text: str) -> str:
    """The cleaned text on one line.

    >>> one_line(" two\\nlines ")
    'two lines'
    """
    return " ".join(clean(text).split())


class Terminal(Console):
    """A console that takes nothing for markup: square brackets, emoji names and numbers print as they are.

    What controls a terminal is left out of whatever is printed, so that a text which was forgotten to be cleaned does
    no harm; `clean` also takes the rest of such a sequence away, which one would see.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(CONTROLS.sub("", segment.text), segment.style)


def terminal(*, stderr: bool = False) -> Console:
    """The console of this process."""
    return Terminal(stderr=stderr)


def seconds(value: float) -> str:
    """A duration for people.

    >>> seconds(4.25), seconds(75), seconds(3700)
    ('4.2 s', '1 min 15 s', '1 h 1 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(value: float) -> str:
    """A number of bytes for people.

    >>> size(512), size(1_500_000), size(2_030_000_000)
    ('512 B', '1.5 MB', '2.0 GB')
    """
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
