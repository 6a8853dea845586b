"""Patches, as `git apply` itself takes them."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.agent.tree.changes import FILE, LINK, PROGRAM
from fastslow.agent.tree.patch import FileStat, patch, stat
from tests.surfaces.cli.long import GROWTH, times_as_much
from tests.tree.helpers import Contents, State, git, read, write


def assert_git_takes(before: State, after: State) -> bytes:
    """Git makes the one state of the other with the patch, and back again."""
    contents = Contents()
    text = patch(contents.changes(before, after), contents.__getitem__)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root, before)
        git(root, "init", "-q")
        if text:
            git(root, "apply", "--check", "--binary", stdin=text)
            git(root, "apply", "--binary", stdin=text)
        assert read(root) == after
        if text:
            git(root, "apply", "--binary", "-R", stdin=text)
        assert read(root) == before
    return text


CASES: dict[str, tuple[State, State]] = {
    "edit": ({"a": (FILE, b"1\n2\n3\n")}, {"a": (FILE, b"1\ntwo\n3\n")}),
    "far apart": ({"a": (FILE, b"x\n" + b"1\n" * 40)}, {"a": (FILE, b"y\n" + b"1\n" * 40 + b"z\n")}),
    "new": ({}, {"d/e/a": (FILE, b"1\n")}),
    "deleted": ({"d/a": (FILE, b"1\n"), "b": (FILE, b"")}, {"b": (FILE, b"")}),
    "empty new": ({}, {"a": (FILE, b"")}),
    "empty deleted": ({"a": (FILE, b"")}, {}),
    "emptied": ({"a": (FILE, b"1\n")}, {"a": (FILE, b"")}),
    "mode": ({"a": (FILE, b"1\n")}, {"a": (PROGRAM, b"1\n")}),
    "mode and content": ({"a": (PROGRAM, b"1\n")}, {"a": (FILE, b"2\n")}),
    "renamed": ({"a b": (FILE, b"1\n")}, {"d/c d": (FILE, b"1\n")}),
    "renamed, and mode": ({"a": (FILE, b"1\n")}, {"b": (PROGRAM, b"1\n")}),
    "no newline": ({"a": (FILE, b"1\n2")}, {"a": (FILE, b"1\n2\n3")}),
    "newline lost": ({"a": (FILE, b"1\n2\n")}, {"a": (FILE, b"1\n2")}),
    "windows": ({"a": (FILE, b"1\r\n2\r\n")}, {"a": (FILE, b"1\r\n3\r\n\r")}),
    "latin": ({"a": (FILE, b"caf\xe9\n")}, {"a": (FILE, b"\xff\xfe\xe9\n")}),
    "binary": ({"a": (FILE, b"\0" * 99)}, {"a": (FILE, bytes(range(256)) * 9), "n": (FILE, b"\0")}),
    "late zero": ({"a": (FILE, b"1\n" * 9000)}, {"a": (FILE, b"1\n" * 9000 + b"\0\n")}),
    "link": ({"l": (LINK, b"a"), "a": (FILE, b"1\n")}, {"l": (LINK, b"../b"), "m": (LINK, b"a"), "a": (FILE, b"1\n")}),
    "link for a file": ({"a": (FILE, b"1\n")}, {"a": (LINK, b"b")}),
    "file for a link": ({"a": (LINK, b"b")}, {"a": (FILE, b"1\n")}),
    "names": ({'a"b': (FILE, b"1\n"), "売 上": (FILE, b"1\n")}, {"a\\b": (FILE, b"2\n"), "売 上": (FILE, b"2\n")}),
    "strange names": (
        {"a\tb": (FILE, b"1\n"), "\x7f\x01": (FILE, b"1\n")},
        {"a\tb": (FILE, b"2\n"), "\n": (FILE, b"2")},
    ),
    "folder for a file": ({"a": (FILE, b"1\n")}, {"a/b": (FILE, b"2\n")}),
    "moved into a folder of its name": ({"a": (FILE, b"1\n")}, {"a/b": (FILE, b"1\n")}),
    "moved out of one": ({"a/b": (FILE, b"1\n")}, {"a": (FILE, b"1\n")}),
    "file for a folder": ({"a/b": (FILE, b"2\n")}, {"a": (FILE, b"1\n")}),
    "name of blanks": ({" a ": (FILE, b"")}, {" a ": (PROGRAM, b""), "-- ": (FILE, b"1\n")}),
    "lines like headers": ({"a": (FILE, b"-- a\n++ b\n")}, {"a": (FILE, b"-- a/c\n+++ b\n@@ -1 +1 @@\n\\ x\n")}),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_git_takes(before: State, after: State) -> None:
    assert assert_git_takes(before, after)


contents = st.one_of(
    st.lists(st.sampled_from([b"a", b"b\r", b"", b"\xff", b"- x", b"+"]), max_size=30).map(b"\n".join),
    st.binary(max_size=40),
)
files = st.tuples(st.sampled_from([FILE, PROGRAM]), contents)
trees = st.dictionaries(st.sampled_from(["a", "d/a", "d/b c", "é"]), files, max_size=4)


@settings(max_examples=40, deadline=None)
@given(trees, trees)
def test_git_takes_any_change(before: State, after: State) -> None:
    assert_git_takes(before, after)


def test_an_edit_is_as_small_as_it_is() -> None:
    lines = [b"%d\n" % n for n in range(1000)]
    text = assert_git_takes(
        {"a": (FILE, b"".join(lines))}, {"a": (FILE, b"".join([*lines[:500], b"x\n", *lines[501:]]))}
    )
    assert text.count(b"\n") == 5 + 3 + 2 + 3


def test_stat_counts_lines_and_names_what_was_renamed() -> None:
    contents = Contents()
    before: State = {"a": (FILE, b"1\n2\n3\n"), "b": (FILE, b"\0"), "old": (FILE, b"x\n"), "gone": (FILE, b"1\n2")}
    after: State = {"a": (PROGRAM, b"1\n3\n4\n5\n"), "b": (FILE, b"\1\0"), "new": (FILE, b"x\n")}
    found = stat(contents.changes(before, after), contents.__getitem__)
    assert found.files == (
        FileStat("a", "modified", 2, 1),
        FileStat("b", "modified", 0, 0, binary=True),
        FileStat("gone", "deleted", 0, 2),
        FileStat("new", "added", 0, 0, old="old"),
    )
    assert (found.added, found.removed) == (2, 3)


def _shuffled(count: int, kinds: int, seed: int) -> bytes:
    drawn = random.Random(seed)
    return b"".join(b"line %d\n" % drawn.randrange(kinds) for _ in range(count))


SHAPES = {
    "few kinds": lambda n, seed: _shuffled(n, 3, seed),
    "many kinds": lambda n, seed: _shuffled(n, n // 50 + 1, seed),
    "all kinds": lambda n, seed: _shuffled(n, n * 9, seed),
    "each tenth": lambda n, seed: b"".join(b"%d\n" % (k if k % 10 else k * 7 + seed) for k in range(n)),
    "one line": lambda n, seed: b"%d" % seed + b"x" * (10 * n),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_time_for_a_patch_grows_with_its_files(shape: str) -> None:
    def made(count: int) -> None:
        contents = Contents()
        make = SHAPES[shape]
        changes = contents.changes({"a": (FILE, make(count, 1))}, {"a": (FILE, make(count, 2))})
        assert patch(changes, contents.__getitem__)

    assert times_as_much(lambda: made(80_000), lambda: made(10_000), noise=0.3) < GROWTH
