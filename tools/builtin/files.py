"""The tools `read_file` and `write_file`, and what all tools share that look at a file of the session's workspace."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256

from fastslow.sandbox.paths import workspace_path
from fastslow.sandbox.sandbox import Session
from fastslow.tools.builtin.complete import completed
from fastslow.tools.builtin.spellings import with_path
from fastslow.tools.builtin.syntax import new_error
from fastslow.tools.builtin.text import BOM, CHARACTERS, Text, cut, numbered
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.seen import Reading
from fastslow.tools.tool import caller

BLOCK = 1 << 16
LINES = 200  # lines read when no number is given
FAILURES = 2  # edits of a file that failed, after which it may be written whole without a look
ROOM = CHARACTERS + 2000  # characters of a result: lines and notes


@tool(effect="read", place="sandbox")
async def read_file(path: str, start_line: int = 1, lines: int = LINES) -> Outcome:
    """Read a text file. Each line comes with its number and a tab, which are not part of the file.

    Args:
        path: The file's path in the working folder.
        start_line: The first line to read, counted from 1.
        lines: How many lines to read.
    """
    name = name_of(path)
    data = await content(await caller.get().open_session(), name)
    text, first, last = _excerpt(name, data, max(start_line, 1), max(lines, 1))
    reading = caller.get().seen.read(name, digest_of(data), first, last)
    return Outcome(text + _again(reading), data=text, limit=ROOM)


@tool(effect="sandbox", place="sandbox")
async def write_file(path: str, content: str) -> Outcome:
    """Write a whole text file: a new one, or one that you have read. To change a part of one, use edit_file.

    Args:
        path: The file's path in the working folder.
        content: The whole new content.
    """
    async with caller.get().seen.changing:
        return await _written(path, content, guarded=True)


async def _write_whole(path: str, content: str) -> Outcome:
    return await _written(path, content, guarded=False)


read_file = replace(read_file, rewrite=with_path)
write_file = replace(write_file, rewrite=with_path)
write_whole = replace(
    write_file,
    handler=_write_whole,
    description="Write a whole text file, replacing what it held. What a .py file defines and you leave out stays.",
)


async def _written(path: str, given: str, *, guarded: bool) -> Outcome:
    session, name = await caller.get().open_session(), name_of(path, "was not written")
    try:
        before: bytes | None = await session.get(name)
    except FileNotFoundError:
        before = None
    except (ValueError, OSError) as error:
        raise ToolError(f"{path} was not written: {error}") from error
    seen = caller.get().seen
    if guarded and before and not seen.knows(name, digest_of(before)) and seen.failed.get(name, 0) < FAILURES:
        raise ToolError(
            f"{name} was not written: it exists, and was not read since it last changed. To change a part of it, use "
            "edit_file. To replace all of it, read it with read_file first, then write it."
        )
    old, told = _text(before) if before else None, ""
    if old and not guarded and name.endswith(".py"):
        given, left_out = completed(old.text, given)
        told = f", as you left them out these are as before: {', '.join(left_out)}" if left_out else ""
    data = given.encode("utf-8", "replace")
    if old and "\r" not in given and old.crlf:
        data, told = data.replace(b"\n", b"\r\n"), f"{told}, its lines end with CRLF as before"
    size, wrong = await put(session, name, before, data)
    return Outcome(f"Wrote {name} ({size} bytes{told}).{wrong}", written=(name,))


async def put(session: Session, name: str, before: bytes | None, data: bytes) -> tuple[int, str]:
    """Write a file, and remember that it was. Its size, and what is to be told of a new syntax error in it."""
    try:
        info = await session.put(name, data)
    except (ValueError, OSError) as error:
        raise ToolError(f"{name} was not written: {error}") from error
    caller.get().seen.wrote(name, digest_of(data))
    return info.size, await new_error(session, name, before, data)


def name_of(path: str, failure: str = "cannot be read") -> str:
    """The path's one spelling in the workspace. ToolError for one that leads out of it."""
    try:
        return workspace_path(path)
    except ValueError as error:
        raise ToolError(f"{path} {failure}: {error}") from error


async def content(session: Session, name: str) -> bytes:
    """A file's bytes. ToolError, with the names that are like it, where there is none."""
    try:
        return await session.get(name)
    except FileNotFoundError as error:
        names = [info.path for info in await session.files()]
        near = get_close_matches(name, names, n=3, cutoff=0.4) or names[:10]
        raise ToolError(f"There is no file {name!r}. There is: {', '.join(near) or 'no file at all'}.") from error
    except (ValueError, OSError) as error:
        raise ToolError(f"{name} cannot be read: {error}") from error


def digest_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def no_text(name: str, data: bytes) -> ToolError:
    return ToolError(f"{name} is no text ({len(data)} bytes). Open it with Python and a library that knows it.")


def _text(data: bytes) -> Text | None:
    try:
        return Text.of(data)
    except ValueError:
        return None


def _again(reading: Reading) -> str:
    if reading.times == 1:
        return ""
    return f"\n(You have read these lines {reading.times} times now, and the file has not changed.)"


def _excerpt(path: str, data: bytes, start: int, count: int) -> tuple[str, int, int]:
    """Some lines of a text, with what was left out, and their first and last number; ToolError for what is no text."""
    if b"\0" in data[:8192]:
        raise no_text(path, data)
    if not data:
        return f"({path} is empty)", 1, 0
    total = data.count(b"\n") + (not data.endswith(b"\n"))
    if start > total:
        raise ToolError(f"{path} has {total} lines, so there is no line {start}.")
    encoding = "utf-8" if _is_utf8(data) else "latin-1"
    lines = _lines(data, _offset(data, start - 1), min(count, total - start + 1), encoding, len(f"{total}\t\n"))
    last = start - 1 + len(lines)
    notes = [] if len(lines) == total else [f"lines {start} to {last} of {total}"]
    notes += [f"read on with start_line={last + 1}"] if last < total else []
    notes += ["not UTF-8, shown as Latin-1"] if encoding == "latin-1" else []
    text = numbered(lines, start)
    return (f"{text}\n({'; '.join(notes)})" if notes else text), start, last


def _lines(data: bytes, begin: int, count: int, encoding: str, more: int) -> list[str]:
    """So many lines, or as many as are shown at once with so many characters more for each."""
    lines: list[str] = []
    room = CHARACTERS
    while len(lines) < count:
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        line = cut(data[begin:end].decode(encoding).removeprefix("" if begin else BOM))
        room -= len(line) + more
        if room < 0 and lines:
            break
        lines.append(line)
        begin = end + 1
    return lines


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


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
