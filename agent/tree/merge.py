"""Two changes of one file made one, or told to be in each other's way.

Between the lines that all three texts have, each part that one side alone changed is taken from that side: the method
of diff3 (Khanna, Kunal and Pierce 2007, https://doi.org/10.1007/978-3-540-77050-3_40).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastslow.agent.tree.lines import matching, split_lines

Part = tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]
"""Lines of the base, of ours and of theirs, between lines that all three have."""


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes by lines; None where they are in each other's way, or where what both changed is no text."""
    if ours in (base, theirs):
        return theirs
    if theirs == base:
        return ours
    if b"\0" in base or b"\0" in ours or b"\0" in theirs:
        return None
    merged: list[bytes] = []
    for old, one, other in _parts(split_lines(base), split_lines(ours), split_lines(theirs)):
        if one not in (old, other) and other != old:
            return None
        merged += other if one == old else one
    if any(not line.endswith(b"\n") for line in merged[:-1]):
        return None  # a last line, and something behind it
    return b"".join(merged)


def merge_mode(base: str, ours: str, theirs: str) -> str:
    """Of a file, whether it is a program: there is no third thing that both could have changed it to."""
    return theirs if ours == base else ours


def _parts(base: Sequence[bytes], ours: Sequence[bytes], theirs: Sequence[bytes]) -> Iterator[Part]:
    """All lines in their order: those that all three have, one by one, and what lies between them."""
    in_ours, in_theirs = _places(base, ours), _places(base, theirs)
    i = j = k = 0
    for at in sorted(in_ours.keys() & in_theirs.keys()):
        yield base[i:at], ours[j : in_ours[at]], theirs[k : in_theirs[at]]
        i, j, k = at + 1, in_ours[at] + 1, in_theirs[at] + 1
        yield base[at:i], ours[j - 1 : j], theirs[k - 1 : k]
    yield base[i:], ours[j:], theirs[k:]


def _places(base: Sequence[bytes], other: Sequence[bytes]) -> dict[int, int]:
    """Where lines of the base stand in the other text."""
    return {i + n: j + n for i, j, count in matching(base, other) for n in range(count)}
