"""Two changes of one file."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.agent.tree.changes import FILE, PROGRAM
from fastslow.agent.tree.merge import merge, merge_mode
from tests.surfaces.cli.long import GROWTH, times_as_much

BASE = b"".join(b"line %d\n" % n for n in range(20))
TOP, END = BASE.replace(b"line 1\n", b"one\n"), BASE.replace(b"line 18\n", b"eighteen\n")


def test_changes_of_different_lines_become_one() -> None:
    both = TOP.replace(b"line 18\n", b"eighteen\n")
    assert merge(BASE, TOP, END) == both
    assert merge(BASE, END, TOP) == both


def test_changes_of_one_line_are_in_conflict() -> None:
    assert merge(BASE, TOP, BASE.replace(b"line 1\n", b"ONE\n")) is None


def test_the_same_change_on_both_sides_is_made_once() -> None:
    assert merge(BASE, TOP + b"more\n", TOP) == TOP + b"more\n"


@pytest.mark.parametrize("other", [TOP, b"", b"\0\xff", BASE[:-1], BASE.replace(b"\n", b"\r\n")])
def test_one_side_alone_is_taken_as_it_is(other: bytes) -> None:
    assert merge(BASE, BASE, other) == other
    assert merge(BASE, other, BASE) == other
    assert merge(BASE, other, other) == other


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_no_text_is_not_merged(which: int) -> None:
    texts = [BASE, TOP, END]
    texts[which] += b"\0"
    assert merge(*texts) is None


def test_windows_lines_and_a_missing_last_newline_stay() -> None:
    base, ours, theirs = (text.replace(b"\n", b"\r\n")[:-2] for text in (BASE, TOP, END))
    assert merge(base, ours, theirs) == TOP.replace(b"line 18\n", b"eighteen\n").replace(b"\n", b"\r\n")[:-2]


lines = st.lists(st.sampled_from([b"a", b"b", b"c", b""]), max_size=12).map(b"\n".join)


@settings(max_examples=300, deadline=None)
@given(lines, lines, lines)
def test_a_merge_is_the_same_from_both_sides_and_makes_no_line_up(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge(base, ours, theirs)
    assert merged == merge(base, theirs, ours)
    if merged is not None:
        assert set(merged.split(b"\n")) <= {line for text in (ours, theirs, base) for line in text.split(b"\n")} | {b""}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [(FILE, FILE, PROGRAM, PROGRAM), (FILE, PROGRAM, FILE, PROGRAM), (PROGRAM, FILE, FILE, FILE)],
)
def test_modes_merge(base: str, ours: str, theirs: str, merged: str) -> None:
    assert merge_mode(base, ours, theirs) == merged


def test_the_time_for_a_merge_grows_with_the_file() -> None:
    def made(count: int) -> None:
        drawn = random.Random(1)
        texts = [b"".join(b"%d\n" % drawn.randrange(count // 50) for _ in range(count)) for _ in range(3)]
        assert merge(*texts) is None

    assert times_as_much(lambda: made(80_000), lambda: made(10_000), noise=0.3) < GROWTH
