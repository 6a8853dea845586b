"""What of a run's changes was written to the user's folders: in the journal, so that it can be taken back."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastslow.agent.errors import ApplyFailed, RunUnknown
from fastslow.agent.record.contents import CLAIMED, PART, packed, read_content
from fastslow.agent.record.journal import Journal
from fastslow.agent.tree.changes import Version, digest_of
from fastslow.agent.tree.plan import Applied

AT_ONCE = 4  # whole parts in a transaction: others write to the journal, too
MOST_WAITING = 500  # parts in a transaction, however small they are


@dataclass(frozen=True, slots=True)
class Application:
    """One time that changes were written. number: of those of its run, from 1 on."""

    number: int
    at: datetime
    root: Path
    files: tuple[Applied, ...]


class AppliedChanges:
    """Those of one run. Its methods are what `carry_out` and `plan_undo` ask for.

    A content that is kept is held by a row of `CLAIMED` from when it is written down, until `record` or `undone` says
    what it was kept for.
    """

    def __init__(self, journal: Journal, run: str) -> None:
        self._journal = journal
        self._run = run
        self._waiting: list[tuple[str, int, bytes | int]] = []  # parts of contents: digest, number, part
        self._size = 0  # bytes that wait

    def keep(self, content: bytes) -> str:
        """Store a content, at the latest with what is recorded next. Its digest."""
        digest = digest_of(content)
        for number, start in enumerate(range(0, len(content) or 1, PART)):
            part = content[start : start + PART]
            self._waiting.append((digest, number, packed(part)))
            self._size += len(part)
            if self._size >= AT_ONCE * PART or len(self._waiting) >= MOST_WAITING:
                self._write()
        return digest

    def _write(self) -> None:
        """Put in what waits: a transaction for each file would take as long as the disk needs for it."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        if not waiting:
            return
        now = time.time()
        claims = [(self._run, CLAIMED, now, b"", digest, digest) for digest in {digest for digest, *_ in waiting}]
        with self._journal.transaction() as database:
            database.executemany(
                "INSERT OR IGNORE INTO applied (run, number, at, root, path, before) VALUES (?, ?, ?, ?, ?, ?)", claims
            )
            database.executemany("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", waiting)

    def content(self, digest: str) -> bytes:
        """A content by its digest. ApplyFailed where the journal does not have it, or not as it was."""
        self._write()
        content = read_content(self._journal.rows, digest)
        if content is None or digest_of(content) != digest:
            what = "is not" if content is None else "is damaged"
            raise ApplyFailed(f"a content {what} in the journal {self._journal.path}; nothing was changed")
        return content

    def record(self, root: Path, applied: Sequence[Applied]) -> None:
        """Write down what was written, unless that is nothing. RunUnknown where the run was removed meanwhile."""
        self._write()
        with self._journal.transaction() as database:
            if not database.execute("SELECT 1 FROM runs WHERE run = ?", (self._run,)).fetchone():
                raise RunUnknown(f"run {self._run} was removed from the journal meanwhile; nothing was changed")
            highest = "SELECT coalesce(max(number), 0) FROM applied WHERE run = ? AND number > 0"
            [[number]] = database.execute(highest, (self._run,))
            first = (self._run, number + 1, time.time(), os.fsencode(root))
            rows = [(*first, *_row(file), None) for file in applied]
            database.executemany("INSERT INTO applied VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("DELETE FROM applied WHERE run = ? AND number = ?", (self._run, CLAIMED))

    def last(self) -> Application | None:
        """The last time that was not undone."""
        rows = self._journal.rows(
            "SELECT number, at, root, path, before, before_size, before_mode, permissions, after, after_size, "
            "after_mode FROM applied WHERE run = ?1 AND number = "
            "(SELECT max(number) FROM applied WHERE run = ?1 AND number > 0 AND undone IS NULL) ORDER BY path",
            self._run,
        )
        if not rows:
            return None
        number, at, root, *_ = rows[0]
        files = tuple(_applied(*row[3:]) for row in rows)
        return Application(number, datetime.fromtimestamp(at, UTC), Path(os.fsdecode(root)), files)

    def standing(self) -> dict[str, Version | None]:
        """What was written of each file last, of all that was not undone; None for one that was removed."""
        rows = self._journal.rows(
            "SELECT path, after, after_size, after_mode FROM applied "
            "WHERE run = ? AND number > 0 AND undone IS NULL ORDER BY number",
            self._run,
        )
        return {path: Version(*after) if after[0] else None for path, *after in rows}

    def undone(self, number: int) -> None:
        """Write down that it was taken back."""
        self._write()
        with self._journal.transaction() as database:
            undone = "UPDATE applied SET undone = ? WHERE run = ? AND number = ?"
            database.execute(undone, (time.time(), self._run, number))
            database.execute("DELETE FROM applied WHERE run = ? AND number = ?", (self._run, CLAIMED))


def _row(file: Applied) -> tuple[Any, ...]:
    before = (file.before.digest, file.before.size, file.before.mode) if file.before else (None, None, None)
    after = (file.after.digest, file.after.size, file.after.mode) if file.after else (None, None, None)
    return (file.path, *before, file.permissions, *after)


def _applied(path: str, before: str, size: int, mode: str, permissions: int | None, *after: Any) -> Applied:
    version = Version(before, size, mode) if before else None
    return Applied(path, version, Version(*after) if after[0] else None, permissions)
