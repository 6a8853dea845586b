"""Read JSON as models write it: what has one reading is read, everything else is an error with its place.

Beyond JSON are allowed: single quotes, `True`, `False`, `None`, a trailing comma, raw control characters in
strings, the escape `\\'`, and, where the text ends behind a value that is surely whole, one missing last
brace. Refused though Python's `json` takes it: NaN, infinities, one key with two different values, nesting
over 64.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64  # also the limit of xgrammar, which enforces schemas on the server

_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_HALF_NUMBER = re.compile(r"-?(?:\d{1,400}\.?(?:\d{0,400}[eE][+-]?)?)?", re.ASCII)
_WORD = re.compile(r"[A-Za-z]+")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_CHUNK = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_LONE = re.compile("[\ud800-\udfff]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


class LenientError(ValueError):
    """A text that cannot be read with certainty.

    position: index into the text. cut: the text ended in the middle of something. deep: nested over the
    limit.
    """

    def __init__(self, reason: str, position: int, *, cut: bool = False, deep: bool = False) -> None:
        super().__init__(reason)
        self.position = position
        self.cut = cut
        self.deep = deep


def read_whole(text: str) -> Any:
    """The one JSON value that a text consists of. Raises LenientError.

    >>> read_whole("{'a': [True, None,],")
    Traceback (most recent call last):
    tools.lenient.LenientError: the text ends where another property should come
    >>> read_whole("{'a': [True, None,]")
    {'a': [True, None]}
    """
    try:
        if _SURROGATE.search(text):
            raise LenientError("surrogates", 0)  # the reader below replaces those that stand alone
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_float)
    except (ValueError, RecursionError):
        value, end = read_value(text, close=True)
        end = skip_space(text, end)
        if end < len(text):
            raise LenientError(f"something follows the end of the value: {_shown(text, end)}", end) from None
        return value
    check_depth(value)
    return value


def read_value(text: str, start: int = 0, end: int | None = None, *, close: bool = False) -> tuple[Any, int]:
    """One value at `start` and the index behind it; nothing at or behind `end` is looked at.

    close: supply the value's own closing brace where it is missing at the end. Raises LenientError.
    """
    reader = _Reader(text, len(text) if end is None else end, close)
    return reader.value(skip_space(text, start), 0), reader.position


def skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def without_surrogates(text: str) -> str:
    """The text with each half of a surrogate pair that stands alone replaced: no server or file takes it."""
    if not _LONE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Reader:
    """A recursive-descent reader; `position` is where it stands."""

    def __init__(self, text: str, end: int, close: bool) -> None:
        self.text = text
        self.end = end
        self.close = close
        self.position = 0

    def value(self, position: int, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise LenientError(f"nested more than {MAX_DEPTH} levels deep", position, deep=True)
        char = self.text[position] if position < self.end else ""
        if char == "{":
            return self._object(position + 1, depth)
        if char == "[":
            return self._array(position + 1, depth)
        if char in ('"', "'") and char:
            return self._string(position)
        if char == "-" or char.isdecimal():
            return self._number(position)
        return self._word(position)

    def _object(self, position: int, depth: int) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        while True:
            position = self._space(position)
            if self._at(position) == "}":
                break
            if self._at(position) not in ('"', "'"):
                raise self._wrong("another property" if pairs else "a property or '}'", position)
            key = self._string(position)
            position = self._space(self.position)
            if self._at(position) != ":":
                raise self._wrong(f"':' behind the key {key[:40]!r}", position)
            start = self._space(position + 1)
            value = self.value(start, depth + 1)
            pairs.append((key, value))
            position = self._space(self.position)
            if self._at(position) == ",":
                position += 1
            elif position >= self.end and self.close and depth == 0 and not _is_number(value):
                self.position = position  # the last value has an end of its own, which a number has not
                return _object(pairs)
            elif self._at(position) != "}":
                raise self._wrong("',' or '}'", position)
        self.position = position + 1
        return _object(pairs)

    def _array(self, position: int, depth: int) -> list[Any]:
        items: list[Any] = []
        while True:
            position = self._space(position)
            if self._at(position) == "]":
                break
            items.append(self.value(position, depth + 1))
            position = self._space(self.position)
            if self._at(position) == ",":
                position += 1
            elif self._at(position) != "]":
                raise self._wrong("',' or ']'", position)
        self.position = position + 1
        return items

    def _string(self, start: int) -> str:
        chunk, quote = _CHUNK[self.text[start]], self.text[start]
        parts: list[str] = []
        position = start + 1
        while True:
            match = chunk.match(self.text, position, self.end)
            assert match is not None  # noqa: S101 - the pattern matches the empty text
            parts.append(match.group())
            position = match.end()
            if position >= self.end:
                raise LenientError("the text ends inside a string", start, cut=True)
            if self.text[position] == quote:
                break
            char, position = self._escape(position + 1)
            parts.append(char)
        self.position = position + 1
        return without_surrogates("".join(parts))

    def _escape(self, position: int) -> tuple[str, int]:
        char = self._at(position)
        if char == "u":
            match = _HEX.match(self.text, position + 1, self.end)
            if match:
                return chr(int(match.group(), 16)), match.end()
        elif char in _ESCAPES:
            return _ESCAPES[char], position + 1
        if position >= self.end:
            raise LenientError("the text ends inside a string", position, cut=True)
        shown = self.text[position : position + 6]
        raise LenientError(f"a string has an unknown escape '\\{shown}'; write a backslash as '\\\\'", position)

    def _number(self, position: int) -> int | float:
        match = _NUMBER.match(self.text, position, self.end)
        behind = self.text[match.end() : match.end() + 1] if match and match.end() < self.end else ""
        if match is None or behind.isalnum() or (behind and behind in "_."):
            cut = _HALF_NUMBER.fullmatch(self.text, position, self.end) is not None
            raise self._wrong("a number", self.end if cut else position)
        self.position = match.end()
        try:
            return _float(match.group()) if match.group(1) or match.group(2) else int(match.group())
        except LenientError:
            raise
        except ValueError as error:  # more digits than Python converts
            raise LenientError("a number has too many digits", position) from error

    def _word(self, position: int) -> Any:
        match = _WORD.match(self.text, position, self.end)
        word = match.group() if match else ""
        if word not in _WORDS:
            cut = position + len(word) >= self.end and any(known.startswith(word) for known in _WORDS)
            raise self._wrong("a value", self.end if cut else position)
        self.position = position + len(word)
        return _WORDS[word]

    def _space(self, position: int) -> int:
        return min(skip_space(self.text, position), self.end)

    def _at(self, position: int) -> str:
        return self.text[position] if position < self.end else ""

    def _wrong(self, expected: str, position: int) -> LenientError:
        if position >= self.end:
            return LenientError(f"the text ends where {expected} should come", position, cut=True)
        return LenientError(f"expected {expected}, got {_shown(self.text, position)}", position)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its pairs. Two values for one key are an error: nobody knows which was meant."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result and _written(result[key]) != _written(value):
            raise LenientError(f"the key {key[:40]!r} comes twice with different values", 0)
        result[key] = value
    return result


def _written(value: Any) -> str:
    """What tells values apart; to Python `1 == True`."""
    return json.dumps(value, sort_keys=True)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise LenientError(f"the number {text[:40]} is too large", 0)
    return number


def _refuse(constant: str) -> Any:
    raise LenientError(f"{constant} is no JSON value", 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(text: str, position: int) -> str:
    return repr(text[position : position + 20])


def check_depth(value: Any) -> None:
    """Raise LenientError for nesting over the limit; a loop, as the value may be too deep for recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return
    raise LenientError(f"nested more than {MAX_DEPTH} levels deep", 0, deep=True)
