"""Which lines of two texts are the same: fast on any text, where difflib takes the square of its length.

First what is alike at both ends, then the lines that each text has once (patience, as of `git diff --patience`), then
between those the fewest changes (Myers 1986, https://doi.org/10.1007/BF01840446) as long as they are few. What is
then left counts as replaced: a longer answer, and still a right one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

Block = tuple[int, int, int]
"""Where equal lines begin in the one and in the other text, and how many they are."""

MOST_CHANGES = 200  # of one part
MOST_STEPS = 2_000_000  # over all parts: a second or two
DEEPEST = 12  # times that a part is parted at lines that it has once


def split_lines(text: bytes) -> list[bytes]:
    """With their line feeds. A carriage return is a character like others."""
    lines = text.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def matching(a: Sequence[bytes], b: Sequence[bytes]) -> list[Block]:
    """In the order of both texts."""
    numbers: dict[bytes, int] = {}
    one = [numbers.setdefault(line, len(numbers)) for line in a]
    other = [numbers.setdefault(line, len(numbers)) for line in b]
    found: list[Block] = []
    waiting = [(0, len(a), 0, len(b), 0)]
    steps = MOST_STEPS
    while waiting:
        a0, a1, b0, b1, depth = waiting.pop()
        start_a, start_b = a0, b0
        while a0 < a1 and b0 < b1 and one[a0] == other[b0]:
            a0, b0 = a0 + 1, b0 + 1
        if a0 > start_a:
            found.append((start_a, start_b, a0 - start_a))
        end_a = a1
        while a0 < a1 and b0 < b1 and one[a1 - 1] == other[b1 - 1]:
            a1, b1 = a1 - 1, b1 - 1
        if end_a > a1:
            found.append((a1, b1, end_a - a1))
        if a0 == a1 or b0 == b1:
            continue
        anchors = _unique(one, other, a0, a1, b0, b1) if depth < DEEPEST else []
        if not anchors:
            blocks, steps = _myers(one, other, a0, a1, b0, b1, steps)
            found += blocks
            continue
        for i, j in [*anchors, (a1, b1)]:
            waiting.append((a0, i, b0, j, depth + 1))
            a0, b0 = i, j
    return _joined(sorted(found))


def _unique(one: list[int], other: list[int], a0: int, a1: int, b0: int, b1: int) -> list[tuple[int, int]]:
    """The longest row of lines that both parts have once, in the same order."""
    counts, others = Counter(one[a0:a1]), Counter(other[b0:b1])
    places = {line: j for j, line in enumerate(other[b0:b1], b0) if others[line] == 1 and counts.get(line) == 1}
    pairs = [(i, places[line]) for i, line in enumerate(one[a0:a1], a0) if line in places]
    ends: list[int] = []  # the smallest place at which a row of each length ends
    at: list[int] = []  # the pair that ends it
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(at[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        at[length : length + 1] = [number]
    row: list[tuple[int, int]] = []
    number = at[-1] if at else -1
    while number >= 0:
        row.append(pairs[number])
        number = before[number]
    return row[::-1]


def _myers(one: list[int], other: list[int], a0: int, a1: int, b0: int, b1: int, steps: int) -> tuple[list[Block], int]:
    """Nothing where more lines changed than it is worth; and how many steps are left."""
    length, width = a1 - a0, b1 - b0
    reach, history = {1: 0}, []  # the furthest line of the one text, on each diagonal
    for changes in range(min(MOST_CHANGES, length + width) + 1):
        history.append(dict(reach))
        if steps <= 0:
            break
        for k in range(-changes, changes + 1, 2):
            down = k == -changes or (k != changes and reach[k - 1] < reach[k + 1])
            start = x = reach[k + 1] if down else reach[k - 1] + 1
            while x < length and x - k < width and one[a0 + x] == other[b0 + x - k]:
                x += 1
            reach[k] = x
            steps -= x - start + 2
            if x >= length and x - k >= width:
                return _back(history, length, width, a0, b0), steps
    return [], steps


def _back(history: list[dict[int, int]], x: int, y: int, a0: int, b0: int) -> list[Block]:
    """The equal lines on the way to the end."""
    found = []
    for changes in range(len(history) - 1, -1, -1):
        reach, k = history[changes], x - y
        down = k == -changes or (k != changes and reach[k - 1] < reach[k + 1])
        from_k = k + 1 if down else k - 1
        from_x = reach[from_k] if changes else 0
        start = (from_x if down else from_x + 1) if changes else 0
        if x > start:
            found.append((a0 + start, b0 + start - k, x - start))
        x, y = from_x, from_x - from_k
    return found


def _joined(blocks: list[Block]) -> list[Block]:
    found: list[Block] = []
    for i, j, count in blocks:
        if found and found[-1][0] + found[-1][2] == i and found[-1][1] + found[-1][2] == j:
            found[-1] = (found[-1][0], found[-1][1], found[-1][2] + count)
        else:
            found.append((i, j, count))
    return found
