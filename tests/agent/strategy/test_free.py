"""What comes next for a model that can carry a task: states in, moves out."""

from __future__ import annotations

import pytest

from fastslow import Kind, Plan, Step
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished
from fastslow.agent.plan import GIVE_UP, PLAN
from fastslow.agent.strategy import Done, Free, Next
from fastslow.tools.builtin import builtin_tools
from tests.agent.strategy.makers import FAILED, OK, STEP, bare, result, state

FREE = Free()
_PLANNED = result(name="plan")
_PLAN_FAILED = result("error", name="plan")
_REFUSED = result("refused", name="plan")


def test_it_thinks_first_and_acts_fast_in_a_step() -> None:
    assert bare(FREE.first(state())) == Next(Kind.PLAN, "")
    assert bare(FREE.first(state(step=STEP))) == Next(Kind.CALL, "")


def test_words_are_the_answer() -> None:
    assert FREE.after_text(state(), Reply(" It is 42.\n")) == Done("It is 42.")
    assert FREE.after_text(state((FAILED,), step=STEP), Reply("No prices.")) == Done("No prices.")


@pytest.mark.parametrize(
    ("turns", "kind"),
    [
        ([(OK,)], Kind.CALL),
        ([(FAILED,)], Kind.CALL),
        ([(FAILED,), (FAILED,)], Kind.REPAIR),
        ([(OK,), (FAILED,), (FAILED, FAILED)], Kind.REPAIR),
        ([(FAILED,), (FAILED, OK)], Kind.CALL),
        ([(FAILED,), (OK,), (FAILED,)], Kind.CALL),
    ],
)
def test_two_turns_in_a_row_that_failed_make_it_think(turns: list[tuple[CallFinished, ...]], kind: Kind) -> None:
    assert bare(FREE.after_calls(state(*turns), turns[-1])) == Next(kind, "")
    assert bare(FREE.after_calls(state(*turns, step=STEP), turns[-1])) == Next(kind, "")


@pytest.mark.parametrize(("repeats", "kind"), [(1, Kind.CALL), (2, Kind.REPAIR)])
def test_two_calls_that_gave_the_same_make_it_think(repeats: int, kind: Kind) -> None:
    assert bare(FREE.after_calls(state((OK,), (OK,), repeats=repeats), (OK,))) == Next(kind, "")


@pytest.mark.parametrize(
    ("planned", "troubled", "kind"),
    [
        (_PLANNED, False, Kind.ANSWER),
        (_PLANNED, True, Kind.REVIEW),
        (_PLAN_FAILED, True, Kind.REPAIR),
        (_REFUSED, False, Kind.PLAN),
    ],
)
def test_what_follows_a_plan_is_how_it_came_out(planned: CallFinished, troubled: bool, kind: Kind) -> None:
    assert bare(FREE.after_calls(state((planned,), plans=1, troubled=troubled), (planned,))) == Next(kind, "")


def test_plans_are_carried_out_as_they_are() -> None:
    plan = Plan(goal="Report", steps=(Step(do="Load"),))
    assert FREE.plan(plan, state(task="Save it as a.csv")) is plan


def test_it_offers_all_and_tells_of_the_sandbox_where_there_is_one() -> None:
    builtin = builtin_tools()
    assert FREE.tools(builtin) == (PLAN, *builtin, GIVE_UP)
    assert "sandbox" in FREE.system(code=True)
    assert FREE.system(code=True).startswith(FREE.system(code=False))
