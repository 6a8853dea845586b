"""The workspace of a run in the journal."""

from __future__ import annotations

from collections.abc import Mapping

from fastslow.agent.record.journal import Journal


class KeptWorkspace:
    """Writes the workspace of one run down, call by call. See `fastslow.agent.workspace.Record`."""

    def __init__(self, journal: Journal, run: str) -> None:
        self._journal = journal
        self._run = run

    def save(self, files: Mapping[str, str | None], changed: Mapping[str, bytes]) -> None:
        self._journal.save(self._run, files, changed)

    def versions(self, path: str) -> set[str]:
        query = "SELECT DISTINCT digest FROM files WHERE run = ? AND number > 0 AND path = ? AND digest IS NOT NULL"
        return {digest for [digest] in self._journal.rows(query, self._run, path)}
