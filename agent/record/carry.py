"""What a run changed in a copy of the user's folder, carried over to the copy that a later run begins with."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from fastslow.agent.record.contents import Contents, Kept, given, left, read_content
from fastslow.agent.record.journal import Journal
from fastslow.agent.tree.merge import merge

LINK = "120000"


@dataclass(slots=True)
class Carried:
    """The files of a workspace that goes on: contents by path, and what is known of each.

    conflicts: files that the run and the user changed in a way that does not go together; they are as the run has them,
    but for those that it removed, or that have no place beside a file of the user's.
    """

    files: Mapping[str, bytes | None]
    kept: Mapping[str, Kept]
    conflicts: list[str] = field(default_factory=list)


def carried(journal: Journal, after: str, run: str, paths: Iterable[str] | None = None) -> Carried:
    """The workspace in which `run` follows `after`: the user's folder as it is now, with what was changed before.

    paths: what was changed in these files alone.
    """
    old, now = given(journal.rows, after), given(journal.rows, run)
    state = left(journal.rows, after, old)
    merged: dict[str, bytes | None] = {}
    kept = dict(now)
    told = Carried(ChainMap(merged, Contents(journal.rows, kept)), kept)  # type: ignore[arg-type]  # nobody writes to it
    for path in sorted(old.keys() | state.keys() if paths is None else paths):
        before, theirs, ours = old.get(path), state.get(path), now.get(path)
        if theirs in (before, ours):
            continue
        if ours == before or ours is None:
            if ours != before:
                told.conflicts.append(path)
            if theirs:
                kept[path] = theirs
            else:
                kept.pop(path, None)
        elif theirs is None:
            told.conflicts.append(path)  # what the user wrote meanwhile stays
        elif both := _both(journal, before, theirs, ours):
            kept[path] = Kept(sha256(both).hexdigest(), theirs.mode)
            merged[path] = both
        else:
            told.conflicts.append(path)
            kept[path] = theirs
    for path in _without_place(kept, now):
        del kept[path]
        told.conflicts.append(path)
    return told


def _without_place(kept: Mapping[str, Kept], now: Mapping[str, Kept]) -> set[str]:
    """Files of the run's where the user has a folder by now, or below a path where the user has a file."""
    found = set[str]()
    for path in kept:
        folder = path
        while folder := folder.rpartition("/")[0]:
            if folder in kept:
                found.add(path if folder in now else folder)
    return found


def _both(journal: Journal, before: Kept | None, theirs: Kept, ours: Kept) -> bytes | None:
    """A text with the changes of both; None where they do not go together."""
    if before is None or LINK in (before.mode, theirs.mode, ours.mode):
        return None
    contents = [read_content(journal.rows, one.digest) if one.digest else None for one in (before, ours, theirs)]
    if None in contents:
        return None
    return merge(*contents)  # type: ignore[arg-type]  # none of them is None
