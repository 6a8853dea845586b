"""Runs on disk: every event, the files that came in, and the workspace as each call left it. One SQLite file for all.

The file is in write-ahead mode, so several processes write their runs side by side and readers never wait, and each
commit is on the disk before it counts (https://www.sqlite.org/wal.html, `synchronous=FULL`). Only events of `LATER` do
not wait for the disk: they outlive our process, and get there with the next event.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastslow.agent.errors import JournalBroken, RunBusy, RunFollowed, RunUnknown
from fastslow.agent.events import (
    Event,
    Exit,
    PlanMade,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    TurnFinished,
    TurnStarted,
)
from fastslow.agent.folders import state_folder
from fastslow.agent.record.contents import REGULAR, STOPPED, Contents, given, latest, read_content, store
from fastslow.agent.record.jsonl import from_json, to_json
from fastslow.agent.record.locks import lock
from fastslow.agent.record.written import RunInfo, Written
from fastslow.agent.texts import check_path

SCHEMA = 6  # of the tables and of the events in them; raised with each change that older code cannot read
LATER = (TurnStarted, PlanMade, StepStarted)  # of no effect, and said again by a run that is resumed
INCREMENTAL = 2  # SQLite's number of the mode in which free pages go back to the disk without a copy of the file
BUSY_SECONDS = 30.0  # how long to wait for another process that writes
_TABLES = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, task TEXT NOT NULL, model TEXT NOT NULL, forked TEXT NOT NULL, after TEXT NOT NULL,
    parent TEXT NOT NULL, key TEXT NOT NULL, started REAL NOT NULL, exit TEXT
);
CREATE INDEX keys ON runs (key);
CREATE TABLE events (
    run TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, event TEXT NOT NULL,
    PRIMARY KEY (run, number)
);
CREATE TABLE files (
    run TEXT NOT NULL, number INTEGER NOT NULL, path TEXT NOT NULL, digest TEXT, mode TEXT NOT NULL,
    PRIMARY KEY (run, number, path)
) WITHOUT ROWID;
CREATE TABLE contents (digest TEXT NOT NULL, part INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (digest, part));
CREATE TABLE applied (
    run TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, root BLOB NOT NULL, path TEXT NOT NULL,
    before TEXT, before_size INTEGER, before_mode TEXT, permissions INTEGER,
    after TEXT, after_size INTEGER, after_mode TEXT, undone REAL, PRIMARY KEY (run, number, path)
) WITHOUT ROWID;
CREATE TABLE jobs (
    job TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL UNIQUE, settings TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, exit TEXT
);
CREATE TABLE steps (
    job TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, parent TEXT NOT NULL, started REAL NOT NULL,
    ended INTEGER, result TEXT, PRIMARY KEY (job, key)
) WITHOUT ROWID;
CREATE INDEX steps_ended ON steps (job, ended);
"""
_DELETE_RUN = (
    "DELETE FROM events WHERE run = ?",
    "DELETE FROM files WHERE run = ?",
    "DELETE FROM applied WHERE run = ?",
    "DELETE FROM runs WHERE run = ?",
)
_DELETE_UNUSED_CONTENTS = (
    "DELETE FROM contents WHERE digest NOT IN (SELECT digest FROM files WHERE digest IS NOT NULL "
    "UNION SELECT before FROM applied WHERE before IS NOT NULL UNION SELECT after FROM applied WHERE after IS NOT NULL)"
)


def _lock_name(key: str) -> str:
    return f"key-{sha256(key.encode()).hexdigest()}"


def child_key(run: str, call: str) -> str:
    """The key of the run that a call of another one is carried out by."""
    return f"{run}/{call}"


def new_id() -> str:
    """An id for a run or a job: unique, and sorted as time goes."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"


def default_path() -> Path:
    """Where runs are kept unless somebody says otherwise."""
    return state_folder() / "runs.db"


class Journal:
    """The journal in one file. path: by default `runs.db` in the folder of fastslow's state.

    Raises `JournalBroken` when the file cannot be read or written: the disk is full, say. Nothing is lost of what was
    written before.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if path:
            check_path("the journal", path)
        self._path = Path(path) if path else None
        self._database: sqlite3.Connection | None = None
        self.read_before: dict[tuple[int, ...], str] = {}  # digests of the user's files, by size and stamp

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r})"

    @property
    def path(self) -> Path:
        if self._path is None:
            self._path = default_path()
        return self._path

    def open(self) -> None:
        """Open the file, or make it; whatever needs it does so by itself."""
        try:
            self._open()
        except sqlite3.Error as error:
            raise self._broken(error) from error

    # --- writing ---------------------------------------------------------------------------------

    @contextmanager
    def hold(self, run: str) -> Iterator[None]:
        """Be the only one that carries out this run; RunBusy if somebody does. The lock goes with our process."""
        with self._locked(run, f"run {run}"):
            yield

    @contextmanager
    def hold_key(self, key: str) -> Iterator[None]:
        """Be the only one that looks for the run of a key, begins it and carries it out; RunBusy if somebody does."""
        with self._locked(_lock_name(key), f"the run with the key {key!r}"):
            yield

    def holds_key(self, key: str) -> bool:
        """Whether somebody carries out the run, or the job, with a key."""
        return self._held(_lock_name(key))

    def writer(self, run: str, inputs: Sequence[Path] = ()) -> Callable[[Event], None]:
        """What appends events to a run; each but those of `LATER` is on the disk when it returns. inputs: the user's
        files, of a new run."""
        [[last]] = self.rows("SELECT coalesce(max(number), 0) FROM events WHERE run = ?", run)
        number = int(last)

        def write(event: Event) -> None:
            nonlocal number
            row = (run, number + 1, time.time(), _encoded(event))
            with self.transaction(waits=not isinstance(event, LATER)) as database:
                database.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
                match event:
                    case RunStarted():
                        self._begin(database, event, inputs)
                    case RunFinished() | RunResumed():
                        end = event.result.exit if isinstance(event, RunFinished) else None
                        known = database.execute("UPDATE runs SET exit = ? WHERE run = ?", (end, run)).rowcount
                        if not known:
                            raise RunUnknown(f"run {run} was removed from the journal meanwhile; start the task anew")
            number += 1

        return write

    # --- reading ---------------------------------------------------------------------------------

    def runs(self) -> tuple[RunInfo, ...]:
        """All runs, the latest first."""
        rows = self.rows(
            "SELECT run, task, model, started, exit, forked, after, parent FROM runs ORDER BY started DESC, run DESC"
        )
        try:
            return tuple(
                RunInfo(
                    run=run,
                    task=task,
                    model=model,
                    started=datetime.fromtimestamp(at, UTC),
                    exit=Exit(end) if end else None,
                    running=self._held(run),
                    forked=forked,
                    after=after,
                    parent=parent,
                )
                for run, task, model, at, end, forked, after, parent in rows
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise self._broken(error) from error

    def find(self, name: str) -> str:
        """The id of a run, from the beginning of it, or from `last`, which no run within another one is. RunUnknown."""
        rows = self.rows("SELECT run, parent FROM runs ORDER BY started DESC, run DESC")
        found = [run for run, _ in rows]
        if name == "last" and (own := [run for run, parent in rows if not parent]):
            return str(own[0])
        matching = [run for run in found if name and run.startswith(name)]
        if name in matching or len(matching) == 1:
            return name if name in matching else str(matching[0])
        if matching:
            some = ", ".join(matching[:5])
            raise RunUnknown(f"{len(matching)} runs begin with {name!r}, such as {some}; write more of the id")
        raise RunUnknown(f"no run {name!r} in {self.path}; `fastslow runs` lists them")

    def keyed(self, key: str) -> str | None:
        """The run that has a key, the latest of several."""
        rows = self.rows("SELECT run FROM runs WHERE key = ? ORDER BY started DESC, run DESC", key)
        return str(rows[0][0]) if key and rows else None

    def replies_within(self, run: str, call: str | None = None) -> Iterator[TurnFinished]:
        """The model's replies in the runs that were carried out by a run, or by one call of it, and in those below."""
        children = self.rows("SELECT run FROM runs WHERE parent = ?", run)
        if call is not None:
            children = self.rows("SELECT run FROM runs WHERE key = ? AND parent = ?", child_key(run, call), run)
        for [child] in children:
            yield from (event for event in self.read(child).events if isinstance(event, TurnFinished))
            yield from self.replies_within(child)

    def read(self, run: str, *, workspace: bool = True) -> Written:
        """All of a run. workspace: with its files, of which a project has thousands. RunUnknown, JournalBroken."""
        rows = self.rows("SELECT at, event FROM events WHERE run = ? ORDER BY number", run)
        if not rows:
            raise RunUnknown(f"the run {run} was never begun; start it again")
        events = [_decoded(run, text) for _, text in rows]
        last, started = events[-1], _started(run, events)
        return Written(
            started=started,
            events=tuple(event for event in events if not isinstance(event, RunFinished)),
            finished=last if isinstance(last, RunFinished) else None,
            inputs=self._inputs(run, started.files),
            workspace=self._workspace(run) if workspace else None,
            spent=tuple(event for event in events[: _out_of_budget(events)] if isinstance(event, TurnFinished)),
            seconds=_active([at for at, _ in rows], events),
            stopped=bool(self.rows("SELECT 1 FROM files WHERE run = ? AND path = '' AND digest = ?", run, STOPPED)),
        )

    def started(self, run: str) -> RunStarted:
        """How a run began. RunUnknown, JournalBroken."""
        rows = self.rows("SELECT event FROM events WHERE run = ? ORDER BY number LIMIT 1", run)
        if not rows:
            raise RunUnknown(f"the run {run} was never begun; start it again")
        return _started(run, [_decoded(run, text) for [text] in rows])

    def finished(self, run: str) -> RunFinished | None:
        """How a run ended; None where it goes on, or was killed."""
        rows = self.rows("SELECT event FROM events WHERE run = ? ORDER BY number DESC LIMIT 1", run)
        last = _decoded(run, rows[0][0]) if rows else None
        return last if isinstance(last, RunFinished) else None

    def content(self, digest: str) -> bytes:
        """A content by its digest. JournalBroken where it is not there."""
        content = read_content(self.rows, digest)
        if content is None:
            raise JournalBroken(f"the journal {self.path} does not hold the content {digest[:12]} any more")
        return content

    def fork(self, run: str, turn: int, new: str) -> None:
        """Copy a run as it was before it began a turn. ValueError for a turn that it never had."""
        turns: dict[int, int] = {}
        events: list[Event] = []
        for number, text in self.rows("SELECT number, event FROM events WHERE run = ? ORDER BY number", run):
            event = _decoded(run, text)  # none behind the turn: one that cannot be read there may be why it is forked
            events.append(event)
            if isinstance(event, TurnStarted):
                turns[event.turn] = number
                if event.turn == turn:
                    break
        else:
            raise ValueError(f"run {run} has the turns {', '.join(map(str, sorted(turns))) or '(none)'}, got {turn}")
        first = replace(_started(run, events), run=new)
        with self.transaction() as database:
            self._begin(database, first, (), forked=run)
            database.execute("INSERT INTO events VALUES (?, 1, ?, ?)", (new, time.time(), _encoded(first)))
            copied = "SELECT ?, number, at, event FROM events WHERE run = ? AND number > 1 AND number < ?"
            database.execute(f"INSERT INTO events {copied}", (new, run, turns[turn]))
            kept = "SELECT ?, number, path, digest, mode FROM files WHERE run = ? AND number >= 0 AND number < ?"
            database.execute(f"INSERT INTO files {kept}", (new, run, turns[turn]))

    # --- removing --------------------------------------------------------------------------------

    def remove(self, runs: Collection[str]) -> None:
        """Remove runs, and the files that no other run has; `shrink` gives their space back to the disk.

        All of them or none. Raises RunUnknown, RunBusy where one is being carried out, and RunFollowed where a run that
        stays follows one. A fork is a copy: it needs nothing of its parent.
        """
        gone = set(runs)
        with self.transaction() as database:
            self.check_removable(gone)
            for delete in _DELETE_RUN:
                database.executemany(delete, [(run,) for run in gone])
            database.execute(_DELETE_UNUSED_CONTENTS)

    def check_removable(self, gone: set[str]) -> None:
        """Raises what `remove` would."""
        known = self.runs()
        if unknown := gone - {info.run for info in known}:
            raise RunUnknown(f"no run {min(unknown)!r} in {self.path}; `fastslow runs` lists them")
        if busy := [info.run for info in known if info.run in gone and info.running]:
            raise RunBusy(f"run {busy[0]} is being carried out; wait for it, or stop it first")
        followers: list[str] = []
        for info in reversed(known):  # the oldest first: one that follows a follower comes behind it
            if info.run not in gone and info.after in {*gone, *followers}:
                followers.append(info.run)
        if followers:
            every = " ".join([*sorted(gone), *followers])
            raise RunFollowed(
                "runs that stay follow what would be removed, and could be neither resumed nor replayed without it: "
                f"{', '.join(followers)}; to remove them too: fastslow runs rm {every}"
            )

    def shrink(self) -> int:
        """Give the space of what was removed back to the disk, instead of to later runs; how many bytes that were."""
        before = self._size()
        [[mode]] = self.rows("PRAGMA auto_vacuum")
        try:
            # Run to its end by this alone: `execute` takes the first of its steps, which frees one page.
            self._open().executescript("PRAGMA incremental_vacuum" if mode == INCREMENTAL else "VACUUM")
        except sqlite3.Error as error:
            raise self._broken(error) from error
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return max(0, before - self._size())  # another process may be writing

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    # --- the file --------------------------------------------------------------------------------

    def _size(self) -> int:
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _workspace(self, run: str) -> Contents | None:
        if not self.rows("SELECT 1 FROM files WHERE run = ? AND path = ''", run):
            return None
        return Contents(self.rows, latest(self.rows, run))

    def _inputs(self, run: str, names: Sequence[str]) -> Mapping[str, bytes]:
        files = Contents(self.rows, given(self.rows, run) if names else {})
        return {name: content for name in names if name in files and (content := files[name]) is not None}

    @contextmanager
    def _locked(self, name: str, what: str) -> Iterator[None]:
        folder = self.path.with_name(f"{self.path.name}.running")
        folder.mkdir(parents=True, exist_ok=True)
        held = lock(folder / name)
        if held is None:
            raise RunBusy(f"{what} is being carried out already; wait for it, or stop it first")
        with held:
            try:
                yield
            finally:
                (folder / name).unlink(missing_ok=True)

    def _held(self, run: str) -> bool:
        path = self.path.with_name(f"{self.path.name}.running") / run
        if not path.exists():
            return False
        handle = lock(path)
        if handle is None:
            return True
        with handle:
            path.unlink(missing_ok=True)  # left behind by a process that was killed
        return False

    def _begin(self, database: sqlite3.Connection, first: RunStarted, inputs: Sequence[Path], forked: str = "") -> None:
        if first.after and not database.execute("SELECT 1 FROM runs WHERE run = ?", (first.after,)).fetchone():
            raise RunUnknown(f"run {first.after}, which the task follows, was removed from the journal meanwhile")
        key = "" if forked else first.key  # a fork is another run than the one that its key asks for
        row = (first.run, first.task, first.model, forked, first.after, first.parent, key, time.time())
        database.execute(
            "INSERT INTO runs (run, task, model, forked, after, parent, key, started) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        files = [(first.run, 0, path.name, store(database, path.read_bytes()), REGULAR) for path in inputs]
        database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", files)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds, for the modules of this room."""
        try:
            return self._open().execute(query, values).fetchall()
        except UnicodeEncodeError:  # no run has such a name
            return []
        except sqlite3.Error as error:
            raise self._broken(error) from error

    @contextmanager
    def transaction(self, *, waits: bool = True) -> Iterator[sqlite3.Connection]:
        """All that is written in it, or nothing; for the modules of this room. waits: until the disk has it."""
        try:
            database = self._open()
            database.execute(f"PRAGMA synchronous = {'FULL' if waits else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have rolled it back already
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch(0o600)  # it holds what people asked, and their files; its side files take after it
            except OSError as error:
                raise JournalBroken(
                    f"the journal {self.path} cannot be written: {error.strerror}; free its place, or set "
                    "FASTSLOW_HOME to a folder of yours"
                ) from error
            # Whoever uses one from several threads must take turns; SQLite itself is built to be used so.
            database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(database)
            except BaseException:
                database.close()
                raise
            self._database = database
            # Agents keep a journal open for the next run; with the last of them its connection goes, and not at the
            # exit of a process, which may be a fork that shares it.
            weakref.finalize(self, database.close).atexit = False
        return self._database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")  # of a new file, and of an older one at its next VACUUM
        database.execute("PRAGMA secure_delete = FAST")  # removed rows are overwritten; free pages go with `shrink`
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        [version] = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
        database.execute("COMMIT")
        if version not in (0, SCHEMA):
            raise JournalBroken(
                f"the journal {self.path} has the format {version}, and this fastslow reads {SCHEMA}; "
                "move it away, or use the fastslow that wrote it"
            )

    def _broken(self, error: Exception) -> JournalBroken:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            remedy = "free some space on its disk, then go on with `fastslow resume`"
        elif isinstance(error, sqlite3.OperationalError):  # it may pass: locked, no rights, no such folder
            remedy = "look after the file, then go on with `fastslow resume`"
        else:
            remedy = "it is damaged: bring back a copy of it, or move it away to begin a new one"
        return JournalBroken(f"the journal {self.path} cannot be used: {error}; {remedy}")


def _out_of_budget(events: Sequence[Event]) -> int:
    """Where a run came to the end of its budget the last time, 0 where it never did."""
    ends = [n for n, e in enumerate(events) if isinstance(e, RunFinished) and e.result.exit is Exit.BUDGET]
    return ends[-1] if ends else 0


def _active(times: Sequence[float], events: Sequence[Event]) -> float:
    """Seconds for which a run was carried out, without those between its end and its resumption."""
    pairs = zip(times, times[1:], events[1:], strict=False)
    return sum(max(0.0, after - before) for before, after, event in pairs if not isinstance(event, RunResumed))


def _encoded(event: Event) -> str:
    """One line of JSON. Half a surrogate pair, which no file takes, is written as a question mark."""
    return json.dumps(to_json(event), ensure_ascii=False).encode("utf-8", "replace").decode()


def _decoded(run: str, text: str) -> Event:
    try:
        return from_json(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:300]
        raise JournalBroken(
            f"an event of run {run} cannot be read: {said}; "
            f"go on from a turn before it with `fastslow fork {run} --at TURN`"
        ) from error


def _started(run: str, events: Sequence[Event]) -> RunStarted:
    for event in events:
        if isinstance(event, RunStarted):
            return event
    raise JournalBroken(f"the journal does not hold the beginning of run {run}; start the task anew")
