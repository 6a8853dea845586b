"""What makes an answer right: strict on the value, easy on how it is written."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastslow.agent.evals.case import Judge
from fastslow.agent.events import Result

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?![\w]|[.,]\d)", re.IGNORECASE)
PNG = b"\x89PNG\r\n\x1a\n"


def numbers_in(text: str) -> list[float]:
    """All numbers of a text, thousands separators and currency signs or not.

    >>> numbers_in("**$1,234.50** for 12 of the 2.5 (id x7)")
    [1234.5, 12.0, 2.5]
    """
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


def says(value: float, decimals: int = 2) -> Judge:
    """The answer holds this number, to so many decimals."""

    def judge(result: Result) -> str:
        near = 0.6 * 10.0**-decimals
        found = numbers_in(result.answer)
        if any(abs(number - value) <= near for number in found):
            return ""
        return f"expected {value:.{decimals}f}, got {found[:8]}"

    return judge


def names(word: str) -> Judge:
    """The answer holds this word."""

    def judge(result: Result) -> str:
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", result.answer, re.IGNORECASE)
        return "" if found else f"expected {word!r}, got {result.answer[:80]!r}"

    return judge


def all_of(*judges: Judge) -> Judge:
    """Right where each of them says so; else the first complaint."""

    def judge(result: Result) -> str:
        return next(filter(None, (each(result) for each in judges)), "")

    return judge


def _file(name: str, look: Callable[[Path], str]) -> Judge:
    def judge(result: Result) -> str:
        path = next((file for file in result.files if file.name == name), None)
        if path is None:
            return f"expected the file {name}, got {[file.name for file in result.files]}"
        try:
            return look(path)
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            return f"{name} cannot be read: {type(error).__name__}: {error}"

    return judge


def draws(name: str) -> Judge:
    """A picture of that name came back."""

    def look(path: Path) -> str:
        return "" if path.read_bytes().startswith(PNG) else f"{name} is no PNG"

    return _file(name, look)


def writes_rows(name: str, key: str, value: str, rows: Sequence[tuple[str, float]]) -> Judge:
    """A CSV file of that name came back, with these values by key, in this order, to the cent."""

    def look(path: Path) -> str:
        with path.open(encoding="utf-8", newline="") as file:
            found = [(row[key], float(row[value])) for row in csv.DictReader(file)]
        same = len(found) == len(rows) and all(
            got[0] == wanted[0] and abs(got[1] - wanted[1]) < 0.006 for got, wanted in zip(found, rows, strict=True)
        )
        return "" if same else f"expected {list(rows)} in {name}, got {found[:6]}"

    return _file(name, look)


def writes_fields(name: str, fields: Mapping[str, Any]) -> Judge:
    """A JSON file of that name came back, whose object has these values."""

    def look(path: Path) -> str:
        found = json.loads(path.read_text("utf-8"))
        wrong = {key: found.get(key) for key, wanted in fields.items() if not _same(found.get(key), wanted)}
        return f"expected {dict(fields)} in {name}, got {wrong}" if wrong else ""

    return _file(name, look)


def writes_text(name: str, other_than: str) -> Judge:
    """A file of that name came back, and it was changed."""

    def look(path: Path) -> str:
        return "" if path.read_text("utf-8") != other_than else f"{name} was not changed"

    return _file(name, look)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and not isinstance(found, str):
        return abs(float(found) - wanted) < 0.006
    return bool(found == wanted)
