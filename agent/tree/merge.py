"""Two changes of one file made one, or told to be in each other's way."""

from __future__ import annotations

from collections.abc import Sequence

from merge3 import Merge3

from fastslow.agent.tree.lines import matching, split_lines


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes by lines; None where they are in each other's way, or where what both changed is no text."""
    if ours in (base, theirs):
        return theirs
    if theirs == base:
        return ours
    if b"\0" in base or b"\0" in ours or b"\0" in theirs:
        return None
    merged: list[bytes] = []
    merging = Merge3(split_lines(base), split_lines(ours), split_lines(theirs), sequence_matcher=_Matcher)
    for kind, lines, *_ in merging.merge_groups():
        if kind == "conflict":
            return None
        merged += lines
    if any(not line.endswith(b"\n") for line in merged[:-1]):
        return None  # a last line, and something behind it
    return b"".join(merged)


def merge_mode(base: str, ours: str, theirs: str) -> str:
    """Of a file, whether it is a program: there is no third thing that both could have changed it to."""
    return theirs if ours == base else ours


class _Matcher:
    """In the place of difflib's, which takes hours for what somebody made to take hours."""

    def __init__(
        self, isjunk: None = None, a: Sequence[bytes] = (), b: Sequence[bytes] = (), autojunk: bool = True
    ) -> None:
        self._a, self._b = a, b

    def get_matching_blocks(self) -> list[tuple[int, int, int]]:
        return [*matching(self._a, self._b), (len(self._a), len(self._b), 0)]
