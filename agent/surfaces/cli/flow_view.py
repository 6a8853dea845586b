"""A workflow while it goes on: what has ended goes into the scrollback, what is under way is redrawn below it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fastslow.agent.events import Exit
from fastslow.agent.flow.progress import Asked, FlowEvent, Logged, StepBegan, StepEnded, StepMoved
from fastslow.agent.flow.workflow import MAP
from fastslow.agent.record.jobs import StepResult
from fastslow.agent.surfaces.cli.text import one_line, seconds

FRAMES = 4  # a second


class FlowView(Protocol):
    """Shows a flow. Used with `with`."""

    def show(self, event: FlowEvent) -> None: ...
    def paused(self) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class JsonSteps:
    """For programs: an event a line, as JSON, on what was stdout when this was made."""

    def __init__(self) -> None:
        self._out = sys.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def show(self, event: FlowEvent) -> None:
        """Print what has ended, was said or asked."""
        match event:
            case StepEnded(result, _, remembered):
                say(self._out, "step", remembered=remembered, **asdict(result))
            case Logged(text):
                say(self._out, "log", text=text)
            case Asked():
                say(self._out, "question", **asdict(event))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is redrawn."""
        yield


def say(out: TextIO, kind: str, **fields: Any) -> None:
    """One line of JSON."""
    out.write(json.dumps({"event": kind, **fields}) + "\n")
    out.flush()


@dataclass(slots=True)
class _Activity:
    name: str
    depth: int
    doing: str = ""
    began: float = 0.0


class StepLines:
    """For people: a line for each step that has ended; on a terminal those under way are redrawn below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._active: dict[str, _Activity] = {}
        self._depths: dict[str, int] = {"": 0}
        drawn = console.is_terminal and not console.is_dumb_terminal
        options = {"console": console, "refresh_per_second": FRAMES, "transient": True}
        self._live = Live(get_renderable=self.render, **options) if drawn else None  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._active.clear()
        if self._live:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is redrawn meanwhile: somebody else writes to the terminal."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    def show(self, event: FlowEvent) -> None:
        """Show one event."""
        match event:
            case StepBegan(key, name, place):
                depth = self._depths.get(place.partition("/")[0], 0)
                self._depths[key] = depth + 1
                self._active[key] = _Activity(one_line(name), depth, began=time.monotonic())
            case StepMoved(key, text) if key in self._active:
                self._active[key].doing = one_line(text)
            case StepEnded(result, place, remembered):
                self._active.pop(result.key, None)
                depth = self._depths.get(place.partition("/")[0], 0)
                if result.failure != MAP:
                    self._print(ended_line(result, "  " * depth, remembered=remembered))
            case Logged(text):
                self._print(Text(f"· {one_line(text)}"))

    def render(self) -> Group:
        """The steps under way, as many as fit."""
        lines = []
        for activity in list(self._active.values())[: max(1, self._console.height - 2)]:
            took = seconds(time.monotonic() - activity.began)
            line = Text.assemble(
                ("  " * activity.depth + "▸ ", "yellow"), activity.name, (f"  {activity.doing}", "dim")
            )
            line.truncate(max(1, self._console.width - len(took) - 2), overflow="ellipsis")
            lines.append(line.append(f"  {took}", "cyan"))
        return Group(*lines)

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def ended_line(result: StepResult, indent: str = "", *, remembered: bool = False) -> Text:
    """A step that has ended, on one line."""
    answered = result.exit is Exit.ANSWERED
    line = Text.assemble((f"{indent}✓ ", "green") if answered else (f"{indent}✗ ", "red"), one_line(result.name))
    if remembered:
        return line.append("  as before", "dim")
    took = [seconds(result.seconds), f"{result.tokens:,} tokens" if result.tokens else ""]
    line.append(f"  {', '.join(filter(None, took))}", "dim")
    return line if answered else line.append(f"  {result.exit}: {one_line(result.reason)}", "red")
