"""The part of a text that is most like a text which is not in it, and how the two differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

from fastslow.tools.builtin.text import common, cut, numbered

CLUES = 48  # lines and words of a text, each, that are looked for
FOUND = 50  # places of one clue
TRIED = 30  # regions that are compared
SHOWN = 30  # lines of a region
BEHIND = 2  # lines shown behind it
COMPARED = 200  # characters of a line
LIKE = 0.6  # lines that must be the same, at least, one that is but half the same counting half
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Region:
    """Lines of a text from an index on. same: how many are as they should be. lead: how many from the first on."""

    start: int
    same: float
    lead: int


def difference(text: str, lines: Sequence[str], wanted: Sequence[str]) -> str:
    """What the lines of a text that are most like those wanted are, and where they differ first, for the model."""
    wanted = _trimmed(wanted)
    region = nearest(text, lines, wanted)
    if region is None and len(lines) <= SHOWN:
        return f"Nothing in the file is like it. This is all of it:\n{around(lines, 0, len(lines), 0)}"
    if region is None:
        return (
            f"Nothing in the file is like it (lines: {len(lines):,}). Find the place with search or read_file, and "
            "copy the lines from there."
        )
    start, end = region.start, min(region.start + len(wanted), len(lines))
    at = _first_difference(lines[start:end], wanted)
    first = start if end - start <= SHOWN else max(start, min(start + at - SHOWN // 2, end - SHOWN))
    shown = around(lines, first, min(end, first + SHOWN) + BEHIND, 0)
    said = [f"What is most like it begins at line {start + 1}:", shown]
    theirs = lines[start + at] if start + at < len(lines) else None
    if theirs is None:
        said.append(f"The file ends before line {at + 1} of your old_text: {_quoted(wanted[at], '')}")
    elif at < len(wanted):
        said += _told(start + at + 1, wanted[at].removesuffix("\r"), theirs.removesuffix("\r"))
    said.append("Copy old_text from the file exactly, with its white space and without line numbers.")
    return "\n".join(said)


def nearest(text: str, lines: Sequence[str], wanted: Sequence[str]) -> Region | None:
    """The region that has most lines in common with those wanted; None where there is none that is like them.

    In time that grows with the text alone: some lines and words are looked for in it as a whole, and say where it could
    be; only those regions are compared line by line.
    """
    found = [(place, index) for index, clue in _clues(wanted) for place in islice(places(text, clue), FOUND)]
    votes: Counter[int] = Counter()
    line = position = 0
    for place, index in sorted(found):
        line += text.count("\n", position, place)
        position = place
        votes[max(line - index, 0)] += 1
    regions = [_compared(lines, wanted, start) for start, _ in votes.most_common(TRIED)]
    best = max(regions, key=lambda region: region.same, default=None)
    if best is None or best.same < max(LIKE, len(wanted) / 8):
        return None
    if not best.lead:  # a line too many or too few moves what is behind it
        led = [one for one in regions if one.lead and abs(one.start - best.start) <= len(wanted) and one.same >= LIKE]
        best = max(led, key=lambda region: region.lead, default=best)
    return best


def places(text: str, part: str) -> Iterator[int]:
    """Where a part stands in a text, also where one overlaps the next."""
    position = text.find(part)
    while position >= 0:
        yield position
        position = text.find(part, position + 1)


def around(lines: Sequence[str], first: int, end: int, context: int) -> str:
    """The lines from one index to before another with some around them, numbered."""
    first, end = max(first - context, 0), min(end + context, len(lines))
    return numbered([cut(line, COMPARED) for line in lines[first:end]], first + 1)


def _trimmed(wanted: Sequence[str]) -> Sequence[str]:
    """Without empty lines at the ends."""
    filled = [index for index, line in enumerate(wanted) if line.strip()]
    return wanted[filled[0] : filled[-1] + 1] if filled else wanted[:1]


def _clues(wanted: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Lines and words to look for, with the index of their line: those that stand once in what is wanted, long ones."""
    lines = [(index, line.strip()[:COMPARED]) for index, line in enumerate(wanted)]
    words = [(index, word) for index, line in lines for word in _WORD.findall(line)]
    for clues in (lines, words):
        count = Counter(clue for _, clue in clues)
        once = [(index, clue) for index, clue in clues if clue and count[clue] == 1]
        yield from sorted(once or clues[:1], key=lambda clue: -len(clue[1]))[:CLUES]


def _compared(lines: Sequence[str], wanted: Sequence[str], start: int) -> Region:
    same, lead, unequal = 0.0, 0, False
    for there, here in zip(lines[start : start + len(wanted)], wanted, strict=False):
        if there.strip() == here.strip():
            same += 1 if here.strip() else 0.1
            lead += not unequal
        elif not unequal:
            unequal = True
            same += SequenceMatcher(None, there.strip()[:COMPARED], here.strip()[:COMPARED], autojunk=False).ratio()
    return Region(start, same, lead)


def _first_difference(found: Sequence[str], wanted: Sequence[str]) -> int:
    """The index of the first line with other words; where there is none, of the first with other white space."""
    for key in (str.split, str.rstrip):
        for index, line in enumerate(wanted):
            if index >= len(found) or key(found[index]) != key(line):
                return index
    return 0


def _told(number: int, wanted: str, found: str) -> list[str]:
    """A line that differs, as it was expected and as it is."""
    head, blanks = f"They differ first at line {number}:", wanted.split() == found.split()
    if blanks:
        head = f"Only white space differs, first at line {number} (here · is a space, → a tab):"
        wanted, found = (line.replace(" ", "·").replace("\t", "→") for line in (wanted, found))
    same = common([wanted, found])
    return [head, f"  your old_text: {_quoted(wanted, same)}", f"  the file:      {_quoted(found, same)}"]


def _quoted(line: str, same: str) -> str:
    """A line, from near to where it differs if that is far inside."""
    hidden = max(len(same) - COMPARED // 2, 0)
    return ("…" if hidden else "") + cut(line[hidden:], COMPARED) or "(an empty line)"
