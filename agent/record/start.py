"""How a run starts: anew, where an earlier life of it left off, or out of the journal alone."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fastslow.agent.check import Check, told_before
from fastslow.agent.compaction import compact
from fastslow.agent.engine.profiles import Profile, find_profile
from fastslow.agent.engine.scripted import ScriptedModel
from fastslow.agent.engine.types import Engine
from fastslow.agent.engine.wire import size
from fastslow.agent.errors import ConfigurationError, JournalBroken, RunUnknown
from fastslow.agent.events import (
    CallFinished,
    CallStarted,
    CheckFinished,
    Event,
    Exit,
    Result,
    RunResumed,
    RunStarted,
    TurnFinished,
)
from fastslow.agent.given import Given, described
from fastslow.agent.plan import ANSWER, PLAN
from fastslow.agent.project import Project, tells_agents
from fastslow.agent.record.carry import carried
from fastslow.agent.record.journal import Journal, new_id
from fastslow.agent.record.kept import KeptWorkspace
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.record.states import Record, Restored
from fastslow.agent.record.trees import KeptTree, has_changes, is_kept
from fastslow.agent.record.written import Written
from fastslow.agent.transcript import Assistant, Message, ToolResult, User, from_dict
from fastslow.agent.tree.outline import outline, whole
from fastslow.agent.tree.select import select
from fastslow.agent.tree.taking import Taken, trusted_project
from fastslow.agent.tree.tree import Tree
from fastslow.tools import clip
from fastslow.tools.fenced import unfenced_python

UNANSWERED = "(I did not finish this: {}.)"  # what a model has said last in a run without an answer
REASON = 300  # characters of why


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is about to be carried out.

    after: the run that it follows, empty where it follows none; earlier: what was said in that one and those before
    it, and there: the files that they leave it. record, history: of its workspace. resumed: what to say first of a run
    that goes on, at most one event. seconds: for which it was carried out before. spent: the replies that used its
    budget up: it gets that once more. written: how it began, of a run that goes on. engine: takes the place of the
    agent's. notices: what the user should know of the start. folder: what it works on a copy of; tree: the copy;
    project: what that tells agents; outline: what the model is told of it. session: that of the first run that it
    follows, with whose text its own begins; empty where it follows none. command: the check of a run without a folder.
    """

    run: str
    task: str
    files: tuple[Given, ...]
    recorder: Recorder
    after: str = ""
    earlier: tuple[Message, ...] = ()
    there: tuple[Given, ...] = ()
    record: Record | None = None
    history: Callable[..., Restored | None] | None = None
    resumed: tuple[RunResumed, ...] = ()
    seconds: float = 0.0
    spent: tuple[TurnFinished, ...] = ()
    written: RunStarted | None = None
    engine: Engine | None = None
    notices: tuple[str, ...] = ()
    folder: Tree | None = None
    tree: KeptTree | None = None
    project: Project | None = None
    outline: str = ""
    command: str = ""
    session: str = ""

    @property
    def check(self) -> Check | None:
        """The command that proves the work."""
        if self.folder and self.folder.test:
            return Check(self.folder.test, self.folder.protect)
        return Check(self.command, protect=()) if self.command else None

    @property
    def texts(self) -> dict[str, str]:
        """The files of a small project, which the model is shown, but for those that tell agents something: they may
        not be trusted. Not of a run that follows another one: what that has changed is not in the folder."""
        texts = self.tree.texts if self.tree and not self.after else {}
        return {path: text for path, text in texts.items() if not tells_agents(path)}

    @property
    def asked(self) -> User:
        """The task as the model is told it."""
        return User(_asked(self.task, self.files, self.outline))


@contextmanager
def begin(
    journal: Journal | None,
    task: str,
    files: tuple[Path, ...],
    after: str = "",
    history: tuple[Message, ...] = (),
    notices: tuple[str, ...] = (),
    tree: Taken | None = None,
    check: str = "",
) -> Iterator[Start]:
    """A new run. after: one in the journal that came to an end; the new one goes on from there. history: what was said
    before, where the journal does not know. tree: what it gets of a folder of the user's. check: the command that
    proves the work of one that gets none."""
    run, given = new_id(), tuple(Given(path.name, path) for path in files)
    if journal is None:
        yield Start(run, task, given, Recorder(), earlier=history, notices=notices, command=check)
        return
    if tree and (both := {path.name for path in files} & {entry.path for entry in tree.selection.files}):
        raise ConfigurationError(
            f"the folder has a file {min(both)!r} of its own; rename the one that is given beside it"
        )
    earlier, there = _left(journal, after)
    earlier = history or earlier
    with journal.hold(run):
        recorder = Recorder(journal.writer(run, files))
        kept, restored = KeptWorkspace(journal, run), partial(_restored, journal, run, after, given)
        names = frozenset(file.name for file in (*there, *given))
        session = _first(journal, after)
        start = Start(run, task, given, recorder, after, earlier, there, kept, restored, session=session, command=check)
        if tree:
            copy = KeptTree(journal, run, tree.selection, names)
            start = _on_folder(start, tree.tree, copy)
            told = "\n\n".join(filter(None, [_outline(earlier, copy.paths()), whole(start.texts)]))
            start = replace(start, notices=(*tree.notices, *start.notices), outline=told)
        yield start


@contextmanager
def resumed(journal: Journal, name: str, engine: Engine) -> Iterator[Start]:
    """A run that was stopped, killed, or failed; one that was answered is only replayed. Raises JournalError."""
    run = journal.find(name)
    with journal.hold(run):
        written = journal.read(run)
        if written.finished and written.finished.result.exit is Exit.ANSWERED:
            yield _replay(journal, written, engine)
            return
        turns = sum(isinstance(event, TurnFinished) for event in written.events)
        given, after = _given(written), written.started.after
        earlier, there = _left(journal, after)
        start = Start(
            run,
            written.started.task,
            given,
            Recorder(journal.writer(run), written.events),
            after,
            _history(written.started) or earlier,
            there,
            KeptWorkspace(journal, run),
            partial(_restored, journal, run, after, given),
            (RunResumed(run, turns, written.seconds),),
            written.seconds,
            written.spent,
            written.started,
            outline=written.started.outline,
            command=written.started.check,
            session=_first(journal, after),
        )
        folder, copy = written.started.tree, _tree(journal, written.started, there)
        yield replace(_on_folder(start, folder, copy), notices=()) if folder and copy else start


@contextmanager
def replayed(journal: Journal, name: str, engine: Engine) -> Iterator[Start]:
    """A run out of the journal: nothing is asked, run or written. engine: may know the profile, if it is its own."""
    yield _replay(journal, journal.read(journal.find(name)), engine)


def lost_files(written: Written) -> tuple[str, ...]:
    """What the user should know of files that the journal lost; nothing where it lost none."""
    names = ", ".join(written.lost)
    return (f"the journal does not hold the contents of {names} any more",) if names else ()


def _replay(journal: Journal, written: Written, engine: Engine) -> Start:
    past = (*written.events, written.finished) if written.finished else written.events
    recorder = Recorder(None, past, replaying=True)
    started = written.started
    silent = ScriptedModel((), profile=_profile(engine, started.profile), model=started.model)
    earlier, there = _left(journal, started.after, replaying=True)
    given, before = _given(written, replaying=True), (started.after, _history(started) or earlier, there)
    lost, check = lost_files(written), started.check
    begun = (started.run, started.task, given, recorder, *before)
    return Start(*begun, written=started, engine=silent, notices=lost, command=check)


def _history(started: RunStarted) -> tuple[Message, ...]:
    return tuple(map(from_dict, started.history))


def _profile(engine: Engine, name: str) -> Profile:
    with suppress(ConfigurationError):  # it was never connected
        if engine.profile.name == name:
            return engine.profile
    return find_profile(name)


def _given(written: Written, *, replaying: bool = False) -> tuple[Given, ...]:
    """The user's files as they were when the run began, whatever became of them since. JournalBroken where one was
    lost; to a replay it is empty, as nothing there reads it."""
    if written.lost and not replaying:
        [told] = lost_files(written)
        raise JournalBroken(f"{told}, which run {written.started.run} needs to go on; start the task anew")
    return tuple(Given(name, written.inputs.get(name, b"")) for name in written.started.files)


def _on_folder(start: Start, folder: Tree, copy: KeptTree) -> Start:
    """A run on a copy of a folder, with what the project tells agents; nothing where it is gone meanwhile."""
    start = replace(start, folder=folder, tree=copy)
    if not Path(folder.root).is_dir():
        return start
    project = trusted_project(folder, copy.paths())
    return replace(start, project=project, notices=project.notices)


def _tree(journal: Journal, started: RunStarted, there: tuple[Given, ...]) -> KeptTree | None:
    """The tree of a run that goes on: as it was taken, or taken now where the run ended before that was done."""
    if started.tree is None:
        return None
    selection = None if is_kept(journal, started.run) else select(started.tree)
    names = frozenset([*(file.name for file in there), *started.files])
    return KeptTree(journal, started.run, selection, names)


def _asked(task: str, files: tuple[Given, ...], *told: str) -> str:
    """A task as the model is told it."""
    return "\n\n".join(filter(None, [task, f"Files:\n{described(files)}" if files else "", *told]))


def _outline(earlier: tuple[Message, ...], paths: Sequence[str]) -> str:
    """What a folder holds; nothing where that is what was said of it last."""
    told = outline(paths)
    head = told.partition("(")[0]
    last = next((m.content for m in reversed(earlier) if isinstance(m, User) and head in m.content), "")
    return "" if told in last else told


def _told_with(written: Written) -> Iterator[str]:
    """What the model was told with the task of a run on a folder, word for word: the server's cache knows it so."""
    yield written.started.outline
    yield from (told_before(e) for e in written.events if isinstance(e, CheckFinished) and e.number == 0)


def _left(journal: Journal, run: str, *, replaying: bool = False) -> tuple[tuple[Message, ...], tuple[Given, ...]]:
    """What a run and those before it leave to one that follows: what was said, and the files.

    Raises ConfigurationError where it was ended in the middle, RunUnknown.
    """
    if not run:
        return (), ()
    written = journal.read(run, workspace=not journal.started(run).tree)
    if written.finished is None:
        raise ConfigurationError(
            f"run {run} did not come to an end that a task could follow; go on with it: fastslow resume {run}"
        )
    earlier, there = _left(journal, written.started.after, replaying=replaying)
    earlier = _history(written.started) or earlier
    given = _given(written, replaying=replaying)
    first = User(_asked(written.started.task, given, *_told_with(written)))
    said = (*earlier, first, *_said(written.events), _last_words(written.finished.result))
    if written.workspace is None or written.started.tree:
        return said, tuple({file.name: file for file in (*there, *given)}.values())
    return said, tuple(Given(path, content) for path, content in written.workspace.items() if content is not None)


def _first(journal: Journal, run: str) -> str:
    """The first of the runs of which one follows the other."""
    while run and (before := journal.started(run).after):
        run = before
    return run


def shorter(journal: Journal, run: str) -> tuple[Message, ...]:
    """What a run and those before it said, in about half the room."""
    earlier, _ = _left(journal, run)
    room = sum(map(size, earlier))
    return tuple(
        ToolResult(m.call_id, m.name, m.content, m.ok) if isinstance(m, ToolResult) else m
        for m in compact(earlier, room // 2, room)
    )


def _last_words(result: Result) -> Assistant:
    """How a run ended, as what the model said last."""
    reason = clip(result.reason.partition("\n")[0], REASON).rstrip(".")
    ended = "" if result.exit is Exit.ANSWERED else UNANSWERED.format(reason)
    return Assistant("\n\n".join(filter(None, [result.answer, ended])))


def _said(events: tuple[Event, ...]) -> Iterator[Message]:
    """The calls of a run's trunk and their results. Hints that were added on the way are left out."""
    results = {e.call_id: e for e in events if isinstance(e, CallFinished) and not e.branch and not e.parent}
    for event in events:
        if isinstance(event, TurnFinished) and not event.branch:
            calls = [call for call in event.reply.calls if call.id in results and call.name != ANSWER]
            if calls := [call for call in calls if call.name == PLAN.name][:1] or calls:
                yield Assistant(event.reply.content, tuple(calls), event.reply.reasoning)
                for call in calls:
                    result = results[call.id]
                    yield ToolResult(call.id, call.name, result.content, result.ok)


def _restored(
    journal: Journal, run: str, after: str, given: tuple[Given, ...], *, warm: bool = False
) -> Restored | None:
    """What a new session needs to stand where the last one stood, of this run or of that before it; None where nothing
    ran in any. given: the user's files of this run. warm: it is the last one's, with its variables."""
    before = None
    if warm and after and is_kept(journal, run) and has_changes(journal, after):
        told = carried(journal, after, run)
        before = Restored(told.files, told.kept, None, conflicts=tuple(told.conflicts))
    elif after:
        left = journal.read(after)
        before = _restored(journal, after, left.started.after, _given(left))
        if before and is_kept(journal, run) and is_kept(journal, after):
            told = carried(journal, after, run)
            before = replace(before, files=told.files, kept=told.kept, conflicts=tuple(told.conflicts))
    if before:
        new = {file.name: file.head(file.size) for file in given}
        kept = {path: kept for path, kept in before.kept.items() if path not in new}
        before = replace(before, files=ChainMap(new, before.files), kept=kept)  # type: ignore[arg-type]  # only read
    try:
        written = journal.read(run)
    except RunUnknown:  # it is about to begin
        return before
    if written.workspace is None or (before and not has_changes(journal, run)):
        return before
    begun = {(e.branch, e.call.id): e for e in written.events if isinstance(e, CallStarted) and not e.parent}
    ends = [e for e in written.events if isinstance(e, CallFinished) and not e.parent and e.name == "python"]
    cells = [
        (unfenced_python(str(begun[end.branch, end.call_id].arguments.get("code", ""))), end.ok and not end.exit_code)
        for end in ends
        if end.status in ("ok", "error") and end.variables == "kept"  # what was stopped would take as long again
    ]
    called = any(isinstance(e, CallStarted) and e.parent for e in written.events)
    alone = not called and not written.started.settings.get("allow")
    earlier = before.cells if before else ()
    again = earlier is not None and (alone or not cells)
    commands = any(isinstance(e, CallFinished) and e.name == "shell" for e in written.events)
    return Restored(
        written.workspace,
        written.workspace.kept,
        (*(earlier or ()), *cells) if again else None,
        written.stopped,
        commands or bool(before and before.commands),
    )
