"""How a run starts: anew, where an earlier life of it left off, or out of the journal alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from agent.calls import DIED
from agent.engine.profiles import Profile, find_profile
from agent.engine.scripted import ScriptedModel
from agent.engine.types import Engine
from agent.errors import ConfigurationError, RunUnknown
from agent.events import CallFinished, CallStarted, Exit, RunResumed, TurnFinished
from agent.journal import Journal, Written
from agent.recorder import IN_DOUBT, Recorder
from agent.workspace import Given, Keep, Restored
from tools.builtin import was_undone


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is about to be carried out.

    keep, history: of its workspace. resumed: what to say first of a run that goes on, at most one event. seconds: for
    which it was carried out before. spent: the replies that used its budget up: it gets that once more. engine: takes
    the place of the agent's. notices: what the user should know of the start.
    """

    run: str
    task: str
    files: tuple[Given, ...]
    recorder: Recorder
    keep: Keep | None = None
    history: Callable[[], Restored | None] | None = None
    resumed: tuple[RunResumed, ...] = ()
    seconds: float = 0.0
    spent: tuple[TurnFinished, ...] = ()
    engine: Engine | None = None
    notices: tuple[str, ...] = ()


def new_id() -> str:
    """An id for a run: unique, and sorted as time goes."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"


@contextmanager
def begin(
    journal: Journal | None, task: str, files: tuple[Path, ...], notices: tuple[str, ...] = ()
) -> Iterator[Start]:
    """A new run."""
    run, given = new_id(), tuple(Given(path.name, path) for path in files)
    if journal is None:
        yield Start(run, task, given, Recorder(), notices=notices)
        return
    with journal.hold(run):
        recorder = Recorder(journal.writer(run, files))
        yield Start(run, task, given, recorder, partial(journal.save, run), partial(_restored, journal, run))


@contextmanager
def resumed(journal: Journal, name: str, engine: Engine) -> Iterator[Start]:
    """A run that was stopped, killed, or failed; one that was answered is only replayed. Raises JournalError."""
    run = journal.find(name)
    with journal.hold(run):
        written = journal.read(run)
        if written.finished and written.finished.result.exit is Exit.ANSWERED:
            yield _replay(written, engine)
            return
        turns = sum(isinstance(event, TurnFinished) for event in written.events)
        yield Start(
            run,
            written.started.task,
            _given(written),
            Recorder(journal.writer(run), written.events),
            partial(journal.save, run),
            partial(_restored, journal, run),
            (RunResumed(run, turns, written.seconds),),
            written.seconds,
            written.spent,
        )


def replayed(journal: Journal, name: str, engine: Engine) -> Start:
    """A run out of the journal: nothing is asked, run or written. engine: may know the profile, if it is its own."""
    return _replay(journal.read(journal.find(name)), engine)


def _replay(written: Written, engine: Engine) -> Start:
    past = (*written.events, written.finished) if written.finished else written.events
    recorder = Recorder(None, past, replaying=True)
    started = written.started
    silent = ScriptedModel((), profile=_profile(engine, started.profile), model=started.model)
    return Start(started.run, started.task, _given(written), recorder, engine=silent)


def _profile(engine: Engine, name: str) -> Profile:
    with suppress(ConfigurationError):  # it was never connected
        if engine.profile.name == name:
            return engine.profile
    return find_profile(name)


def _given(written: Written) -> tuple[Given, ...]:
    """The user's files as they were when the run began, whatever became of them since."""
    return tuple(Given(name, written.inputs[name]) for name in written.started.files)


def _restored(journal: Journal, run: str) -> Restored | None:
    """What a new session needs to stand where the last one stood; None where nothing ran in it."""
    try:
        written = journal.read(run)
    except RunUnknown:  # it is about to begin
        return None
    if written.workspace is None:
        return None
    begun = {(e.branch, e.call.id): e for e in written.events if isinstance(e, CallStarted) and not e.parent}
    ends = [e for e in written.events if isinstance(e, CallFinished) and not e.parent and e.name == "python"]
    cells = [
        (str(begun[end.branch, end.call_id].arguments.get("code", "")), end.ok)
        for end in ends
        if not was_undone(end.content) and not end.content.startswith((DIED, IN_DOUBT))
    ]
    called = any(isinstance(e, CallStarted) and e.parent for e in written.events)
    alone = not called and not written.started.settings.get("allow")
    return Restored(written.workspace, tuple(cells) if alone or not cells else None)
