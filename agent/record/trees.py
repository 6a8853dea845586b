"""The folder that a run works on a copy of: read from the user's disk once, out of the journal ever after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256

from fastslow.agent.record.contents import REGULAR, Kept, given, read_content, store
from fastslow.agent.record.journal import Journal
from fastslow.agent.tree.outline import LINES, WHOLE
from fastslow.agent.tree.reading import Reader
from fastslow.agent.tree.select import Entry, Selection
from fastslow.sandbox import TreeFile

LINK = "120000"
TICK = 100_000_000  # nanoseconds within which two changes of a file may have the same time
AT_ONCE = 4 << 20  # bytes in one transaction
_INSERT = "INSERT OR REPLACE INTO files VALUES (?, 0, ?, ?, ?)"
_DELETE = "DELETE FROM files WHERE run = ? AND number = 0 AND path = ?"
_COMPLETE = "INSERT OR REPLACE INTO files VALUES (?, 0, '', NULL, ?)"


def is_kept(journal: Journal, run: str) -> bool:
    """Whether the journal holds all of the tree of a run."""
    return bool(journal.rows("SELECT 1 FROM files WHERE run = ? AND number = 0 AND path = ''", run))


def has_changes(journal: Journal, run: str) -> bool:
    """Whether the journal holds a workspace that a call of the run left."""
    return bool(journal.rows("SELECT 1 FROM files WHERE run = ? AND number > 0 LIMIT 1", run))


def base(journal: Journal, run: str, extras: frozenset[str]) -> dict[str, Kept]:
    """The files of the tree that a run began with. extras: what came with the run besides."""
    return {path: kept for path, kept in given(journal.rows, run).items() if path not in extras}


class KeptTree:
    """The tree of one run. See `states.TreeSource`.

    selection: what to take from the user's disk, None where the journal holds the tree already. extras: names of files
    of the run that are none of the tree. unread: what was selected, and could not be read.
    """

    def __init__(self, journal: Journal, run: str, selection: Selection | None, extras: frozenset[str]) -> None:
        self._journal = journal
        self._run = run
        self._selection = selection
        self._extras = extras
        self.unread: list[str] = []

    def files(self) -> Iterator[TreeFile]:
        """All files with their contents. Runs in a thread beside the run, and so with a connection of its own."""
        journal = Journal(self._journal.path)
        try:
            if self._selection is None:
                yield from self._from_journal(journal)
            else:
                yield from self._from_disk(journal, self._selection, {})
                self._selection = None
        finally:
            journal.close()

    def keep(self) -> None:
        """Write all files down. What this process has read before, and is as it was then, is not read again."""
        journal = Journal(self._journal.path)
        try:
            if self._selection:
                deque(self._from_disk(journal, self._selection, self._journal.read_before), 0)
                self._selection = None
        finally:
            journal.close()

    def paths(self) -> tuple[str, ...]:
        """Of all files, sorted."""
        if self._selection:
            return tuple(sorted(entry.path for entry in self._selection.files))
        return tuple(sorted(base(self._journal, self._run, self._extras)))

    @cached_property
    def texts(self) -> dict[str, str]:
        """All texts of a project that is small enough to be shown whole, by path; else none."""
        texts, size, selection = dict[str, str](), 0, self._selection
        if len(self.paths()) > LINES or (selection and sum(entry.size for entry in selection.files) > WHOLE):
            return {}
        for path, content in self._contents(selection):
            size += len(content)
            if size > WHOLE:
                return {}
            with suppress(UnicodeDecodeError):
                if b"\0" not in content:
                    texts[path] = content.decode()
        return texts

    def _contents(self, selection: Selection | None) -> Iterator[tuple[str, bytes]]:
        """Files that are no links, as far as they can be read, by path."""
        if selection is None:
            for path, kept in sorted(self.base().items()):
                content = read_content(self._journal.rows, kept.digest) if kept.digest and kept.mode != LINK else None
                if content is not None:
                    yield path, content
            return
        with Reader(selection.root) as reader:
            for entry in selection.files:
                with suppress(OSError):
                    content = reader.read(entry) if entry.mode != LINK else None
                    if content is not None:
                        yield entry.path, content

    def base(self) -> dict[str, Kept]:
        """See `TreeSource.base`."""
        return base(self._journal, self._run, self._extras)

    def content(self, path: str) -> bytes | None:
        """See `TreeSource.content`."""
        kept = given(self._journal.rows, self._run).get(path)
        return read_content(self._journal.rows, kept.digest) if kept and kept.digest else None

    def _from_journal(self, journal: Journal) -> Iterator[TreeFile]:
        for path, kept in base(journal, self._run, self._extras).items():
            content = read_content(journal.rows, kept.digest) if kept.digest else None
            if content is not None:
                yield TreeFile(path, content, kept.mode)

    def _from_disk(
        self, journal: Journal, selection: Selection, read_before: Mapping[tuple[int, ...], str]
    ) -> Iterator[TreeFile]:
        """Each file as it is written down: what others do to it meanwhile changes nothing. Those that were read
        before are not given."""
        if begun := base(journal, self._run, self._extras):  # by an earlier life of the run, which did not end it
            with journal.transaction() as database:
                database.executemany(_DELETE, [(self._run, path) for path in begun])
        known = {digest for [digest] in journal.rows("SELECT digest FROM contents WHERE part = 0")}
        waiting: list[tuple[Entry, str, bytes]] = []
        size = 0
        with Reader(selection.root) as reader:
            for entry in selection.files:
                before = read_before.get((entry.size, *entry.stamp), "")
                if before in known:
                    waiting.append((entry, before, b""))
                    continue
                content = None
                with suppress(OSError):
                    content = reader.read(entry)
                if content is None:
                    self.unread.append(entry.path)
                    continue
                digest = sha256(content).hexdigest()
                if time.time_ns() - max(entry.stamp[2:]) > TICK:
                    self._journal.read_before[entry.size, *entry.stamp] = digest
                waiting.append((entry, digest, b"" if digest in known else content))
                size += 0 if digest in known else len(content)
                if size >= AT_ONCE:
                    self._keep(journal, waiting, known)
                    waiting, size = [], 0
                yield TreeFile(entry.path, content, entry.mode)
        self._keep(journal, waiting, known)
        with journal.transaction() as database:
            database.execute(_COMPLETE, (self._run, REGULAR))

    def _keep(self, journal: Journal, files: list[tuple[Entry, str, bytes]], known: set[str]) -> None:
        with journal.transaction() as database:
            for _, digest, content in files:
                if digest not in known:
                    store(database, content)
                    known.add(digest)
            rows = [(self._run, entry.path, digest, entry.mode) for entry, digest, _ in files]
            database.executemany(_INSERT, rows)
