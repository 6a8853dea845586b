"""The picture of the front page: one real run, its two speeds on a time axis, and what was said at each.

    python -m benchmarks.picture "TASK" FILE    carry the task out on the managed server, keep it, draw it
    python -m benchmarks.picture                draw docs/run.svg again from docs/run.json

Needs `fastslow up` and `fastslow sandbox build`. Nothing is drawn that the run did not say, and nothing is left out but
blank lines and what does not fit, which is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import textwrap
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from xml.sax.saxutils import escape

from pydantic import TypeAdapter
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, String, _TokenType

from fastslow import Agent, CallFinished, CallStarted, RunFinished, TurnDelta, TurnFinished, TurnStarted
from fastslow.agent.serving.machine import this_machine
from fastslow.tools.fenced import first_block

DOCS = Path(__file__).parent.parent / "docs"
WIDE, EDGE, TEXT, LINE = 920, 24, 136, 18  # pixels: all, margin, where text begins, height of a line
CHART = 240  # pixels; where there is a chart, text ends to the left of it
SIZE, CHARACTER = 13, 8.0  # pixels of the font, and of the widest usual monospace character of that size
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
LINES = 24  # of one part; the rest is counted
INK = {"think": "#bc8cff", "act": "#3fb950", "run": "#58a6ff"}
TOLD = {"think": "thinks", "act": "acts", "run": "code runs"}
COLORS: Sequence[tuple[_TokenType, str]] = (
    (Comment, "#8b949e"),
    (String, "#a5d6ff"),
    (Number, "#79c0ff"),
    (Keyword, "#ff7b72"),
    (Name.Builtin, "#d2a8ff"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the run. began, ended: seconds since the run began. note: beside its name. code: text is Python."""

    kind: Literal["think", "act", "run"]
    began: float
    ended: float
    text: str
    note: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as docs/run.json keeps it. machine: what served the model. chart: a PNG that it made, in base64, or ""."""

    task: str
    file: str
    model: str
    machine: str
    seconds: float
    parts: tuple[Part, ...]
    chart: str


async def record(task: str, file: Path) -> Kept:
    """Carry the task out with the managed server and a real sandbox."""
    parts: list[Part] = []
    with TemporaryDirectory() as out:
        agent = Agent(out=out, journal=None)
        async with aclosing(agent.stream(task, files=[file])) as events:
            began = turn = spoke = 0.0
            async for event in events:
                now = time.monotonic() - began if began else 0.0
                match event:
                    case TurnStarted():
                        began = began or time.monotonic()
                        turn, spoke = now, 0.0
                    case TurnDelta(kind="text"):
                        spoke = spoke or now
                    case TurnFinished():
                        parts += _turn(event, turn, spoke or now, now)
                    case CallStarted():
                        turn = now
                    case CallFinished():
                        parts.append(Part("run", turn, now, event.content, "sandbox"))
                    case RunFinished():
                        result = event.result
        model = agent.engine.model
        await agent.aclose()
        charts = [path for path in result.files if path.read_bytes().startswith(b"\x89PNG")]
        chart = b64encode(charts[-1].read_bytes()).decode() if charts else ""
    here = this_machine()
    machine = f"{here.cores} cores, {'a GPU' if here.has_gpu else 'no GPU'}"
    return Kept(task, file.name, model, machine, parts[-1].ended, tuple(parts), chart)


def _turn(event: TurnFinished, began: float, spoke: float, ended: float) -> Iterator[Part]:
    """The thoughts of a turn, then what it said; of code alone where it wrote code."""
    reply = event.reply
    if reply.reasoning:
        yield Part("think", began, spoke, reply.reasoning.strip(), f"{reply.usage.thinking} tokens")
        began = spoke
    block = first_block(reply.content) if reply.calls else None
    code = block.code if block else reply.content
    yield Part("act", began, ended, code.strip(), f"{reply.usage.answer} tokens", block is not None)


# --- drawing -----------------------------------------------------------------------------------------


def picture(kept: Kept) -> str:
    """The run as SVG."""
    command = f'$ fastslow run "{kept.task}" --file {kept.file}'
    head = textwrap.wrap(command, int((WIDE - 2 * EDGE) / CHARACTER), subsequent_indent="    ")
    parts = [_words(EDGE, 36 + LINE * n, line, "#f0f6fc") for n, line in enumerate(head)]
    y = 36 + LINE * len(head)
    parts.append(_words(EDGE, y, f"{kept.model} · {kept.machine}", "#8b949e"))
    y += 16
    parts += _axis(kept, y)
    y += 80
    chart_at = y
    for part in kept.parts:
        chart_at = y if part.code else chart_at
        name = "answers" if part is kept.parts[-1] else TOLD[part.kind]
        drawn, y = _row(part, name, y, bool(kept.chart))
        parts += drawn
    if kept.chart:
        parts.append(
            f'<image x="{WIDE - EDGE - CHART}" y="{chart_at - 6}" width="{CHART}" height="{CHART}" '
            f'preserveAspectRatio="xMidYMin" href="data:image/png;base64,{kept.chart}"/>'
        )
    size = f'width="{WIDE}" height="{y}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {y}" {size} font-family="{FONTS}" '
        f'font-size="{SIZE}"><rect {size} rx="10" fill="#0d1117"/>{"".join(parts)}</svg>\n'
    )


def _axis(kept: Kept, y: int) -> Iterator[str]:
    """The parts side by side, each as wide as it took long, and the seconds below."""
    scale = (WIDE - 2 * EDGE) / kept.seconds
    for part in kept.parts:
        left, width = EDGE + scale * part.began, max(2.0, scale * (part.ended - part.began) - 1)
        yield f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="26" rx="3" fill="{INK[part.kind]}"/>'
        told = f"{TOLD[part.kind]}  {part.ended - part.began:.1f} s"
        if len(told) * CHARACTER < width:
            yield _words(left + 8, y + 17, told, "#0d1117", bold=True)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if kept.seconds / step <= 12)
    for second in range(0, int(kept.seconds) + 1, step):
        yield _words(EDGE + scale * second, y + 43, f"{second} s", "#8b949e")


def _row(part: Part, name: str, y: int, chart: bool) -> tuple[list[str], int]:
    """One part in words, and where the next one begins."""
    room = int((WIDE - TEXT - EDGE - (CHART + 12 if chart else 0)) / CHARACTER)
    lines = _code(part.text, room) if part.code else _prose(part.text, room)
    more = [f'<tspan fill="#8b949e">… {len(lines) - LINES} more lines</tspan>'] if len(lines) > LINES else []
    lines = [*lines[:LINES], *more]
    height = LINE * max(len(lines), 2)
    drawn = [f'<rect x="{EDGE}" y="{y - 13}" width="3" height="{height}" fill="{INK[part.kind]}"/>']
    drawn.append(_words(EDGE + 12, y, name, INK[part.kind], bold=True))
    drawn.append(_words(EDGE + 12, y + LINE, part.note, "#8b949e"))
    drawn += [_text(TEXT, y + LINE * n, line, "#c9d1d9") for n, line in enumerate(lines)]
    return drawn, y + height + 12


def _prose(text: str, room: int) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    return [escape(part) for line in lines for part in textwrap.wrap(line, room, subsequent_indent="  ")]


def _code(text: str, room: int) -> list[str]:
    """Lines of Python in colors; one that is too long ends with …"""
    lines = [line if len(line) <= room else line[: room - 1] + "…" for line in text.splitlines() if line.strip()]
    drawn = ""
    for kind, value in PythonLexer().get_tokens("\n".join(lines)):
        color = next((color for of, color in COLORS if kind in of), "")
        pieces = map(escape, value.split("\n"))  # no span goes over the end of a line
        drawn += "\n".join(f'<tspan fill="{color}">{piece}</tspan>' if color else piece for piece in pieces)
    return drawn.rstrip("\n").split("\n")


def _words(x: float, y: float, words: str, color: str, bold: bool = False) -> str:
    return _text(x, y, escape(words), color, bold)


def _text(x: float, y: float, inner: str, color: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" fill="{color}"{weight} xml:space="preserve">{inner}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", help="what to do; by default docs/run.json is drawn again")
    parser.add_argument("file", nargs="?", type=Path, help="a file for the task")
    wanted = parser.parse_args()
    if wanted.task:
        kept = asyncio.run(record(wanted.task, wanted.file))
        (DOCS / "run.json").write_text(json.dumps(asdict(kept), indent=1, ensure_ascii=False) + "\n", "utf-8")
    kept = TypeAdapter(Kept).validate_json((DOCS / "run.json").read_text("utf-8"))
    (DOCS / "run.svg").write_text(picture(kept), "utf-8")


if __name__ == "__main__":
    main()
