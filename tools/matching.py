"""A short text that matches a regular expression, for an example."""

from __future__ import annotations

import re._parser as sre  # type: ignore[import-not-found]  # there is no public reader of patterns
import string
from collections.abc import Callable
from typing import Any

_CHARACTERS = "aA1 -_./:@" + string.printable
_NAMING = ("LITERAL", "RANGE")  # what names a character of its own
_MOST = 1000  # repeats of one part
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdigit,
    "SPACE": str.isspace,
    "WORD": lambda char: char == "_" or char.isalnum(),
}


def matching(pattern: str) -> str:
    """A text that most likely matches; whoever asks checks it. Raises ValueError where there is none."""
    return _text(sre.parse(pattern))


def _text(parts: Any) -> str:
    return "".join(_piece(str(kind), value) for kind, value in parts)


def _piece(kind: str, value: Any) -> str:
    match kind:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL" | "ANY" | "IN":
            members = value if kind == "IN" else [("NEGATE", None), ("LITERAL", value or ord("\n"))]
            return _character([(str(member), what) for member, what in members])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            fewest, most, inner = value
            times: int = min(max(fewest, 1), int(most), _MOST)
            return _text(inner) * times
        case "BRANCH":
            return _text(value[1][0])
        case "SUBPATTERN":
            return _text(value[-1])
        case "ATOMIC_GROUP":
            return _text(value)
        case _:  # an anchor, or what looks ahead
            return ""


def _character(members: list[tuple[str, Any]]) -> str:
    negated = ("NEGATE", None) in members
    own = "".join(chr(value[0] if kind == "RANGE" else value) for kind, value in members if kind in _NAMING)
    for char in _CHARACTERS + own:
        if any(_is_member(char, kind, value) for kind, value in members) != negated:
            return char
    raise ValueError("no printable character is meant")


def _is_member(char: str, kind: str, value: Any) -> bool:
    match kind:
        case "LITERAL":
            return bool(ord(char) == value)
        case "RANGE":
            return bool(value[0] <= ord(char) <= value[1])
        case "CATEGORY":
            _, *negation, category = str(value).split("_")
            return _CATEGORIES[category](char) != bool(negation)
        case _:
            return False
