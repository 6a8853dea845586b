"""The workspace of a run in the journal: each content once, in parts, and what each call changed.

A content can be large, and others write to the journal too. So it goes in by parts, each in a transaction of its own,
under the digest that we have counted ourselves; a row of `CLAIMED` keeps it there until the call's rows name it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO

from fastslow.agent.record.contents import CLAIMED, GONE, PART, REGULAR, STOPPED, Kept, latest, packed
from fastslow.agent.record.journal import Journal

ROWS = 500  # parts that wait for a transaction
AT_ONCE = 1 << 20  # bytes of them


class KeptWorkspace:
    """Writes the workspace of one run down, call by call. See `states.Record`."""

    def __init__(self, journal: Journal, run: str) -> None:
        self._journal = journal
        self._run = run
        self._waiting: list[tuple[str, int, bytes | int]] = []
        self._size = 0
        self._added: set[str] = set()

    def content(self) -> Content:
        return Content(self)

    def holds(self, digest: str) -> bool:
        """Whether a content is there. Ask for a digest of ours only: others' contents are there, too."""
        return digest in self._added or bool(
            self._journal.rows("SELECT 1 FROM contents WHERE digest = ? AND part = 0", digest)
        )

    def versions(self, path: str) -> set[str]:
        query = "SELECT DISTINCT digest FROM files WHERE run = ? AND number > 0 AND path = ? AND digest IS NOT NULL"
        return {digest for [digest] in self._journal.rows(query, self._run, path)}

    def save(self, files: Mapping[str, Kept], removed: tuple[str, ...], *, whole: bool) -> None:
        run = self._run
        with self._journal.transaction() as database:
            [[number]] = database.execute("SELECT coalesce(max(number), 0) FROM events WHERE run = ?", (run,))
            gone = set(removed)
            if whole:
                there = latest(self._journal.rows, run)
                gone = there.keys() - files.keys()
                database.execute("DELETE FROM files WHERE run = ? AND path = '' AND digest = ?", (run, STOPPED))
                files = {path: kept for path, kept in files.items() if there.get(path) != kept}
            self._store(database)
            rows = [(run, number, path, kept.digest, kept.mode) for path, kept in files.items()]
            rows += [(run, number, path, GONE, REGULAR) for path in gone]
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
            # Also where nothing differs from what it began with: who follows need not ask the runs before it.
            if not database.execute(
                "SELECT 1 FROM files WHERE run = ? AND path = '' AND number > 0", (run,)
            ).fetchone():
                database.execute("INSERT INTO files VALUES (?, ?, '', NULL, ?)", (run, number, REGULAR))
            database.execute("DELETE FROM files WHERE run = ? AND number = ?", (run, CLAIMED))

    def stop(self) -> None:
        run = self._run
        with self._journal.transaction() as database:
            [[number]] = database.execute("SELECT coalesce(max(number), 0) FROM events WHERE run = ?", (run,))
            database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, '', ?, ?)", (run, number, STOPPED, REGULAR))

    async def add(self, digest: str, parts: Iterator[bytes]) -> None:
        self._added.add(digest)
        for part, data in enumerate(parts):
            self._waiting.append((digest, part, packed(data)))
            self._size += len(data)
            if self._size >= AT_ONCE or len(self._waiting) >= ROWS:
                with self._journal.transaction() as database:
                    claims = {(self._run, CLAIMED, waiting, waiting, REGULAR) for waiting, _, _ in self._waiting}
                    database.executemany("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?)", claims)
                    self._store(database)
                await asyncio.sleep(0)

    def _store(self, database: sqlite3.Connection) -> None:
        database.executemany("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", self._waiting)
        self._waiting, self._size = [], 0


class Content:
    """One that comes by and by: in memory while it is small, else in a file without a name."""

    def __init__(self, kept: KeptWorkspace) -> None:
        self._kept = kept
        self._digest = sha256()
        self._file: IO[bytes] = SpooledTemporaryFile(PART)  # noqa: SIM115 - see `close`

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    async def keep(self) -> str:
        """Its digest, once it is in the journal."""
        await self._kept.add(self._digest.hexdigest(), self._parts())
        return self._digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        self._file.seek(0)
        yield self._file.read(PART)  # of an empty file, too
        yield from iter(lambda: self._file.read(PART), b"")

    def close(self) -> None:
        self._file.close()
