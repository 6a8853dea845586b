"""The parts of a run as rich text: what stays in the scrollback, and the table at the end.

Everything that a model, a tool or a file wrote passes through `clean` and becomes a `Text`, never markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fastslow.agent.changes import ChangeSet
from fastslow.agent.engine.fenced import FILE_TOOL, first_file
from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.events import CallDisplay, CheckFinished, Compacted, Consent, ModeUsage, NetworkUsed, TurnFinished
from fastslow.agent.modes import Mode
from fastslow.agent.outbox import some
from fastslow.agent.surfaces.cli.text import clean, one_line, seconds, size
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import Egress
from fastslow.tools.fenced import first_block

FOLDED_THOUGHTS = 3  # lines of thinking that stay when it is folded
FOLDED_OUTPUT = 20  # lines of a tool's output, and of what an edit takes away or brings
SHOWN_EDITS = 10
LISTED_CHANGES = 40
NARROW = 52  # columns below which the table leaves one out
LONGEST_ARGUMENTS = 300  # characters, also of a tool's name
_LEXERS = {"code": "python", "command": "bash", "content": "python"}


def mode_badge(mode: Mode) -> Text:
    """`fast`, or `think 512` with its budget."""
    return Text(f" think {mode.budget} ", "reverse magenta") if mode.thinks else Text(" fast ", "reverse green")


def branch_label(branch: str) -> str:
    """Where in the plan a turn or a call belongs; empty for the trunk."""
    return f"step {one_line(branch)}" if branch else ""


def join_dots(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def last_lines(text: str, lines: int) -> tuple[int, str]:
    """The last lines of a text, and before them how many were left out."""
    every = text.splitlines()
    return max(0, len(every) - lines), "\n".join(every[-lines:])


def turn_heading(event: TurnFinished) -> Text:
    """One line: turn, step, mode, tokens, seconds."""
    usage = event.reply.usage
    tokens = join_dots(
        f"{usage.thinking} thinking" if usage.thinking else "",
        f"{usage.answer} answer",
        f"{usage.prompt} prompt" + (f" ({usage.cached} cached)" if usage.cached else ""),
        seconds(usage.seconds),
        "cut off" if event.reply.finish == "length" else "",
    )
    where = join_dots(f"turn {event.turn}", branch_label(event.branch))
    return Text.assemble((f"● {where} ", "bold"), mode_badge(event.mode), (f"  {tokens}", "dim"))


def visible_text(reply: Reply) -> str:
    """A turn's visible text without the block that became a call: that one is shown with its output."""
    fenced = next((call.name for call in reply.calls if call.form == "fenced"), "")
    block = first_file(reply.content) if fenced == FILE_TOOL else first_block(reply.content) if fenced else None
    return clean(reply.content[: block.start] if block else reply.content).strip()


def code_of(arguments: Mapping[str, Any]) -> Text | None:
    """Code or a shell command of a call, or what it writes, highlighted; None when the call has none."""
    from rich.syntax import Syntax

    if isinstance(edits := arguments.get("edits"), list):
        return Text("\n").join([line for edit in edits[:SHOWN_EDITS] for line in _edit_lines(edit)])
    for name, lexer in _LEXERS.items():
        if isinstance(code := arguments.get(name), str):
            highlighted = Syntax("", lexer, theme="ansi_dark").highlight(clean(code).strip("\n"))
            highlighted.rstrip()
            return highlighted
    return None


def _edit_lines(edit: Any) -> Iterator[Text]:
    if isinstance(edit, dict):
        for name, sign, style in (("old_text", "-", "red"), ("new_text", "+", "green")):
            for line in clean(str(edit.get(name, ""))).splitlines()[:FOLDED_OUTPUT]:
                yield Text(f"{sign} {line}", style)


def call_heading(call: ToolCall, arguments: Mapping[str, Any]) -> Text:
    """The tool's name with its arguments; code is shown below and not here."""
    shown = {name: value for name, value in arguments.items() if name not in (*_LEXERS, "edits")}
    text = Text(_cut(one_line(call.name)), "bold cyan")
    if shown:
        text.append(f" {_cut(one_line(json.dumps(shown, ensure_ascii=False, default=str)))}", "cyan")
    return text


def _cut(text: str) -> str:
    return text[:LONGEST_ARGUMENTS] + ("…" if len(text) > LONGEST_ARGUMENTS else "")


def event_line(event: CallDisplay | Compacted | Consent | NetworkUsed) -> Text:
    """One line for an event that needs no more."""
    match event:
        case CallDisplay():
            return picture_line(event.data)
        case Compacted():
            return compacted_line(event)
        case Consent():
            return consent_line(event)
        case NetworkUsed():
            return connection_line(event.egress)


def compacted_line(event: Compacted) -> Text:
    """One line: how much shorter a history became."""
    sizes = f"{event.before:,} to {event.after:,} tokens"
    return Text(f"⇣ {join_dots(f'history shortened from {sizes}', branch_label(event.branch))}", "dim")


def consent_line(event: Consent) -> Text:
    """One line: who allowed or denied a call, and why it was in question."""
    who = "you" if event.by == "person" else "a rule"
    decided = {"allow": "allowed", "deny": "denied", "stop": "stopped"}[event.decide]
    why = join_dots(one_line(event.reason), one_line(event.note))
    return Text(f"⚖ {decided} by {who}: {why}", "dim" if event.decide == "allow" else "yellow")


def connection_line(egress: Egress) -> Text:
    """One line: where code connected, or wanted to."""
    where = f"⇄ {one_line(egress.host)}:{egress.port}"
    if egress.reason:
        return Text(f"{where}  {'failed' if egress.allowed else 'refused'}: {one_line(egress.reason)}", "yellow")
    return Text(f"{where}  {size(egress.sent)} out, {size(egress.received)} in, {seconds(egress.seconds)}", "dim")


def picture_line(data: Mapping[str, str | bytes]) -> Text:
    """One line for a display with a picture, which a terminal cannot draw; else nothing: its text is in the output."""
    kinds = [f"{one_line(kind)} ({size(len(content))})" for kind, content in data.items() if kind.startswith("image/")]
    return Text(f"▣ {join_dots(*kinds)}" if kinds else "", "dim")


def file_lines(files: Sequence[Path]) -> Text:
    """One line a file, with its size, or that it is gone: somebody removed it, or the run was on another machine."""
    return Text("\n").join([Text(one_line(str(file))).append_text(_size_of(file)) for file in files])


def check_line(check: CheckFinished, title: Text) -> Text:
    """One line: what the command that proves the work found."""
    mark, style = {"green": ("✓ ", "green"), "red": ("✗ ", "red"), "flaky": ("~ ", "yellow")}[check.verdict]
    told = {"green": "green", "red": f"red, exit code {check.exit_code}", "flaky": "green, and red the second time"}
    files = f"also with {one_line(some(check.restored))} as given" if check.restored else ""
    about = join_dots(told[check.verdict], files, seconds(check.seconds))
    return Text.assemble((mark, style), title, (f"  {about}", style))


def change_lines(changes: ChangeSet, width: int) -> Text:
    """One line a file, as `git diff --stat` has them."""
    if not changes:
        return Text("none", "dim")
    lines = []
    for row in changes.stat().files[:LISTED_CHANGES]:
        counts = (
            Text("binary") if row.binary else Text.assemble((f"+{row.added}", "green"), " ", (f"-{row.removed}", "red"))
        )
        line = Text(f"{row.kind:<9}{one_line(row.path)}  ")
        line.truncate(max(20, width - 16), overflow="ellipsis")
        lines.append(line + counts)
    if len(changes) > LISTED_CHANGES:
        lines.append(Text(f"and {len(changes) - LISTED_CHANGES:,} more", "dim"))
    return Text("\n").join(lines)


def _size_of(file: Path) -> Text:
    try:
        return Text(f"  {size(file.stat().st_size)}")
    except (OSError, ValueError):  # the latter for a name that no file can have
        return Text("  not there any more", "dim")


def usage_table(turns: Sequence[TurnFinished], usage: Mapping[str, ModeUsage], width: int) -> Table:
    """Turn by turn, then a row for each mode: thinking, answer, cached and all prompt tokens, seconds."""
    wide = width >= NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0), header_style="bold")
    table.add_column("turn", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    for heading in ("think", "answer", "cached", *(("prompt",) if wide else ()), "secs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for event in turns:
        turn = f"{event.turn}" + (f" (step {one_line(event.branch)})" if event.branch and wide else "")
        table.add_row(turn, event.mode.name, *_cells(event.reply.usage, wide), style="dim")
    for name, row in usage.items():
        table.add_row(f"all {row.turns}", one_line(name), *_cells(row.usage, wide), style="bold")
    return table


def _cells(usage: Usage, wide: bool) -> list[str]:
    counts = [usage.thinking, usage.answer, usage.cached, *([usage.prompt] if wide else [])]
    return [*(f"{count:,}" if wide else str(count) for count in counts), f"{usage.seconds:.1f}"]
