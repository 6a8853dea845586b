"""Whether an answer's numbers were ever shown to the model, or are its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")


def unseen(answer: str, texts: Iterable[str]) -> list[str]:
    """The numbers of an answer that stand in none of the texts, in its order and as it writes them.

    A number is seen where a text has it, or one that rounds to it, or a part of one that it gives in percent. One-digit
    numbers are left out: they count and order things, and stand everywhere.

    >>> unseen("West sold 56,586.5, which is 44.3 % of 127,655.", ["West 56586.50, share 0.4433"])
    ['127,655']
    """
    said = [text for text in dict.fromkeys(_NUMBER.findall(answer)) if len(text) > 1]
    if not said:
        return []
    seen = {_value(text) for each in texts for text in _NUMBER.findall(each)}
    return [text for text in said if not _is_near(_value(text), seen)]


def _value(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def _is_near(value: Decimal, seen: set[Decimal]) -> bool:
    if value in seen:
        return True
    off = Decimal(1).scaleb(int(value.as_tuple().exponent)) / 2  # half of its last digit, as rounding leaves
    return any(abs(value - each) <= off or abs(value - 100 * each) <= off for each in seen)
