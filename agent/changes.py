"""What a run changed in its copy of the user's folder: looked at, applied and taken back when the user says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastslow.agent.tree.changes import Change
from fastslow.agent.tree.patch import Stat, patch, stat


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
        from fastslow.agent.record import changed

        with changed.opened(self) as kept:
            return patch(changed.chosen(self.changes, paths), kept.content)

    def stat(self) -> Stat:
        """Lines that were added and removed, by file."""
        from fastslow.agent.record import changed

        with changed.opened(self) as kept:
            return stat(self.changes, kept.content)
