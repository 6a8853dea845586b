"""What a run changed in a folder: two states of it compared, as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

FILE, PROGRAM, LINK = "100644", "100755", "120000"
Kind: TypeAlias = Literal["added", "modified", "deleted", "mode"]


@dataclass(frozen=True, slots=True)
class Version:
    """A file at one time. digest: SHA-256 of its content, of a link's of its target. mode: as Git writes it."""

    digest: str
    size: int
    mode: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a file. before, after: None where there was, or is, none."""

    path: str
    before: Version | None
    after: Version | None

    @property
    def kind(self) -> Kind:
        """`mode`: of the same content, only whether it is a program."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "deleted"
        only_mode = self.before.digest == self.after.digest and LINK not in (self.before.mode, self.after.mode)
        return "mode" if only_mode else "modified"


def digest_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def compare(
    before: Mapping[str, Version], after: Mapping[str, Version], ignores: Callable[[str], bool]
) -> tuple[Change, ...]:
    """What changed, by path. ignores: of new files, which count for nothing."""
    return tuple(
        Change(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if not _same(before.get(path), after.get(path)) and (path in before or not ignores(path))
    )


def renames(changes: Sequence[Change]) -> Mapping[str, str]:
    """The old path of each new file that a deleted one became, unchanged but perhaps for its mode; each used once.

    Of several that are alike, one of the same name in another folder goes first, then in the order of the paths.
    """
    deleted: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for change in changes:
        if change.before and not change.after and change.before.size:  # all empty files are alike
            deleted[change.before.digest, change.before.mode == LINK].append(change.path)
    if not deleted:
        return {}
    added = [(change.path, change.after) for change in changes if change.after and not change.before]
    found: dict[str, str] = {}
    for same_name in (True, False):
        for path, version in added:
            olds = deleted.get((version.digest, version.mode == LINK), [])
            fit = [old for old in olds if not same_name or PurePosixPath(old).name == PurePosixPath(path).name]
            if fit and path not in found:
                found[path] = fit[0]
                olds.remove(fit[0])
    return found


def _same(one: Version | None, other: Version | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.digest == other.digest and one.mode == other.mode
