"""What a small model leaves out of a file that it writes whole stays in it."""

from __future__ import annotations

import pytest

from fastslow.tools.builtin.complete import completed

BEFORE = '''"""Figures."""

from __future__ import annotations

import os

MOST = 1


@cached
def mean(x):
    return x // MOST  # wrong


def largest(x):
    """Stays."""
    return os.path.join(mean(x))
'''


def test_what_is_left_out_stays_in_its_place() -> None:
    given = '"""Other."""\nimport re\n\n\n@cached\ndef mean(x):\n    return x / MOST\n\n\ndef smallest(x):\n    pass'
    text, left_out = completed(BEFORE, given)
    right = BEFORE.replace("x // MOST  # wrong", "x / MOST").replace("import os", "import re\nimport os")
    assert text == f"{right}\n\ndef smallest(x):\n    pass\n"
    assert left_out == ("MOST", "largest")


@pytest.mark.parametrize(
    ("before", "given"),
    [
        (BEFORE, BEFORE.replace("//", "/")),  # whole
        (BEFORE, "def mean(x:\n"),  # no Python
        ("no Python", "def mean(x): ...\n"),
        ("a = 1; b = 2\n", "a = 2\n"),
        ("a = 1\r\nb = 2\r\n", "a = 2\n"),
        ("import os\n", "import re\n"),
        ("(" * 100_000, "a = 1\n"),
        ("", "a = 1\n"),
    ],
)
def test_else_the_new_text_is_taken_as_it_is(before: str, given: str) -> None:
    assert completed(before, given) == (given, ())
