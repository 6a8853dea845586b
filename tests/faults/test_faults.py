"""Whatever is played at the loop, it ends with a right answer or an honest one, and nothing runs that should not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import pytest

from fastslow import Exit
from tests.faults.catalog import FAULTS, FINAL, Fault
from tests.faults.played import Outcome, history_problem
from tests.faults.report import DOCUMENT, ELSEWHERE, observed, rendered

ROOT = DOCUMENT.parents[1]


@pytest.fixture(scope="module")
def outcomes() -> Mapping[tuple[str, str], Outcome]:
    return asyncio.run(observed())


@pytest.mark.parametrize(
    ("fault", "way"), [pytest.param(fault, way, id=f"{fault.name}, {way}") for fault in FAULTS for way in fault.ways]
)
def test_a_fault(outcomes: Mapping[tuple[str, str], Outcome], fault: Fault, way: str) -> None:
    outcome = outcomes[fault.name, way]
    if fault.ends == "right":
        assert outcome.result.exit is Exit.ANSWERED, outcome.result.reason
        assert outcome.result.answer == FINAL
    else:
        assert outcome.result.exit is not Exit.ANSWERED
        assert fault.ends in outcome.result.reason
    assert sorted(outcome.ran) == sorted(fault.ran)  # those of one turn run side by side
    assert any(fault.tells in told for told in outcome.told), outcome.told
    assert not [problem for body in outcome.bodies if (problem := history_problem(body))]
    assert max(len(str(body)) for body in outcome.bodies) < 100_000


def test_the_document_says_what_was_seen(outcomes: Mapping[tuple[str, str], Outcome]) -> None:
    assert DOCUMENT.read_text("utf-8") == rendered(outcomes), "run `python -m tests.faults.report`"


def test_what_is_played_elsewhere_is_played_there() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", ELSEWHERE)
    assert len(named) == 8
    assert all(f"def {name}(" in tests for name in named)
