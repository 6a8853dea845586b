"""Texts with places: `{name}` stands for a value, `{{name}}` for the text `{name}`. Other braces are only braces."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLACE = re.compile(rf"(\{{+)({NAME})(\}}+)")


def names(text: str) -> set[str]:
    """The names that a text has places for.

    >>> sorted(names("Classify {text} as {{x}} or {'a': {kind}}"))
    ['kind', 'text']
    """
    return {found[2] for found in _PLACE.finditer(text) if _is_place(found)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with values in its places. KeyError for one that there is none for.

    >>> filled("{a} and {{a}}", {"a": "{b}"})
    '{b} and {a}'
    """

    def put(found: re.Match[str]) -> str:
        before, name, after = found.groups()
        return f"{before[1:]}{values[name] if _is_place(found) else name}{after[1:]}"

    return _PLACE.sub(put, text)


def escaped(text: str) -> str:
    """A text that `filled` gives back as it is, with no place in it."""
    return _PLACE.sub(r"{\g<0>}", text)


def _is_place(found: re.Match[str]) -> bool:
    return min(len(found[1]), len(found[3])) == 1
