"""The tools `read_file`, `write_file` and `list_files`: the session's workspace."""

from __future__ import annotations

from difflib import get_close_matches

from fastslow.sandbox.sandbox import FileInfo, Session
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller

LISTED = 200  # files named in one list
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
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    found = text.removesuffix("\n").split("\n") if text else []
    if not found:
        return f"({path} is empty)"
    if start > len(found):
        raise ToolError(f"{path} has {len(found)} lines, so there is no line {start}.")
    last = min(start - 1 + count, len(found))
    shown = "\n".join(found[start - 1 : last])
    return shown if last - start + 1 == len(found) else f"{shown}\n(lines {start} to {last} of {len(found)})"


def _listed(files: tuple[FileInfo, ...]) -> str:
    lines = [f"{info.path} ({info.size} bytes)" for info in files[:LISTED]]
    if len(files) > LISTED:
        lines.append(f"(and {len(files) - LISTED} more)")
    return "\n".join(lines) or "(no files)"
