"""What a run changed in its copy of the user's folder, out of the journal."""

from __future__ import annotations

import re
from dataclasses import replace

from fastslow.agent.changes import ChangeSet
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.events import RunStarted
from fastslow.agent.record.carry import carried
from fastslow.agent.record.contents import Kept, given, latest
from fastslow.agent.record.journal import Journal
from fastslow.agent.record.trees import base
from fastslow.agent.tree.changes import Version, compare
from fastslow.agent.tree.select import rules_of

OURS = re.compile(r"(output/(stdout|stderr|result)-[0-9a-f]+\.txt|\.skills/.*)")  # whole outputs, and what skills hold
_SIZE = (
    "SELECT sum(CASE typeof(content) WHEN 'integer' THEN content ELSE length(content) END) "
    "FROM contents WHERE digest = ?"
)


def changes_of(journal: Journal, run: str) -> ChangeSet:
    """The changes of a run: as they were told at its end, or else as they are now. What a rule of the user's ignores by
    then is none. ConfigurationError for a run that got no folder, RunUnknown."""
    started = journal.started(run)
    if started.tree is None:
        raise ConfigurationError(
            f"run {run} got no folder, so there are no changes; see what it made: fastslow show {run}"
        )
    if (last := journal.finished(run)) and last.result.changes is not None:
        return replace(last.result.changes, journal=str(journal.path))
    extras = frozenset(_extras(journal, started))
    before = base(journal, run, extras)
    after = {path: kept for path, kept in latest(journal.rows, run).items() if path not in extras}
    lost = {path for path, kept in after.items() if kept.digest is None}
    differing = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} - lost
    for path, kept in _contested(journal, started, differing).items():
        before.pop(path, None)
        if kept:
            before[path] = kept
    rules = rules_of(started.tree.root)
    changes = compare(
        _versions(journal, before, differing),
        _versions(journal, after, differing),
        lambda path: OURS.fullmatch(path) is not None or rules.ignores(path),
    )
    return ChangeSet(run, str(started.tree.root), str(journal.path), changes)


def _contested(journal: Journal, started: RunStarted, paths: set[str]) -> dict[str, Kept | None]:
    """Of some files those that the user changed between two runs in another way than the runs did, as they were before
    both: compared with that, the runs' change is in conflict with the user's, and does not go over it."""
    if not (started.after and paths):
        return {}
    last = journal.started(started.after)
    if last.tree is None:
        return {}
    old, theirs, ours = given(journal.rows, last.run), latest(journal.rows, last.run), given(journal.rows, started.run)
    told = carried(journal, last.run, started.run, paths)
    now = {path for path in told.conflicts if told.kept.get(path) != ours.get(path)}
    found = {
        path: kept
        for path, kept in _contested(journal, last, paths).items()
        if path in now or (ours.get(path) == old.get(path) != theirs.get(path))
    }
    return {path: old.get(path) for path in now} | found


def _extras(journal: Journal, started: RunStarted) -> list[str]:
    """Names of files that were given beside the folder, to this run or to those that it follows."""
    names = list(started.files)
    while started.after:
        started = journal.started(started.after)
        names += started.files
    return names


def _versions(journal: Journal, files: dict[str, Kept], paths: set[str]) -> dict[str, Version]:
    """Of some files."""
    found = {}
    for path in paths & files.keys():
        digest = files[path].digest or ""
        [[size]] = journal.rows(_SIZE, digest)
        found[path] = Version(digest, size or 0, files[path].mode)
    return found
