"""`fastslow diff`, `apply` and `undo`: what a run changed in its copy of a project."""

from __future__ import annotations

import json
import sys

from fastslow import Journal
from fastslow.agent.changes import ChangeSet
from fastslow.agent.record.changed import changes_of


def diff(run: str, paths: tuple[str, ...], *, as_json: bool) -> None:
    """Print the patch, byte by byte; or a row for each file."""
    changes = _changes(run)
    if as_json:
        rows = [
            {"path": file.path, "kind": file.kind, "added": file.added, "removed": file.removed}
            for file in changes.stat().files
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(changes.diff(paths))
    sys.stdout.buffer.flush()


def _changes(run: str) -> ChangeSet:
    journal = Journal()
    try:
        return changes_of(journal, journal.find(run))
    finally:
        journal.close()
