"""Plans, and the scheduler that runs numbered generators as soon as they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from pydantic import ValidationError

from fastslow.agent.plan import Plan, plan_tool, run_ready


def test_steps_may_be_bare_sentences() -> None:
    plan = Plan.model_validate({"goal": "g", "steps": ["load", {"do": "plot", "after": [1]}]})
    assert [step.do for step in plan.steps] == ["load", "plot"]
    assert (plan.needs(1), plan.needs(2)) == ((), (1,))


def test_a_step_cannot_come_after_itself() -> None:
    with pytest.raises(ValidationError, match="step 2 can only come after earlier steps: take numbers from 1 to 1"):
        Plan.model_validate({"goal": "g", "steps": ["a", {"do": "b", "after": [2]}]})


def test_the_short_form_holds_verbs() -> None:
    steps = plan_tool(("Find", "Plot")).parameters["properties"]["steps"]
    assert steps["items"]["pattern"].startswith("^(Find|Plot) ")


async def test_each_starts_when_what_it_needs_has_ended() -> None:
    ended: list[int] = []

    async def run(number: int) -> AsyncGenerator[str, None]:
        yield f"start {number}"
        await asyncio.sleep(0.01 * (4 - number))
        ended.append(number)

    said = [item async for item in run_ready({1: (), 2: (), 3: (1, 2)}, run)]
    assert said[:2] == ["start 1", "start 2"]
    assert ended == [2, 1, 3]


async def test_an_error_ends_all() -> None:
    cancelled: list[int] = []

    async def run(number: int) -> AsyncGenerator[str, None]:
        if number == 1:
            raise RuntimeError("one")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        yield "never"

    with pytest.raises(RuntimeError, match="one"):
        async for _ in run_ready({1: (), 2: ()}, run):
            pass
    assert cancelled == [2]


async def test_needs_that_cannot_be_met_are_told() -> None:
    async def run(number: int) -> AsyncGenerator[str, None]:
        yield str(number)

    with pytest.raises(ValueError, match="wait for each other"):
        async for _ in run_ready({1: (2,), 2: (1,)}, run):
            pass
