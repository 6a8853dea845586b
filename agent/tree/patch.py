"""A change set as a patch that `git apply` takes, and its size file by file.

The format: https://git-scm.com/docs/diff-format#generate_patch_text_with_p
"""

from __future__ import annotations

import os
import zlib
from base64 import b85encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha1

from fastslow.agent.tree.changes import LINK, Change, Kind, Version, renames
from fastslow.agent.tree.lines import Block, matching, split_lines

CONTEXT = 3  # lines around a change
LINE = 52  # bytes in a line of a binary patch
NOTHING = "0" * 40
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


@dataclass(frozen=True, slots=True)
class FileStat:
    """added, removed: lines; 0 of a binary file. old: the path that it had, "" for one that was not renamed.
    A renamed one counts as added."""

    path: str
    kind: Kind
    added: int
    removed: int
    binary: bool = False
    old: str = ""


@dataclass(frozen=True, slots=True)
class Stat:
    """How large a change set is."""

    files: tuple[FileStat, ...]

    @property
    def added(self) -> int:
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        return sum(file.removed for file in self.files)


def patch(changes: Sequence[Change], content: Callable[[str], bytes]) -> bytes:
    """What `git apply --binary` makes of the state before the state after. content: by digest."""
    return b"".join(
        part
        for change, old in _pairs(changes)
        for one in _of_one_type(change)
        for part in _file(one, old or change.path, content)
    )


def stat(changes: Sequence[Change], content: Callable[[str], bytes]) -> Stat:
    """Lines added and removed in each file; a renamed one stands there once."""
    files = []
    for change, old in _pairs(changes):
        before, after = (content(version.digest) if version else b"" for version in (change.before, change.after))
        kind: Kind = "added" if old else change.kind
        if _is_binary(before) or _is_binary(after):
            files.append(FileStat(change.path, kind, 0, 0, binary=True, old=old))
        else:
            a, b = split_lines(before), split_lines(after)
            same = sum(count for _, _, count in matching(a, b))
            files.append(FileStat(change.path, kind, len(b) - same, len(a) - same, old=old))
    return Stat(tuple(files))


def _pairs(changes: Sequence[Change]) -> Iterator[tuple[Change, str]]:
    """Each change, those that make up a rename as one, with the old path or ""."""
    by_path = {change.path: change for change in changes}
    renamed = renames(changes)
    gone = set(renamed.values())
    for change in changes:
        if old := renamed.get(change.path):
            yield replace(change, before=by_path[old].before), old
        elif change.path not in gone:
            yield change, ""


def _of_one_type(change: Change) -> tuple[Change, ...]:
    """A link in the place of a file, or the other way, is a deletion and a new file."""
    before, after = change.before, change.after
    if before and after and (before.mode == LINK) != (after.mode == LINK):
        return Change(change.path, before, None), Change(change.path, None, after)
    return (change,)


def _file(change: Change, old_path: str, content: Callable[[str], bytes]) -> Iterator[bytes]:
    old, new = _quoted("a/", old_path), _quoted("b/", change.path)
    before, after = (content(version.digest) if version else b"" for version in (change.before, change.after))
    yield b"diff --git %s %s\n" % (old, new)
    yield from _header(change, old_path, before, after)
    if before == after:
        return
    if _is_binary(before) or _is_binary(after):
        yield b"GIT binary patch\n" + _literal(after) + _literal(before)
        return
    yield b"--- %s\n" % (old + _tab(old) if change.before else b"/dev/null")
    yield b"+++ %s\n" % (new + _tab(new) if change.after else b"/dev/null")
    yield from _hunks(split_lines(before), split_lines(after))


def _header(change: Change, old_path: str, before: bytes, after: bytes) -> Iterator[bytes]:
    old, new = change.before, change.after
    lines = []
    if not old and new:
        lines.append(f"new file mode {new.mode}")
    elif old and not new:
        lines.append(f"deleted file mode {old.mode}")
    elif old and new and old.mode != new.mode:
        lines += [f"old mode {old.mode}", f"new mode {new.mode}"]
    yield "".join(f"{line}\n" for line in lines).encode()
    if old_path != change.path:
        yield b"similarity index 100%%\nrename from %s\nrename to %s\n" % (
            _quoted("", old_path),
            _quoted("", change.path),
        )
    if before != after or not (old and new):
        mode = f" {new.mode}" if old and new and old.mode == new.mode else ""
        yield f"index {_blob(old, before)}..{_blob(new, after)}{mode}\n".encode()


def _hunks(a: list[bytes], b: list[bytes]) -> Iterator[bytes]:
    for group in _groups(_changed(matching(a, b), len(a), len(b))):
        a0, b0 = max(group[0][0] - CONTEXT, 0), max(group[0][2] - CONTEXT, 0)
        a1, b1 = min(group[-1][1] + CONTEXT, len(a)), min(group[-1][3] + CONTEXT, len(b))
        yield b"@@ -%s +%s @@\n" % (_range(a0, a1), _range(b0, b1))
        at = a0
        for start_a, end_a, start_b, end_b in group:
            yield from (_line(b" ", line) for line in a[at:start_a])
            yield from (_line(b"-", line) for line in a[start_a:end_a])
            yield from (_line(b"+", line) for line in b[start_b:end_b])
            at = end_a
        yield from (_line(b" ", line) for line in a[at:a1])


def _changed(blocks: list[Block], length: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Parts that differ, between those that are the same."""
    i = j = 0
    for at, there, count in [*blocks, (length, width, 0)]:
        if i < at or j < there:
            yield i, at, j, there
        i, j = at + count, there + count


def _groups(changed: Iterator[tuple[int, int, int, int]]) -> Iterator[list[tuple[int, int, int, int]]]:
    """Those whose lines around them would touch, together."""
    group: list[tuple[int, int, int, int]] = []
    for part in changed:
        if group and part[0] - group[-1][1] > 2 * CONTEXT:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _line(sign: bytes, line: bytes) -> bytes:
    return sign + line if line.endswith(b"\n") else sign + line + b"\n\\ No newline at end of file\n"


def _range(start: int, end: int) -> bytes:
    return b"%d,%d" % (start + 1 if end > start else start, end - start)


def _literal(content: bytes) -> bytes:
    """Packed, in lines that each begin with their length, as a letter (`git apply` has no other description)."""
    packed = zlib.compress(content)
    lines = [b"literal %d" % len(content)]
    for at in range(0, len(packed), LINE):
        part = packed[at : at + LINE]
        size = len(part)
        lines.append(bytes([size + 64 if size <= 26 else size + 70]) + b85encode(part, pad=True))
    return b"\n".join(lines) + b"\n\n"


def _blob(version: Version | None, content: bytes) -> str:
    """Git's name of a content."""
    if version is None:
        return NOTHING
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _is_binary(content: bytes) -> bool:
    return b"\0" in content


def _tab(name: bytes) -> bytes:
    """Tells the end of a name with blanks in it, as Git does."""
    return b"\t" if b" " in name and not name.startswith(b'"') else b""


def _quoted(prefix: str, path: str) -> bytes:
    """A path as Git writes it: in quotes, with escapes, where it has anything but printable ASCII."""
    name = os.fsencode(path)
    if all(32 <= byte < 127 and byte not in (34, 92) for byte in name):
        return prefix.encode() + name
    text = "".join(
        f"\\{_ESCAPES[byte]}" if byte in _ESCAPES else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in name
    )
    return f'"{prefix}{text}"'.encode()
