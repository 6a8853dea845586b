"""Edits of a text, as pure functions."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.tools.builtin.edits import Edit, EditError, edited
from fastslow.tools.builtin.text import Text

CALC = "import os\n\n\ndef add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return a - b\n"
TABS = "class A:\n\tdef f(self):\n\t\tif self.x:\n\t\t\treturn 1\n\t\treturn 2\n"


def changed(text: str, old: str, new: str) -> tuple[str, bool]:
    """The text after one edit, and whether white space was mended."""
    done = edited(text, [Edit(old, new)])
    return done.text, bool(done.loose)


def refusal(text: str, *edits: Edit) -> str:
    with pytest.raises(EditError) as error:
        edited(text, edits)
    return str(error.value)


TEXTS = st.text(alphabet="ab \n\t\r1é", max_size=40)


@given(TEXTS, TEXTS, TEXTS)
def test_an_edit_that_fits_exactly_is_a_replacement(text: str, old: str, new: str) -> None:
    places = sum(text.startswith(old, start) for start in range(len(text)))
    try:
        done = edited(text, [Edit(old, new)])
    except EditError:
        assert not old or places != 1 or old == new
    else:
        assert places <= 1
        if places:
            assert (done.text, done.loose) == (text.replace(old, new, 1), ())


@given(st.binary(max_size=80), st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_any_bytes_are_edited_or_refused(data: bytes, pairs: list[tuple[str, str]]) -> None:
    try:
        text = Text.of(data)
    except ValueError:
        return
    assert text.data(text.text) == data
    with suppress(EditError):
        edited(text.text, [Edit(*pair) for pair in pairs])


@given(st.lists(st.integers(0, 19), unique=True, min_size=1, max_size=6), st.randoms())
def test_many_edits_are_made_at_once_in_any_order(lines: list[int], rng: random.Random) -> None:
    text = "".join(f"line {number}.\n" for number in range(20))
    new = {number: "x\n" * rng.randrange(3) for number in lines}
    done = edited(text, [Edit(f"line {number}.\n", new[number]) for number in lines])
    assert done.text == "".join(new.get(number, f"line {number}.\n") for number in range(20))
    after = done.text.split("\n")
    for (first, last), number in zip(done.places, sorted(lines), strict=True):
        assert after[first - 1 : last] == new[number].split("\n")[:-1]


@given(
    st.lists(st.sampled_from(["", "  ", "    ", "      "]), min_size=3, max_size=12),
    st.integers(0, 11),
    st.integers(1, 5),
    st.sampled_from(["", "  ", "      "]),
    st.sampled_from(["", " ", "\t"]),
)
def test_a_block_with_other_white_space_is_edited_all_the_same(
    indents: list[str], first: int, count: int, more: str, behind: str
) -> None:
    first %= len(indents)
    lines = [f"{indent}line_{number}." for number, indent in enumerate(indents)]
    old = [f"{more}{line}{behind}\n" for line in lines[first : first + count]]
    new = [line.replace("line", "row") for line in old]
    after = [line.replace("line", "row") if first <= at < first + count else line for at, line in enumerate(lines)]
    done = edited("\n".join(lines) + "\n", [Edit("".join(old), "".join(new))])
    assert [line.rstrip() for line in done.text.split("\n")] == [*after, ""]
    assert bool(done.loose) == bool(more or behind)


def test_each_edit_sees_the_file_as_it_was() -> None:
    assert edited("a b", [Edit("a", "b"), Edit("b", "a")]).text == "b a"
    told = refusal("a = 1\n", Edit("a = 1", "a = 2\nc = 3"), Edit("c = 3", "c = 4"))
    assert "It is in the new_text of edit 1, but each edit sees the file as it was before this call" in told


def test_what_cannot_be_meant_is_refused() -> None:
    assert "Edit 1 has an empty old_text" in refusal("a", Edit("", "b"))
    assert "Edit 2 changes nothing" in refusal("a b", Edit("a", "b"), Edit("b", "b"))
    assert refusal("one two three", Edit("one two", "x"), Edit("two three", "y")) == (
        "Edits 1 and 2 overlap, at line 1. Make one edit of the two."
    )
    assert edited("one two", [Edit("one ", "1"), Edit("two", "2")]).text == "12"  # side by side they may stand
    assert "the file reads so already" in refusal("a  \n", Edit("a\n", "a  \n"))


def test_several_places_are_shown_with_what_is_around() -> None:
    assert refusal(CALC, Edit("    return a - b", "    return a + b")) == (
        "Edit 1 fits 2 places, at lines 5, 9. Add lines from above or below to its old_text, until it fits the one "
        "that you mean:\n3\t\n4\tdef add(a, b):\n5\t    return a - b\n6\t\n7\t\n…\n"
        "7\t\n8\tdef sub(a, b):\n9\t    return a - b"
    )
    many = refusal("x\n" * 5000, Edit("x", "y"))
    assert "fits 1,000 or more places, at lines 1, 2, 3, 4, 5 and more" in many
    assert len(many) < 400
    assert "fits 3 places" in refusal("aaaa", Edit("aa", "b"))  # they overlap, and any could be meant
    depths = "".join(f"{' ' * depth}if x:\n{' ' * depth * 2}y()\n" for depth in range(1, 30))
    sixth = Edit(f"{' ' * 50}if x:\n{' ' * 56}y()\n", "z()\n")
    assert "is not in the file" in refusal(depths, sixth)  # it fits one of those looked at; and others?
    assert "fits 2 places" in refusal("a  \nb\na\t\nb\n", Edit("a\nb\n", "c\n"))


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        ("a  \nb\n", "a\nb", "c\nd", "c\nd\n"),
        ("a\nb\n", "a   \nb\n", "c\n", "c\n"),
        ("a  \nb", "a\nb\n", "c\n", "c"),  # the file's last line has no end, and gets none
        ("\na  \nb\n", "\n\na\nb\n", "\n\nc\n", "\nc\n"),
        ("a\r\nb\nc\n", "a\nb\n", "x\ny\nz", "x\r\ny\r\nzc\n"),  # of mixed line ends, those of the place
        ("def f():\n    if x:\n        y()\n", "if x:\n  y()", "z()", None),
        ("def f():\n    if x:\n        y()\n", "if x:\n    y()\n", "if z:\n    y()\n\n",
         "def f():\n    if z:\n        y()\n\n"),
        ("\tif x:\n\t\ty()\n", "if x:\n\ty()\n", "if z:\n    y()\n", None),  # tabs and spaces would be mixed
        ("if x:\n    y()\n", "    if x:\n        y()\n", "    if z:\n        y()\n", "if z:\n    y()\n"),
        ("if x:\n    y()\n", "    if x:\n        y()\n", "  z()\n", None),  # nobody knows how deep
        (TABS,
         "        if self.x:\n            return 1\n", "        if y:\n            if x:\n                return 3\n",
         TABS.replace("self.x:\n\t\t\treturn 1", "y:\n\t\t\tif x:\n\t\t\t\treturn 3")),
        ("f:\n    x\n    y\n", "\tx\n\ty\n", "\tif z:\n\t\tx\n", "f:\n    if z:\n        x\n"),
    ],
)  # fmt: skip
def test_white_space_is_mended_where_one_place_is_meant(text: str, old: str, new: str, after: str | None) -> None:
    if after is None:
        assert "is not in the file" in refusal(text, Edit(old, new))
    else:
        assert changed(text, old, new) == (after, True)


def test_line_numbers_of_read_file_are_taken_off() -> None:
    assert changed(CALC, "4\tdef add(a, b):\n5\t    return a - b", "4\tdef add(a, b):\n5\t    return a + b")[0] == (
        CALC.replace("a - b", "a + b", 1)
    )
    assert changed(CALC, " 8\tdef sub(a, b):", "def minus(a, b):")[0] == CALC.replace("sub", "minus")
    assert changed("1\tone\n2\ttwo\n", "2\ttwo", "2\tzwei")[0] == "1\tone\n2\tzwei\n"  # a table that has such numbers


def test_what_is_nearest_is_shown_with_what_differs() -> None:
    assert refusal(CALC, Edit("def add(a,b):\n    return a - b", "pass")) == (
        "The old_text of edit 1 is not in the file.\nWhat is most like it begins at line 4:\n"
        "4\tdef add(a, b):\n5\t    return a - b\n6\t\n7\t\nThey differ first at line 4:\n"
        "  your old_text: def add(a,b):\n  the file:      def add(a, b):\n"
        "Copy old_text from the file exactly, with its white space and without line numbers."
    )
    spaces = refusal("if x:\n\ty = 1\n  z = 2\n", Edit("if x:\n    y = 1\n    z = 2\n", "pass"))
    assert "Only white space differs, first at line 2 (here · is a space, → a tab):" in spaces
    assert "  your old_text: ····y·=·1\n  the file:      →y·=·1" in spaces
    assert "Nothing in the file is like it (lines: 90)." in refusal(CALC * 10, Edit("class Other:\n    zzz", "pass"))
    assert refusal("one\ntwo\n", Edit("class Other:", "pass")).endswith("This is all of it:\n1\tone\n2\ttwo")
    assert "The file ends before line 3 of your old_text: c" in refusal("one\ntwo\n", Edit("one\ntwo\nc", "x"))


def test_blank_lines_are_called_so() -> None:
    told = refusal(CALC, Edit("import os\n\ndef add(a, b):", "pass"))
    assert "at line 3:\n  your old_text: def add(a, b):\n  the file:      (an empty line)" in told


def test_too_many_backslashes_are_said() -> None:
    told = refusal(CALC, Edit("def sub(a, b):\\n    return a - b\\n", "pass"))
    assert "It would be without its backslashes" in told
    assert "begins at line 8:" in told
    assert "backslashes" not in refusal(CALC, Edit("a\\nb", "pass"))


def test_a_line_that_is_missing_is_the_difference() -> None:
    text = "".join(f"step_{number}()\n" for number in range(40))
    told = refusal(text, Edit("step_10()\nstep_11()\nstep_13()\nstep_14()\nstep_15()\n", "pass"))
    assert "begins at line 11:\n11\tstep_10()\n" in told
    assert "They differ first at line 13:\n  your old_text: step_13()\n  the file:      step_12()" in told


def test_a_change_that_was_made_already_is_said() -> None:
    told = refusal(
        CALC.replace("a - b", "a + b", 1), Edit("def add(a, b):\n    return a - b", "def add(a, b):\n    return a + b")
    )
    assert "Its new_text is, at line 4: the change seems to be made already." in told


def test_long_lines_are_shown_where_they_differ() -> None:
    told = refusal("x" * 5000 + "yes" + "z" * 5000, Edit("x" * 5000 + "no" + "z" * 5000, "pass"))
    assert "the file:      …xxx" in told
    assert "yeszz" in told
    assert len(told) < 1500


@pytest.mark.parametrize("kind", ["code", "ends", "same", "short", "one line", "spaces"])
def test_a_failed_edit_of_a_large_file_takes_its_time(kind: str) -> None:
    """5 MB, and an old text of 2,000 lines: about a second at most, of whatever they are made."""
    rng = random.Random(1)
    text = {
        "code": lambda: "".join(f"    value_{rng.randrange(10**6)} = call({n % 97}, x)\n" for n in range(150_000)),
        "ends": lambda: "\n" * 5_000_000,
        "same": lambda: "    x = 1\n" * 500_000,
        "short": lambda: "a\n" * 2_500_000,
        "one line": lambda: "ab " * 1_700_000,
        "spaces": lambda: (" " * 10_000 + "x\n") * 500,
    }[kind]()
    lines = text.split("\n")[1000:3000] if kind == "code" else ["    x = 1", "a"] * 1000
    lines[1500] = "    other = 2"
    before = time.process_time()
    told = refusal(text, Edit("\n".join(lines), "pass"))
    assert time.process_time() - before < 3  # on a machine that does other things, too
    assert len(told) < 8000
    assert (kind == "code") == ("They differ first at line 2501" in told)


@pytest.mark.parametrize("text", ["", "\n", "a\n"])
@pytest.mark.parametrize("old", ["\n", "\n\n\n", " \n \n"])
def test_blank_lines_are_looked_for_in_any_file(text: str, old: str) -> None:
    if old not in text:
        with pytest.raises(EditError):
            edited(text, [Edit(old, "x\n")])
