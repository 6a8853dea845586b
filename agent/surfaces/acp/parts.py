"""The parts of what an editor is shown, from texts that others wrote: cleaned, of bounded length, paths absolute."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from acp.schema import (
    ContentToolCallContent,
    FileEditToolCallContent,
    TerminalToolCallContent,
    TextContentBlock,
    ToolCallLocation,
)

from fastslow.agent.quoting import without_controls
from fastslow.sandbox.paths import workspace_path
from fastslow.tools import clip

ToolKind: TypeAlias = Literal["read", "edit", "search", "execute", "think", "other"]
Content: TypeAlias = ContentToolCallContent | FileEditToolCallContent | TerminalToolCallContent  # the last one never
Before: TypeAlias = Callable[[str], str | None]
"""What a file of the project held when the run began; None for one that was not there, or is no text."""

TITLE = 120  # characters
OUTPUT = 20_000  # of what a call printed
MESSAGE = 1_000_000  # of one piece of a message
DIFF = 500_000  # of each side of a diff
RAW = 8_000  # of one text in the arguments of a call
ITEMS, DEEPEST = 100, 8  # of a list or an object in them
EDITS = 50  # diffs of one call
KINDS: Mapping[str, ToolKind] = {
    "read_file": "read",
    "list_files": "read",
    "search": "search",
    "edit_file": "edit",
    "write_file": "edit",
    "python": "execute",
    "shell": "execute",
    "skill": "think",
}
_HEADS = {
    "read_file": "Read",
    "list_files": "List",
    "search": "Search",
    "edit_file": "Edit",
    "write_file": "Write",
    "python": "Python:",
    "shell": "Run",
    "skill": "Skill",
}
_TOLD = ("pattern", "path", "command", "code", "name")  # the argument that says most of a call
_FENCE = re.compile("`{3,}")


def text_block(text: str) -> TextContentBlock:
    return TextContentBlock(type="text", text=clip(without_controls(text), MESSAGE))


def one_line(text: str, most: int = TITLE) -> str:
    line = " ".join(without_controls(text[: 10 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def fenced(text: str) -> str:
    """A text as a block of Markdown that nothing in it ends: no link or picture in it counts.

    >>> fenced("a")
    '```\\na\\n```'
    """
    longest = max([len(found) for found in _FENCE.findall(text)], default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"


def printed(text: str) -> list[Content]:
    """What a call or a check printed; nothing where that is nothing."""
    told = clip(without_controls(text).strip("\n"), OUTPUT)
    return [content(fenced(told))] if told.strip() else []


def content(text: str) -> ContentToolCallContent:
    return ContentToolCallContent(type="content", content=text_block(text))


def title(name: str, arguments: Mapping[str, Any]) -> str:
    """A call in one line, such as `Read src/app.py`."""
    told = next((value for key in _TOLD if isinstance(value := arguments.get(key), str) and value.strip()), "")
    head = _HEADS.get(name, name)
    return one_line(f"{head} {told.strip().splitlines()[0] if told else ''}")


def place(root: str, path: Any) -> str | None:
    """Where a file of the workspace is in the user's folder; None for what is no file of it."""
    try:
        return f"{root}/{workspace_path(path)}" if isinstance(path, str) else None
    except ValueError:
        return None


def locations(root: str, arguments: Mapping[str, Any], before: Before) -> list[ToolCallLocation]:
    """The file that a call is about, and the line, from 1, where that is known."""
    path = place(root, arguments.get("path"))
    if path is None:
        return []
    line = arguments.get("start_line")
    if not isinstance(line, int) or line < 1:
        old = next((old for old, _ in _edits(arguments) if old), None)
        line = _line_of(old, before(path.removeprefix(f"{root}/"))) if old else None
    return [ToolCallLocation(path=path, line=line)]


def _line_of(part: str, text: str | None) -> int | None:
    at = text.find(part) if text else -1
    return text.count("\n", 0, at) + 1 if text and at >= 0 else None


def diffs(name: str, root: str, arguments: Mapping[str, Any], before: Before) -> list[Content]:
    """What a call would change, where it is one that edits."""
    path = place(root, arguments.get("path"))
    if path is None or KINDS.get(name) != "edit":
        return []
    if isinstance(whole := arguments.get("content"), str):
        return [diff(path, before(path.removeprefix(f"{root}/")), whole)]
    return [diff(path, old, new) for old, new in list(_edits(arguments))[:EDITS]]


def _edits(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    edits = arguments.get("edits")
    for edit in edits if isinstance(edits, list) else ():
        if isinstance(edit, Mapping):
            old, new = edit.get("old_text"), edit.get("new_text")
            if isinstance(old, str) and isinstance(new, str):
                yield old, new


def diff(path: str, old: str | None, new: str) -> FileEditToolCallContent:
    """old: None for a new file."""
    return FileEditToolCallContent(
        type="diff",
        path=path,
        old_text=None if old is None else clip(without_controls(old), DIFF),
        new_text=clip(without_controls(new), DIFF),
    )


def raw(value: Any, depth: int = 0) -> Any:
    """Arguments as JSON holds them."""
    match value:
        case str():
            return clip(without_controls(value), RAW)
        case float() if not math.isfinite(value):
            return str(value)
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < DEEPEST:
            return {one_line(str(key)): raw(inner, depth + 1) for key, inner in list(value.items())[:ITEMS]}
        case list() | tuple() if depth < DEEPEST:
            return [raw(inner, depth + 1) for inner in value[:ITEMS]]
        case _:
            return clip(without_controls(str(value)), RAW)
