"""A short round of the fuzzer; and that it would find something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fastslow.tools import ArgumentError, parse_arguments
from tests.fuzz import __main__ as fuzz


def test_nothing_is_found_in_some_thousand_inputs() -> None:
    played, faults = fuzz.play((0, 8000))
    assert faults == []
    assert played == {"arguments": 2000, "recovery": 2000, "reply": 2000, "stream": 2000}


def test_a_reader_that_completes_what_was_cut_off_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
        try:
            return parse_arguments(schema, text)
        except ArgumentError:
            return parse_arguments(schema, text + '"}')

    monkeypatch.setattr(fuzz, "parse_arguments", eager)
    _, faults = fuzz.play((0, 4000))
    assert any("is half of" in fault for fault in faults)
