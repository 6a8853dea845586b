"""Texts with places: `{name}` stands for a value, `{{name}}` for the text `{name}`. Other braces are only braces.

A name is looked up as it stands and never evaluated. It may have blanks, dots and hyphens in it, as headers of tables
do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

NAME = r"\w(?:[\w .-]*\w)?"
_PLACE = re.compile(rf"(?<!\{{)(\{{++)({NAME})(\}}++)")


def names(text: str) -> tuple[str, ...]:
    """The names that a text has places for, in the order in which they first come.

    >>> names("Classify {text} as {{x}} or {'a': {kind}}")
    ('text', 'kind')
    """
    return tuple(dict.fromkeys(found[2] for found in _PLACE.finditer(text) if _is_place(found)))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with values in its places. KeyError for one that there is none for.

    >>> filled("{a} and {{a}}", {"a": "{b}"})
    '{b} and {a}'
    """
    return _with(text, lambda name: values[name])


def plain(text: str) -> str:
    """The text with its places as they stand.

    >>> plain("{a} and {{a}}")
    '{a} and {a}'
    """
    return _with(text, lambda name: f"{{{name}}}")


def escaped(text: str) -> str:
    """A text that `filled` gives back as it is, with no place in it."""
    return _PLACE.sub(r"{\g<0>}", text)


def _with(text: str, value: Callable[[str], str]) -> str:
    def put(found: re.Match[str]) -> str:
        before, name, after = found.groups()
        return f"{before[1:]}{value(name) if _is_place(found) else name}{after[1:]}"

    return _PLACE.sub(put, text)


def _is_place(found: re.Match[str]) -> bool:
    return min(len(found[1]), len(found[3])) == 1
