"""The tools `read_file`, `write_file` and `list_files`: the session's workspace."""

from __future__ import annotations

from difflib import get_close_matches

from fastslow.sandbox.sandbox import FileInfo, Session
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller

LISTED = 200  # files named in one list
BLOCK = 1 << 16
LINES = 200  # lines read when no number is given


@tool(effect="read", place="sandbox")
async def read_file(path: str, start_line: int = 1, lines: int = LINES) -> str:
    """Read a text file.

    Args:
        path: The file's path in the working folder.
        start_line: The first line to read, counted from 1.
        lines: How many lines to read.
    """
    data = await _get(await caller.get().open_session(), path)
    return _excerpt(path, data, max(start_line, 1), max(lines, 1))


@tool(effect="sandbox", place="sandbox")
async def write_file(path: str, content: str) -> Outcome:
    """Write a text file, replacing what it held.

    Args:
        path: The file's path in the working folder.
        content: The whole new content.
    """
    session = await caller.get().open_session()
    try:
        info = await session.put(path, content.encode("utf-8", "replace"))
    except (ValueError, OSError) as error:
        raise ToolError(f"{path} was not written: {error}") from error
    return Outcome(f"Wrote {info.path} ({info.size} bytes).", written=(info.path,))


@tool(effect="read", place="sandbox")
async def list_files() -> str:
    """List the files in the working folder with their sizes."""
    return _listed(await (await caller.get().open_session()).files())


async def _get(session: Session, path: str) -> bytes:
    try:
        return await session.get(path)
    except FileNotFoundError as error:
        names = [info.path for info in await session.files()]
        near = get_close_matches(path, names, n=3, cutoff=0.4) or names[:10]
        raise ToolError(f"There is no file {path!r}. There is: {', '.join(near) or 'no file at all'}.") from error
    except (ValueError, OSError) as error:
        raise ToolError(f"{path} cannot be read: {error}") from error


def _excerpt(path: str, data: bytes, start: int, count: int) -> str:
    """Some lines of a text, and what was left out; ToolError for what is no text."""
    if b"\0" in data[:8192]:
        raise ToolError(f"{path} is no text ({len(data)} bytes). Open it with Python and a library that knows it.")
    data = data.replace(b"\r\n", b"\n")
    if not data:
        return f"({path} is empty)"
    total = data.count(b"\n") + (not data.endswith(b"\n"))
    if start > total:
        raise ToolError(f"{path} has {total} lines, so there is no line {start}.")
    last = min(start - 1 + count, total)
    part = data[_offset(data, start - 1) : _offset(data, last)]
    shown = part.decode("utf-8", "replace").removesuffix("\n")
    return shown if last - start + 1 == total else f"{shown}\n(lines {start} to {last} of {total})"


def _offset(data: bytes, lines: int) -> int:
    """Where the line after so many begins. No list of all lines is made: a file may have 64 million."""
    position = 0
    while position < len(data) and (found := data.count(b"\n", position, position + BLOCK)) < lines:
        lines -= found
        position += BLOCK
    for _ in range(lines):
        position = data.find(b"\n", position) + 1
        if not position:  # the last one has no end
            return len(data)
    return position


def _listed(files: tuple[FileInfo, ...]) -> str:
    lines = [f"{info.path} ({info.size} bytes)" for info in files[:LISTED]]
    if len(files) > LISTED:
        lines.append(f"(and {len(files) - LISTED} more)")
    return "\n".join(lines) or "(no files)"
