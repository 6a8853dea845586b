"""How the values of options are read."""

from __future__ import annotations

import pytest

from fastslow import Budget, Limits, StepBudget
from fastslow.agent.budget import CALL_SECONDS
from fastslow.agent.surfaces.cli.options import changed_budget, parse_budget, parse_memory, sandbox_limits


def test_a_budget_changes_what_it_names_and_nothing_else() -> None:
    before = Budget(turns=30, seconds=600, step=StepBudget(turns=4, tokens=500))
    limits = parse_budget("turns=40, seconds=1.5 step.turns=12,step.seconds=9")
    assert changed_budget(before, limits) == Budget(
        turns=40, seconds=1.5, step=StepBudget(turns=12, tokens=500, seconds=9)
    )
    assert changed_budget(before, None) == before


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("4G", 4 << 30), ("1.5g", 3 << 29), ("256MiB", 256 << 20), ("131072k", 128 << 20)],
)
def test_sizes_of_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_limits_that_are_not_given_are_the_usual_ones() -> None:
    assert sandbox_limits(None, None) == Limits(seconds=CALL_SECONDS)
    assert sandbox_limits(5, None) == Limits(seconds=5)
    assert sandbox_limits(None, 1 << 29) == Limits(memory=1 << 29, seconds=CALL_SECONDS)
