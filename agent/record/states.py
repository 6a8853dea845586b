"""What a workspace needs of whoever writes its states down, and what comes back from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastslow.agent.record.contents import Kept
from fastslow.sandbox import TreeFile


class Arriving(Protocol):
    """A content on its way into a record."""

    def write(self, data: bytes) -> None: ...

    async def keep(self) -> str:
        """Its digest, once it is there."""

    def close(self) -> None: ...


class Record(Protocol):
    """Where the workspace of a run is written down."""

    def content(self) -> Arriving:
        """Room for a new content."""

    def holds(self, digest: str) -> bool:
        """Whether a content is there. Digests that the sandbox told are not asked for: it would get at others' so."""

    def save(self, files: Mapping[str, Kept], removed: tuple[str, ...], *, whole: bool) -> None:
        """files: those that changed, by path. whole: all of them."""

    def stop(self) -> None:
        """Later changes are not written down."""

    def versions(self, path: str) -> set[str]:
        """The digests that a file had, as the run left it at any time."""


class TreeSource(Protocol):
    """The user's folder on its way into a workspace, the same each time that it is asked for. unread: paths of what
    could not be read."""

    unread: list[str]

    def files(self) -> Iterator[TreeFile]:
        """All of its files. Runs in a thread."""

    def keep(self) -> None:
        """Write them down, where the workspace has most of them already. Runs in a thread."""

    def base(self) -> dict[str, Kept]:
        """What they are, once all were taken."""

    def content(self, path: str) -> bytes | None:
        """One of them, then."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a workspace starts with when its run goes on.

    files: contents by path, None for one that was too large to keep. kept: their digests and modes. stopped: later
    changes were not written down. cells: the code that ran in the interpreter, in order, and whether it succeeded; None
    where it must not run again. commands: whether commands ran besides, which are not run again. conflicts: files that
    the user changed meanwhile as well, in a way that does not go together with what was done here.
    """

    files: Mapping[str, bytes | None]
    kept: Mapping[str, Kept]
    cells: tuple[tuple[str, bool], ...] | None
    stopped: bool = False
    commands: bool = False
    conflicts: tuple[str, ...] = ()
