"""The files of runs in the journal: what became of each with which event, and each content once, in parts.

A row of the table `files` says what became of a file with the event of that number, 0 for those that the user gave; the
row without a path says that there is a workspace. Its digest is NULL where the content was not kept. Modes are Git's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from fastslow.sandbox import Mode

GONE = ""  # the digest of a file that was removed
STOPPED = "stopped"  # the digest of a row without a path: later changes were not written down
CLAIMED = -1  # the number of rows that are there for the sake of their contents, until others name those
PART = 1 << 18  # bytes of a content in one row
REGULAR: Mode = "100644"  # the mode of what is neither executable nor a link

Rows: TypeAlias = Callable[..., list[tuple[Any, ...]]]
"""What a query and its values find."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a run in the journal. digest: None where the content was not kept. mode: as Git has it."""

    digest: str | None
    mode: Mode = REGULAR


class Contents(Mapping[str, bytes | None]):
    """Files by path, each content read when it is asked for; None for one that was not kept."""

    def __init__(self, rows: Rows, kept: Mapping[str, Kept]) -> None:
        self._rows = rows
        self.kept = kept

    def __getitem__(self, path: str) -> bytes | None:
        digest = self.kept[path].digest
        return None if digest is None else read_content(self._rows, digest)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


def read_content(rows: Rows, digest: str) -> bytes | None:
    """A content by its digest; None where it is not there."""
    parts = rows("SELECT content FROM contents WHERE digest = ? ORDER BY part", digest)
    return b"".join(bytes(part) for [part] in parts) if parts else None  # a number becomes as many zeros


def given(rows: Rows, run: str) -> dict[str, Kept]:
    """The files that a run began with, by path."""
    query = "SELECT path, digest, mode FROM files WHERE run = ? AND number = 0 AND path != ''"
    return {path: Kept(digest, mode) for path, digest, mode in rows(query, run)}


def latest(rows: Rows, run: str) -> dict[str, Kept]:
    """A run's files, by path, as its last call left them."""
    return left(rows, run, given(rows, run))


def left(rows: Rows, run: str, begun: Mapping[str, Kept]) -> dict[str, Kept]:
    """`latest` of a run, of which it is known what it began with: a project has thousands of files."""
    files = dict(begun)
    query = "SELECT path, digest, mode FROM files WHERE run = ? AND number > 0 AND path != '' ORDER BY number"
    for path, digest, mode in rows(query, run):
        if digest == GONE:
            files.pop(path, None)
        else:
            files[path] = Kept(digest, mode)
    return files


def packed(part: bytes) -> bytes | int:
    """A part as its row holds it: of nothing but zeros only how many. Files of holes cost code nothing."""
    return part if part.strip(b"\0") else len(part)


def store(database: sqlite3.Connection, content: bytes) -> str:
    """Put a content in. Its digest."""
    digest = sha256(content).hexdigest()
    starts = range(0, len(content) or 1, PART)
    parts = [(digest, number, packed(content[start : start + PART])) for number, start in enumerate(starts)]
    database.executemany("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", parts)
    return digest
