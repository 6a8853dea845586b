"""How a run starts: anew, where an earlier life of it left off, or out of the journal alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.engine.profiles import Profile, find_profile
from agent.engine.scripted import ScriptedModel
from agent.engine.types import Engine
from agent.errors import ConfigurationError
from agent.events import CallFinished, CallStarted, Exit, RunResumed, TurnFinished
from agent.journal import Journal, Written
from agent.recorder import Recorder
from agent.workspace import Keep, Restored


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is about to be carried out.

    keep, restored: of its workspace. resumed: what to say first of a run that goes on, at most one event. seconds: for
    which it was carried out before. engine: takes the place of the agent's.
    """

    run: str
    task: str
    files: tuple[Path, ...]
    recorder: Recorder
    keep: Keep | None = None
    restored: Restored | None = None
    resumed: tuple[RunResumed, ...] = ()
    seconds: float = 0.0
    engine: Engine | None = None


def new_id() -> str:
    """An id for a run: unique, and sorted as time goes."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"


@contextmanager
def begin(journal: Journal | None, task: str, files: tuple[Path, ...]) -> Iterator[Start]:
    """A new run."""
    run = new_id()
    if journal is None:
        yield Start(run, task, files, Recorder())
        return
    with journal.hold(run):
        yield Start(run, task, files, Recorder(journal.writer(run, files)), partial(journal.save, run))


@contextmanager
def resumed(journal: Journal, name: str, engine: Engine) -> Iterator[Start]:
    """A run that was stopped, killed, or failed; one that was answered is only replayed. Raises JournalError."""
    run = journal.find(name)
    with journal.hold(run), TemporaryDirectory() as folder:
        written = journal.read(run)
        if written.finished and written.finished.result.exit is Exit.ANSWERED:
            yield _replay(written, folder, engine)
            return
        turns = sum(isinstance(event, TurnFinished) for event in written.events)
        yield Start(
            run,
            written.started.task,
            _materialized(written, folder),
            Recorder(journal.writer(run), written.events),
            partial(journal.save, run),
            _restored(written),
            (RunResumed(run, turns, written.seconds),),
            written.seconds,
        )


@contextmanager
def replayed(journal: Journal, name: str, engine: Engine) -> Iterator[Start]:
    """A run out of the journal: nothing is asked, run or written. engine: may know the profile, if it is its own."""
    with TemporaryDirectory() as folder:
        yield _replay(journal.read(journal.find(name)), folder, engine)


def _replay(written: Written, folder: str, engine: Engine) -> Start:
    past = (*written.events, written.finished) if written.finished else written.events
    recorder = Recorder(None, past, replaying=True)
    started = written.started
    silent = ScriptedModel((), profile=_profile(engine, started.profile), model=started.model)
    return Start(started.run, started.task, _materialized(written, folder), recorder, engine=silent)


def _profile(engine: Engine, name: str) -> Profile:
    with suppress(ConfigurationError):  # it was never connected
        if engine.profile.name == name:
            return engine.profile
    return find_profile(name)


def _materialized(written: Written, folder: str) -> tuple[Path, ...]:
    """The user's files as they were when the run began, whatever became of them since."""
    paths = []
    for name in written.started.files:
        path = Path(folder, name)
        path.write_bytes(written.inputs[name])
        paths.append(path)
    return tuple(paths)


def _restored(written: Written) -> Restored | None:
    """What a new session needs to stand where the last one stood; None where nothing ran in it."""
    results = {(e.branch, e.call_id): e for e in written.events if isinstance(e, CallFinished) and not e.parent}
    begun = [e for e in written.events if isinstance(e, CallStarted)]
    ran = [(e, results[e.branch, e.call.id]) for e in begun if (e.branch, e.call.id) in results and not e.parent]
    cells = tuple((str(e.arguments["code"]), end.ok) for e, end in ran if e.call.name == "python" and e.arguments)
    if written.workspace is None:
        return None
    alone = not any(e.parent for e in begun) and not written.started.settings.get("allow")
    return Restored(written.workspace, cells if alone or not cells else None)
