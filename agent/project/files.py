"""Files that others wrote, read with care: no link is followed, only regular files are opened, and no more is read of
them than their limits say."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from fastslow.agent.paths import SPECIAL
from fastslow.agent.quoting import visible
from fastslow.sandbox.paths import is_canonical
from fastslow.tools.lenient import without_surrogates

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
LARGEST = 1 << 20  # bytes of a text
MOST, TREE, DEEPEST = 500, 8 << 20, 8  # files, bytes, and folders within each other, of a whole folder
ENTRIES = 10_000  # of one folder, or of all below one
LEFT = {"__pycache__", "node_modules"}  # beside what is hidden: nobody wrote what is in them

# Shown as nothing, or moves what is shown, to a person who reads what a model will: controls but tab and newline, marks
# that reorder or join (CVE-2021-42574), tags and selectors that spell texts (U+E0000 and up). Joiners and selectors
# that languages and emoji need stay.
_HIDDEN = (
    *(range(0x09), range(0x0B, 0x20), range(0x7F, 0xA0), [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5]),
    *(range(0x180B, 0x1810), [0x200B, 0x200E, 0x200F], range(0x2028, 0x202F), range(0x2060, 0x2070), [0x3164]),
    *(range(0xFE00, 0xFE0E), [0xFEFF, 0xFFA0], range(0xFFF0, 0xFFFC), range(0x1D173, 0x1D17B)),
    range(0xE0000, 0xE1000),
)


class Refused(Exception):
    """Something that is not read. Says why, as what follows `it`."""


@contextmanager
def opened(base: Path, *below: str) -> Iterator[int]:
    """A folder below one, open. Raises FileNotFoundError or NotADirectoryError where there is none; Refused for a link
    below the base, and for what cannot be opened."""
    try:
        here = os.open(base, FOLDER)
    except OSError as error:
        raise _refused(error) from error
    try:
        for name in below:
            inner = _enter(here, name)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _enter(folder: int, name: str) -> int:
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Refused("is a link, and none is followed")
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> Exception:
    is_none = isinstance(error, FileNotFoundError | NotADirectoryError)
    return error if is_none else Refused(f"cannot be read: {error.strerror}")


def read(folder: int, name: str, largest: int = LARGEST) -> bytes | None:
    """The content of a file in an open folder, None where there is nothing of that name. Refused for what is no
    regular file, is too large, or cannot be read."""
    try:
        _check(os.stat(name, dir_fd=folder, follow_symlinks=False), largest)
        with open(name, "rb", opener=lambda path, _: os.open(path, FILE, dir_fd=folder)) as file:
            _check(os.fstat(file.fileno()), largest)  # it may be another one by now
            content = file.read(largest + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    if len(content) > largest:  # it grew, or is of those that say 0 bytes
        raise Refused(f"is larger than {largest:,} bytes")
    return content


def _check(facts: os.stat_result, largest: int) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise Refused("is a link, and none is followed")
    if not stat.S_ISREG(facts.st_mode):
        raise Refused(f"is {SPECIAL.get(stat.S_IFMT(facts.st_mode), 'a folder')}, and no file")
    if facts.st_size > largest:
        raise Refused(f"has {facts.st_size:,} bytes; {largest:,} is the limit")


def names(folder: int) -> list[str]:
    """What an open folder holds, sorted. Refused for one that holds too much, or cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in islice(entries, ENTRIES + 1)]
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    if len(found) > ENTRIES:
        raise Refused(f"holds more than {ENTRIES:,} files")
    return sorted(found)


def read_tree(folder: int) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The contents of an open folder by path, and the paths of what is left out: links, what is no file, and names
    that no workspace takes. What is hidden is passed over. Refused, so nothing of it, where it is too much: which part
    of it came in would be chance.
    """
    tree: dict[str, bytes] = {}
    out: list[str] = []
    try:
        _read_tree(folder, "", tree, out, [0])
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    return tree, tuple(out)


def _read_tree(folder: int, below: str, tree: dict[str, bytes], out: list[str], seen: list[int]) -> None:
    for name in names(folder):
        seen[0] += 1
        if seen[0] > ENTRIES:
            raise Refused(f"holds more than {ENTRIES:,} files")
        path = f"{below}{name}"
        if name.startswith(".") or name in LEFT:
            continue
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not is_canonical(path) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            out.append(path)
        elif stat.S_ISDIR(mode):
            if path.count("/") >= DEEPEST:
                raise Refused(f"has folders more than {DEEPEST} deep")
            inner = _enter(folder, name)
            try:
                _read_tree(inner, f"{path}/", tree, out, seen)
            finally:
                os.close(inner)
        else:
            if len(tree) == MOST:
                raise Refused(f"has more than {MOST} files")
            tree[path] = read(folder, name, TREE) or b""
            if sum(map(len, tree.values())) > TREE:
                raise Refused(f"has more than {TREE >> 20} MiB")


def text_of(raw: bytes) -> str:
    """The text of a file, `clean`, with a mark in the place of what is no UTF-8."""
    return clean(raw.decode("utf-8-sig", "replace"))


def clean(text: str) -> str:
    """The text with `\\n` at line ends, and all that hides written out: a person sees what a model will."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_written_out())


@cache
def _written_out() -> dict[int, str]:
    return {code: visible(chr(code)) for codes in _HIDDEN for code in codes}


def one_line(text: str) -> str:
    """The text, clean, on one line, with a mark for each half of a surrogate pair: YAML's escapes can make some."""
    return " ".join(clean(without_surrogates(text)).split())


def digest_of(told: Any) -> str:
    """One digest of texts in lists, none of which can be taken for parts of another."""
    return sha256(json.dumps(told).encode()).hexdigest()
