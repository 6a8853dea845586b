"""What a run changed, as one call of an editor that asks whether it may be applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from acp.schema import ToolCallLocation, ToolCallStart

from fastslow.agent.changes import ChangeSet
from fastslow.agent.record.journal import Journal
from fastslow.agent.surfaces.acp.parts import Content, content, diff, one_line
from fastslow.agent.surfaces.acp.sessions import text_of
from fastslow.agent.tree.changes import LINK, Change, Version

FILES = 200  # that are shown one by one
CHARACTERS = 8_000_000  # of all diffs together; a frame may have 50 MB


def offered(changes: ChangeSet, root: str) -> ToolCallStart:
    """A call that has every change as a diff, in a thread. root: the project, as the editor names it."""
    count = len(changes)
    with closing(Journal(changes.journal)) as journal:
        shown = list(_shown(journal, changes, root))
    return ToolCallStart(
        session_update="tool_call",
        tool_call_id=f"{changes.run}:apply",
        title=f"Apply {count} file{'s' if count > 1 else ''}",
        kind="edit",
        status="pending",
        content=shown,
        locations=[ToolCallLocation(path=f"{root}/{change.path}") for change in changes.changes[:FILES]],
    )


def _shown(journal: Journal, changes: ChangeSet, root: str) -> Iterator[Content]:
    room = CHARACTERS
    for number, change in enumerate(changes):
        if number == FILES or room <= 0:
            yield content(f"… and {len(changes) - number} more files: `fastslow diff {changes.run}` shows them")
            return
        before, after = _text(journal, change.before), _text(journal, change.after)
        if change.kind == "mode" or (change.before and before is None) or (change.after and after is None):
            yield content(f"{one_line(change.path, 500)}: {_told(change)}")
            continue
        room -= len(before or "") + len(after or "")
        yield diff(f"{root}/{change.path}", before, after or "")


def _text(journal: Journal, version: Version | None) -> str | None:
    return text_of(journal.content(version.digest)) if version and version.mode != LINK else None


def _told(change: Change) -> str:
    """A change that is no diff of texts."""
    if change.kind == "mode":
        return f"mode {change.before.mode if change.before else ''} becomes {change.after.mode if change.after else ''}"
    size = f"{change.after.size:,} bytes" if change.after else "it is gone"
    what = "a link" if LINK in {one.mode for one in (change.before, change.after) if one} else "no text"
    return f"{change.kind}, {what}, {size}"
