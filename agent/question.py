"""What a person is shown of a call before it may run: all of it, and nothing that is not in it.

A call's text is the model's, or that of whatever led the model on. It stands in quotes, or behind a bar, with all that
moves, hides or reorders text written out; so it neither looks like a line of ours nor goes out of sight.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import SecretBytes, SecretStr

from fastslow.agent.paths import MOST, SPECIAL, host_places, named_paths
from fastslow.agent.quoting import HEAD_LINES, TAIL_LINES, WIDTH, chopped, excerpt, quoted, visible
from fastslow.agent.values import DEEPEST, Part, bare, parts
from fastslow.tools import ArgumentError, Tool
from fastslow.tools.defaults import with_defaults

COMPARED = 200_000  # bytes of a file that are read to show what a call would change
COMPARED_LINES = 1000  # that differ, over which a change is shown as the new text

_RUN_AS = {"command": "a command", "cmd": "a command", "code": "code", "script": "code", "sql": "SQL"}
_MODES = {"mode", "permissions"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
BAR = " " * 6 + " | "
T = TypeVar("T")
Kind: TypeAlias = Literal["value", "code", "added", "removed", "note"]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a question. head: ours. text: the call's, made safe; of a note, ours as well. bar: the text is a line
    out of a longer one, and stands behind a bar instead of in quotes."""

    head: str
    text: str
    kind: Kind = "value"
    bar: bool = False

    def rows(self, width: int = WIDTH, chop: Callable[[str, int], list[str]] = chopped) -> list[str]:
        """The line on as many rows as it takes; those behind the first begin with a bar. chop: cuts a text into pieces
        of a width, for who counts wide letters as two."""
        whole = f"{self.head:>6} | {self.text}" if self.bar else f"{self.head} {self.text}".strip()
        first, *more = chop(whole, width) or [""]
        return [first, *(BAR + row for row in chop("".join(more), width - len(BAR)))]


def described(tool: Tool, received: Mapping[str, Any], given: Collection[str]) -> tuple[Line, ...]:
    """The rows that show a call. received: what the tool's body would be called with. given: names of the arguments
    that the model wrote; the others are defaults. Reads from the disk; raises nothing."""
    filled = with_defaults(tool.parameters, received)
    rows = list(_change(tool, filled))
    for label, names, value in _leaves(filled, "", (), 0) if filled else ():
        default = " (default)" if names and names[0] not in given else ""
        is_value = not isinstance(value, _Hidden)
        rows += _value(f"{label}{default}", names[-1], value) if is_value else [_left_out(value, "values")]
    rows += _files(tool, filled)
    return tuple(rows) or (Line("", "It is called without arguments.", "note"),)


# --- values ----------------------------------------------------------------------------------------


class _Hidden(int):
    """How many values in the middle of a long list or object are not shown."""


_Leaf: TypeAlias = tuple[str, tuple[str, ...], Any]


def _leaves(value: Any, label: str, names: tuple[str, ...], depth: int) -> list[_Leaf]:
    """The values that have no parts, each with its place in the arguments and the names on the way to it. Of a long
    list or object head and tail: whoever fills those hides nothing that stands beside them."""
    try:
        inner = parts(value) if depth < DEEPEST else None
    except ArgumentError:
        inner = None
    if not inner:
        return [(label, names, value)]
    most = HEAD_LINES + TAIL_LINES if depth and (inner[0].free or not inner[0].names) else MOST * 10
    found: list[_Leaf] = []
    for part in _cut(inner, most, lambda parts: Part(label, (), _Hidden(len(parts)))):
        name = part.label if not part.names or _NAME.fullmatch(part.label) else _key(part.label)
        there = f"{label}.{name}" if part.names and label else f"{label}{name}"
        found += _leaves(part.value, there, (*names, part.label) if part.names else names, depth + 1)
    return _cut(found, most, lambda leaves: (label, names, _Hidden(sum(map(_count, leaves)))))


def _count(leaf: _Leaf) -> int:
    return leaf[2] if isinstance(leaf[2], _Hidden) else 1


def _cut(items: list[T], most: int, hidden: Callable[[list[T]], T]) -> list[T]:
    """All items, or the first and the last ones with what stands for the others."""
    if len(items) <= most:
        return items
    head, tail = most - TAIL_LINES, len(items) - TAIL_LINES
    return [*items[:head], hidden(items[head:tail]), *items[tail:]]


def _key(name: str) -> str:
    return quoted(name) if len(name) <= 80 else f"{quoted(name[:40])}[{len(name):,} characters]{quoted(name[-40:])}"


def _value(label: str, name: str, value: Any) -> Iterator[Line]:
    """The rows of one value."""
    run = _RUN_AS.get(name.casefold())
    kind: Kind = "code" if run else "value"
    head = f"{label}, run as {run} =" if run else f"{label} ="
    if isinstance(value, SecretStr | SecretBytes):
        yield Line(head, f"a secret of {len(value.get_secret_value())} characters, which its tool hides", "note")
        return
    try:
        inner = parts(value)
    except ArgumentError:
        yield Line(head, "a stream, which nobody can look into before the tool does", "note")
        return
    if inner is not None:
        yield Line(head, "nothing in it" if not inner else "nested too deeply to be shown", "note")
        return
    told = bare(value)
    if isinstance(told, str):
        yield from _text(head, told, kind)
    elif told is None or isinstance(told, bool):
        yield Line(head, {None: "null", True: "true", False: "false"}[told], kind)
    else:
        is_mode = name.casefold() in _MODES and isinstance(told, int) and 0 <= told < 1 << 15
        mode = f", as a mode {_written_mode(int(told))}" if is_mode else ""
        yield from _text(head, f"{told}{mode}", kind, quote=False)


def _text(head: str, text: str, kind: Kind, *, quote: bool = True) -> Iterator[Line]:
    """A text in quotes, or, if it has several lines, line by line; of a long one head and tail."""
    several = "\n" in text.strip("\n") or text.count("\n") > 2
    start, hidden, end = excerpt(text)
    if several or hidden:
        size = f"{text.count(chr(10)) + 1:,} lines, " if several else ""
        yield Line(head, f"a text of {size}{len(text):,} characters:", "note")
    shown = [start] if not hidden else [start, end]
    for number, piece in enumerate(shown):
        if number:
            yield _left_out(hidden, "characters")
        if several:
            yield from _numbered(piece, kind, last=text.count("\n") + 1 if number else 0)
            continue
        told = quoted(piece) if quote else visible(piece)
        yield Line("", told, kind, bar=True) if hidden else Line(head, told, kind)


def _numbered(piece: str, kind: Kind, last: int) -> Iterator[Line]:
    """Lines with their numbers; last: the number of the last of them, 0 where the first one is 1."""
    lines = piece.split("\n")
    number, blank = (last - len(lines) if last else 0), 0
    for line, following in zip(lines, [*lines[1:], "end"], strict=True):
        number += 1
        if not line.strip() and (blank or not following.strip()):
            blank += 1
            if following.strip():
                yield Line("", f"[{blank:,} blank lines]", "note")
                blank = 0
            continue
        yield Line(f"{number}", visible(line), kind, bar=True)


def _left_out(count: int, what: str) -> Line:
    return Line("", f"[... {count:,} {what} are not shown ...]", "note")


# --- files -----------------------------------------------------------------------------------------


def _files(tool: Tool, arguments: Mapping[str, Any]) -> Iterator[Line]:
    """What stands where the call's paths lead, with mode and owner."""
    try:
        named = [one for one in named_paths(arguments) if one.sure]
    except ArgumentError:
        return
    shown = set[str]()
    for one in named[:HEAD_LINES]:
        if tool.place == "sandbox":
            yield Line("file", f"{quoted(one.text[:300])} in the sandbox", "note")
            continue
        try:
            real = os.path.realpath(os.path.expanduser(one.text))
        except (OSError, ValueError):
            real = one.text
        shown.add(real)
        yield Line("file", f"{quoted(real[-300:])}: {_found_there(one.text)}", "note")
    if len(named) > HEAD_LINES:
        yield _left_out(len(named) - HEAD_LINES, "files")
    for path in _elsewhere(tool, arguments, shown)[:HEAD_LINES]:
        yield Line("file", f"{quoted(path[-300:])}, if it is read so: {_found_there(path)}", "note")


def _elsewhere(tool: Tool, arguments: Mapping[str, Any], shown: set[str]) -> list[str]:
    """What else is on this machine where the call's paths may lead."""
    try:
        places = host_places(arguments) if tool.place == "host" else ()
    except ArgumentError:
        return []
    return sorted({os.path.realpath(path) for path in places if os.path.exists(path)} - shown)


def _change(tool: Tool, arguments: Mapping[str, Any]) -> Iterator[Line]:
    """How the call would change a file that it writes, where it is one of this machine."""
    path, content = arguments.get("path"), arguments.get("content")
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if tool.place != "host" or not isinstance(path, str) or not isinstance(content, str):
        return
    before = _read(os.path.expanduser(path))
    if before is None:
        return
    old, new = before.split("\n"), content.split("\n")
    same = _in_common(old, new)
    after = _in_common(old[same:][::-1], new[same:][::-1])
    gone, come = old[same : len(old) - after], new[same : len(new) - after]
    yield Line("change of", f"{quoted(path[-300:])}, from line {same + 1}:", "note")
    if not gone and not come:
        yield Line("", "[none: the file holds this text already]", "note")
    if max(len(gone), len(come)) > COMPARED_LINES:
        yield Line("", f"[{len(gone):,} lines go, {len(come):,} come, shown below]", "note")
        return
    rows = list(_compared(gone, come))
    yield from rows[: HEAD_LINES * 2]
    if len(rows) > HEAD_LINES * 2 + TAIL_LINES * 2:
        yield _left_out(len(rows) - HEAD_LINES * 2 - TAIL_LINES * 2, "changed lines")
    yield from rows[HEAD_LINES * 2 :][-TAIL_LINES * 2 :]


def _in_common(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _compared(gone: list[str], come: list[str]) -> Iterator[Line]:
    for tag, a, b, c, d in SequenceMatcher(None, gone, come).get_opcodes():
        kept = tag == "equal"
        for line in gone[a:b]:
            yield Line(" " if kept else "-", _short(line), "value" if kept else "removed", bar=True)
        for line in () if kept else come[c:d]:
            yield Line("+", _short(line), "added", bar=True)


def _short(line: str) -> str:
    start, hidden, end = excerpt(line[:WIDTH] if len(line) <= WIDTH else f"{line[:60]}{line[-40:]}")
    told = visible(f"{start}{end}") if not hidden else visible(start)
    return told if len(line) <= WIDTH else f"{told} [{len(line):,} characters]"


def _read(path: str) -> str | None:
    """What a file holds; None where there is no text of this disk. Never waits for what is no file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may do something
            return None
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = file.read(COMPARED)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _found_there(path: str) -> str:
    """What stands where a path leads on this machine, for people: kind, size, mode and owner."""
    try:
        there = os.stat(os.path.expanduser(path))
    except FileNotFoundError:
        return "nothing is there yet"
    except (OSError, ValueError) as error:
        return f"it cannot be looked at: {error.strerror if isinstance(error, OSError) else error}"
    kind = stat.S_IFMT(there.st_mode)
    what = SPECIAL.get(kind) or ("a folder" if kind == stat.S_IFDIR else f"a file of {there.st_size:,} bytes")
    return f"{what}, mode {_written_mode(there.st_mode)}, of {_owner(there)}"


def _written_mode(mode: int) -> str:
    """A file's permissions in both ways of writing them.

    >>> _written_mode(0o755)
    '755 (rwxr-xr-x)'
    """
    return f"{stat.S_IMODE(mode):03o} ({stat.filemode(mode)[1:]})"


def _owner(there: os.stat_result) -> str:
    try:
        user = pwd.getpwuid(there.st_uid).pw_name
    except KeyError:
        user = str(there.st_uid)
    try:
        group = grp.getgrgid(there.st_gid).gr_name
    except KeyError:
        group = str(there.st_gid)
    return f"{user}:{group}"
