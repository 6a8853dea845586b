"""What a run and its steps may spend: what reaches a limit ends, with what it has, and was told before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fastslow import Agent, Budget, Exit, Journal, Prices, Result, ScriptedModel, StepBudget
from fastslow.agent.budget import BudgetSpent, Ledger, StepSpent
from fastslow.agent.engine.types import Reply, Request, Usage
from fastslow.agent.events import CallFinished, StepFinished
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import ToolResult, User
from fastslow.tools import tool
from tests.agent.helpers import add, calls, fail, plan, says

THINK = Mode(64)
PRICES = Prices(prompt=1.0, cached=0.1, generated=10.0)


@pytest.mark.parametrize("name", ["turns", "tokens", "thinking_tokens", "tool_calls", "seconds", "cost"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("kind", [StepBudget, Budget])
def test_a_limit_is_above_zero(name: str, value: float, kind: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"a budget's {name} must be above 0 or None for no limit, got {value}"):
        kind(**{name: value})


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_is_zero_or_more(price: float) -> None:
    with pytest.raises(ValueError, match="a price is 0 or more"):
        Prices(prompt=1.0, cached=price, generated=1.0)


@pytest.mark.parametrize("limits", [{"cost": 1.0}, {"step": StepBudget(cost=1.0)}])
def test_a_limit_of_cost_needs_prices(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs prices"):
        Budget(**limits)
    Budget(**limits, prices=PRICES)


def test_a_budget_comes_back_from_the_journals_json() -> None:
    budget = Budget(cost=2.0, prices=PRICES, step=StepBudget(seconds=3))
    assert TypeAdapter(Budget).validate_python(json.loads(json.dumps(asdict(budget)))) == budget


def test_cost_counts_cached_and_generated_tokens_by_their_own_price() -> None:
    assert PRICES.cost(Usage(prompt=1000, cached=600, thinking=20, answer=80)) == pytest.approx(0.00146)
    assert PRICES.cost(Usage(prompt=10, cached=99)) == pytest.approx(0.000001), "a server may count oddly"


# --- the ledger --------------------------------------------------------------------------------------


def test_a_steps_part_counts_for_the_run_as_well() -> None:
    ledger = Ledger(Budget())
    first, second = ledger.step(), ledger.step()
    ledger.add(THINK, Reply(usage=Usage(thinking=5, answer=1)))
    first.add(FAST, calls(("add", {}), ("add", {}), ("answer", {})))
    second.add(FAST, says("x"))
    assert [sum(row.turns for row in part.usage.values()) for part in (ledger, first, second)] == [3, 1, 1]
    assert (ledger.tool_calls, first.tool_calls, second.tool_calls) == (2, 2, 0)
    assert {name: row.turns for name, row in ledger.usage.items()} == {"think": 1, "fast": 2}
    assert ledger.usage["fast"].usage.answer == 8


USED = Reply(calls=calls(("add", {})).calls, usage=Usage(prompt=100_000, thinking=10, answer=10))
LIMITS = [{"turns": 1}, {"tokens": 20}, {"thinking_tokens": 10}, {"cost": 0.1}, {"seconds": 5}]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: next(iter(limit)))
def test_each_limit_ends_its_own_scope(limit: dict[str, Any]) -> None:
    for budget, error in (
        (Budget(**limit, prices=PRICES), BudgetSpent),
        (Budget(step=StepBudget(**limit), prices=PRICES), StepSpent),
    ):
        run = Ledger(budget)
        part = run.step()
        part.check()
        part.add(THINK, USED)
        if "seconds" in limit:
            run.started -= 6
            part.started -= 6
        with pytest.raises(error, match=f"budget of {next(iter(limit.values()))} .* is spent"):
            part.check()
        with nullcontext() if error is StepSpent else pytest.raises(BudgetSpent):
            run.check()
            run.step().check()


def test_the_last_tool_call_leaves_a_turn_to_answer() -> None:
    ledger = Ledger(Budget(tool_calls=2))
    ledger.add(FAST, calls(("add", {}), ("add", {})))
    ledger.check_calls()
    ledger.check()
    assert "2 of 2 tool calls" in ledger.warning()
    ledger.add(FAST, calls(("answer", {})))
    ledger.check_calls()
    ledger.add(FAST, calls(("add", {})))
    with pytest.raises(BudgetSpent, match=r"the budget of 2 tool calls is spent \(3 used\)"):
        ledger.check_calls()


def test_thinking_left_is_the_least_of_run_and_step() -> None:
    ledger = Ledger(Budget(thinking_tokens=100, step=StepBudget(thinking_tokens=30)))
    part = ledger.step()
    assert (ledger.thinking_left(), part.thinking_left()) == (100, 30)
    ledger.add(THINK, Reply(usage=Usage(thinking=90)))
    assert (ledger.thinking_left(), part.thinking_left()) == (10, 10)
    assert Ledger(Budget()).thinking_left() is None


def test_a_near_limit_is_told_once_to_each_branch() -> None:
    ledger = Ledger(Budget(turns=20))
    part = ledger.step()
    for _ in range(17):
        ledger.add(FAST, says("x"))
    assert (ledger.warning(), part.warning()) == ("", "")
    ledger.add(FAST, says("x"))
    assert "18 of 20 turns that this task may take are used. Finish now" in part.warning()
    assert "18 of 20 turns" in ledger.warning()
    assert (ledger.warning(), part.warning()) == ("", "")


def test_a_small_limit_of_turns_is_told_while_there_is_one_left() -> None:
    part = Ledger(Budget(step=StepBudget(turns=8))).step()
    for _ in range(6):
        part.add(FAST, says("x"))
    assert part.warning() == ""
    part.add(FAST, says("x"))
    assert "7 of 8 turns that this step may take" in part.warning()
    part.check()


@pytest.mark.parametrize(
    ("budget", "error"),
    [
        (Budget(seconds=0.05), BudgetSpent),
        (Budget(seconds=60, step=StepBudget(seconds=0.05)), StepSpent),
        (Budget(seconds=0.05, step=StepBudget(seconds=60)), BudgetSpent),
    ],
)
async def test_a_wait_ends_at_the_first_clock_that_runs_out(budget: Budget, error: type[Exception]) -> None:
    part = Ledger(budget).step()
    with pytest.raises(error, match=r"0\.05 seconds is spent"):
        await part.in_time(asyncio.sleep(30))


async def test_a_timeout_of_somebody_else_stays_one() -> None:
    async def late() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Ledger(Budget(seconds=60)).in_time(late())


async def test_the_clock_of_a_run_that_goes_on_stands_where_it_stood() -> None:
    ledger = Ledger(Budget(seconds=100))
    ledger.started -= 101
    with pytest.raises(BudgetSpent, match="100 seconds"):
        ledger.check()


# --- in a run ----------------------------------------------------------------------------------------


async def run(
    *script: Reply | Callable[[Request], Any], budget: Budget, journal: Journal | None = None
) -> tuple[Result, ScriptedModel]:
    model = ScriptedModel(script)
    agent = Agent(engine=model, tools=[add, fail, wait], sandbox=None, budget=budget, journal=journal)
    return await agent.run("the task"), model


@tool(effect="read")
async def wait(seconds: float) -> str:
    """Wait.

    Args:
        seconds: How long.
    """
    await asyncio.sleep(seconds)
    return "waited"


def results(request: Request) -> list[str]:
    return [message.content for message in request.messages if isinstance(message, ToolResult)]


async def test_the_model_is_told_through_a_tool_result_and_never_otherwise() -> None:
    script = [calls(("add", {"a": n, "b": 0})) for n in range(9)]
    result, model = await run(*script, says("done"), budget=Budget(turns=10))
    assert result.exit is Exit.ANSWERED
    told = ["Finish now" in text for text in results(model.requests[-1])]
    assert told == [False] * 8 + [True]
    assert results(model.requests[-1])[-1].startswith("8\n[9 of 10 turns")
    assert sum(isinstance(message, User) for message in model.requests[-1].messages) == 1
    for earlier, later in zip(model.requests, model.requests[1:], strict=False):
        assert later.messages[: len(earlier.messages)] == earlier.messages
    shown = [event.content for event in result.events if isinstance(event, CallFinished)]
    assert shown == results(model.requests[-1]), "the event has what the model is shown"


async def test_more_tool_calls_than_allowed_are_not_carried_out() -> None:
    two = (("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}))
    result, _ = await run(calls(*two), calls(*two), budget=Budget(tool_calls=3))
    assert (result.exit, result.reason) == (Exit.BUDGET, "the budget of 3 tool calls is spent (4 used)")
    assert sum(isinstance(event, CallFinished) for event in result.events) == 2


async def test_cost_ends_a_run_with_its_partial_answer() -> None:
    first = replace(calls(("add", {"a": 1, "b": 1})), content="So far: 1.", usage=Usage(prompt=500_000, answer=1000))
    result, _ = await run(first, budget=Budget(cost=0.5, prices=PRICES))
    assert (result.exit, result.answer) == (Exit.BUDGET, "So far: 1.")
    assert "0.5 units of cost is spent (0.51 used)" in result.reason


async def test_a_step_that_spent_its_part_fails_with_what_it_has_and_the_run_goes_on() -> None:
    script = [plan("one"), *[calls(("add", {"a": n, "b": 0})) for n in range(3)], says("sorry")]
    result, model = await run(*script, budget=Budget(step=StepBudget(turns=3)))
    [step] = [event for event in result.events if isinstance(event, StepFinished)]
    assert (result.exit, result.answer, step.ok) == (Exit.ANSWERED, "sorry", False)
    assert step.result.startswith("gave up: the step's budget of 3 turns is spent (3 used). Last output: 2")
    assert "the step's budget of 3 turns" in results(model.requests[-1])[-1]


@pytest.mark.parametrize("where", ["turn", "call"])
async def test_a_steps_time_ends_what_hangs_and_the_run_goes_on(where: str, tmp_path: Path) -> None:
    async def hang(request: Request) -> Reply:
        await asyncio.sleep(60)
        raise AssertionError("not reached")

    hanging = hang if where == "turn" else calls(("wait", {"seconds": 60}))
    script = [plan("one"), calls(("add", {"a": 40, "b": 2})), hanging, plan("other"), says("42"), says("done")]
    journal = Journal(tmp_path / "runs.db")
    result, model = await run(*script, budget=Budget(step=StepBudget(seconds=1.0)), journal=journal)
    assert (result.exit, result.answer) == (Exit.ANSWERED, "done")
    model.assert_complete()
    steps = [event for event in result.events if isinstance(event, StepFinished)]
    assert [step.ok for step in steps] == [False, True]
    assert "the step's budget of 1 seconds is spent" in steps[0].result
    assert steps[0].result.endswith("Last output: 42")

    again = Agent(engine=ScriptedModel([]), tools=[add, fail, wait], sandbox=None, journal=journal)
    told = [event async for event in again.replay(result.run)]
    assert [event for event in told if isinstance(event, StepFinished)] == steps, "a replay has no clock"
    assert told[-1].result.answer == "done"  # type: ignore[union-attr]
