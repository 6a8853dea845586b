"""What a run changed in its copy of the user's folder: looked at, applied and taken back when the user says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastslow.agent.tree.changes import Change
from fastslow.agent.tree.patch import Stat, patch, stat

if TYPE_CHECKING:
    from fastslow.agent.record.journal import Journal


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The changes of a run, sorted by path. Nothing of the user's is touched before `apply`.

    root: the folder that the run got a copy of. journal: the file that holds the contents.
    """

    run: str
    root: str
    journal: str
    changes: tuple[Change, ...] = ()

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def diff(self, paths: Iterable[str] = ()) -> bytes:
        """The patch, as `git apply` takes it. paths: of these files and folders only."""
        with closing(self._journal()) as journal:
            return patch(self.changes, journal.content)

    def stat(self) -> Stat:
        """Lines that were added and removed, by file."""
        with closing(self._journal()) as journal:
            return stat(self.changes, journal.content)

    def _journal(self) -> Journal:
        from fastslow.agent.record.journal import Journal

        return Journal(self.journal)
