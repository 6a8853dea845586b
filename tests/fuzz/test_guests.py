"""A short round of hostile guests; and that what breaks is found."""

from __future__ import annotations

import pytest

from tests.fuzz import guests


def test_no_guest_costs_more_than_the_limits_say() -> None:
    found = guests.rounds(range(15))
    assert [line for each in found for line in each.broke] == []
    assert sum(each.lies.total() for each in found) > 15
    assert {"answered", "sandbox"} <= {each.exit for each in found}


def test_what_costs_too_much_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "SLACK", -4 * guests.LIMITS.traffic - guests.LIMITS.out)
    [found] = guests.rounds(range(1))
    [line] = found.broke
    assert line.startswith("seed 0: bytes of journal: ")
