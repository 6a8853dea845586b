"""What others wrote must not move the terminal's cursor, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.agent.surfaces.cli.text import clean, one_line, seconds, size
from tests.surfaces.cli.long import SHAPES, work


@pytest.mark.parametrize(
    ("hostile", "left"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\text", "text"),
        ("\x9b2Jtext", "text"),
        ("\x1bctext", "text"),
        ("cut off \x1b[3", "cut off "),
        ("\u202egnp.exe", "gnp.exe"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("half \ud83d a pair", "half  a pair"),
        ("1 %\r2 %\r3 %\nend\r\n", "3 %\nend\n"),
        ("1 %\r2 %\r", "2 %"),
        ("1 %\r2 %\r\r\nend", "2 %\nend"),
        ("one\n1 %\r2 %", "one\n2 %"),
        ("a\tb\nlonger\tc", "a   b\nlonger  c"),
        ("a\u2028b", "a\nb"),
        ("family: 👨‍👩‍👧 売上 é", "family: 👨‍👩‍👧 売上 é"),
    ],
)
def test_clean(hostile: str, left: str) -> None:
    assert clean(hostile) == left


@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    assert all(letter in "\t\n" or (letter >= " " and not "\x7f" <= letter <= "\x9f") for letter in clean(text))
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_of_a_megabyte_takes_no_time(shape: str) -> None:
    text = SHAPES[shape](1_000_000)
    assert work(lambda: one_line(text)) < 1, "a thousandth of what quadratic time would be"


def test_one_line() -> None:
    assert one_line("  file\nname\x1b[2J.csv ") == "file name.csv"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e12, "2500.0 GB")])
def test_size(value: float, shown: str) -> None:
    assert size(value) == shown
