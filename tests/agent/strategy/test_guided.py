"""How a small model is led: states in, moves out."""

from __future__ import annotations

import pytest

from fastslow import Kind, Plan
from fastslow.agent.engine.fenced import CODE_TOOL
from fastslow.agent.engine.types import ANY, NO_CALL, Reply
from fastslow.agent.events import CallFinished
from fastslow.agent.strategy import Done, Guided, Next
from fastslow.tools import Status
from fastslow.tools.builtin import builtin_tools
from tests.agent.strategy.makers import CODE, FAILED, OK, SILENT, STEP, bare, result, state, words

GUIDED = Guided()
PLAN_AFRESH = Next(Kind.PLAN, "", "plan", restart=True)
SAVE = "Count the orders of orders.csv and save them as counts.csv and plot.png."


# --- the first turn --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "step", "kind"),
    [
        ({"plan", "python"}, "", Kind.PLAN),
        ({"add"}, "", Kind.TRIAGE),
        ((), "", Kind.PLAN),
        ({"add"}, STEP, Kind.CALL),
        ({"plan", "python"}, STEP, Kind.CALL),
    ],
)
def test_only_where_no_code_runs_it_looks_first(tools: set[str], step: str, kind: Kind) -> None:
    assert bare(GUIDED.first(state(tools=frozenset(tools), step=step))) == Next(kind, "")


@pytest.mark.parametrize(
    ("sure", "kind", "force"),
    [
        (1.0, Kind.CALL, ANY),
        (0.985, Kind.CALL, ANY),
        (0.984, Kind.ANSWER, NO_CALL),
        (0.0, Kind.ANSWER, NO_CALL),
        (None, Kind.CALL, None),
    ],
)
def test_the_first_look_decides_whether_it_calls(sure: float | None, kind: Kind, force: str | None) -> None:
    looked = state(tools=frozenset({"add"}), kind=Kind.TRIAGE, sure=sure)
    assert bare(GUIDED.after_text(looked, Reply())) == Next(kind, "", force)


def test_thoughts_are_begun_for_it_where_it_plans_and_repairs() -> None:
    assert words(GUIDED.first(state()), "opening").endswith("\n1.")
    assert "failed" in words(GUIDED.after_calls(state((FAILED,), (FAILED,), step=STEP), (FAILED,)), "opening")
    assert words(GUIDED.first(state(step=STEP)), "opening") == ""


# --- the whole task in one piece of code -----------------------------------------------------


def test_code_that_printed_is_answered_from() -> None:
    move = GUIDED.after_calls(state((OK,)), (OK,))
    assert bare(move) == Next(Kind.ANSWER, "")
    assert words(move, "hint").endswith("The task was: the task")
    assert GUIDED.after_text(state((OK,), kind=Kind.ANSWER), Reply("It is 42.")) == Done("It is 42.")


def test_silent_code_must_be_followed_by_code_that_prints() -> None:
    move = GUIDED.after_calls(state((SILENT,)), (SILENT,))
    assert bare(move) == Next(Kind.CALL, "", "python")
    assert "Print the answer to the question: the task" in words(move, "hint")


@pytest.mark.parametrize("turns", [[(FAILED,), (FAILED,)], [(SILENT,), (FAILED,)], [(FAILED,), (SILENT,)]])
def test_code_that_failed_once_goes_on_and_twice_begins_again_with_a_plan(
    turns: list[tuple[CallFinished, ...]],
) -> None:
    assert bare(GUIDED.after_calls(state((FAILED,)), (FAILED,))) == Next(Kind.CALL, "")
    move = GUIDED.after_calls(state(*turns), turns[-1])
    assert bare(move) == PLAN_AFRESH
    assert turns[-1][-1].content.splitlines()[-1] in words(move, "hint")
    assert "Traceback" not in words(move, "hint")


def test_code_that_printed_after_a_failure_is_answered_from() -> None:
    assert bare(GUIDED.after_calls(state((FAILED,), (OK,)), (OK,))) == Next(Kind.ANSWER, "")


@pytest.mark.parametrize("last", [FAILED, SILENT])
def test_words_behind_code_that_did_not_work_become_a_plan(last: CallFinished) -> None:
    assert bare(GUIDED.after_text(state((last,)), Reply("It is 42."))) == PLAN_AFRESH
    assert isinstance(GUIDED.after_text(state((last,), asked=2), Reply("It is 42.")), Done)


def test_words_behind_thoughts_are_said_again_without() -> None:
    first = state(kind=Kind.PLAN)
    assert bare(GUIDED.after_text(first, Reply("2. the sum", "1. the"))) == Next(Kind.CALL, "")
    assert GUIDED.after_text(first, Reply("Hello.")) == Done("Hello.")
    assert GUIDED.after_text(state(kind=Kind.PLAN, asked=2), Reply("Hello.", "1. the")) == Done("Hello.")


# --- plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "plans", "troubled", "move"),
    [
        ("ok", 1, False, Next(Kind.ANSWER, "")),
        ("ok", 1, True, Next(Kind.REVIEW, "")),
        ("error", 1, True, Next(Kind.PLAN, "", "plan")),
        ("error", 2, True, Next(Kind.REPAIR, "")),
        ("refused", 0, False, Next(Kind.PLAN, "", "plan")),
        ("refused", 2, False, Next(Kind.PLAN, "")),
    ],
)
def test_a_plan_that_failed_must_be_made_once_more(status: Status, plans: int, troubled: bool, move: Next) -> None:
    planned = result(status, name="plan")
    assert bare(GUIDED.after_calls(state((planned,), plans=plans, troubled=troubled), (planned,))) == move


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        (["Count the orders"], "Write counts.csv, plot.png and print"),
        (["Save the counts to counts.csv"], "Write plot.png and print"),
        (["Save counts.csv", "Plot the counts to plot.png"], "Print"),
    ],
)
def test_a_plan_gets_a_last_step_that_writes_what_it_forgot(steps: list[str], last: str) -> None:
    plan = Plan.model_validate({"goal": "Count", "steps": steps})
    made = GUIDED.plan(plan, state(task=SAVE, files=("orders.csv",)))
    assert made.steps[:-1] == plan.steps
    assert made.steps[-1].do == f"{last} the answer to the question: {SAVE}"
    assert made.needs(len(made.steps)) == tuple(range(1, len(made.steps)))


# --- steps -----------------------------------------------------------------------------------


def test_a_step_ends_with_its_first_call_that_worked() -> None:
    done = Done(f"{CODE}\nOutput:\n42")
    assert GUIDED.after_calls(state((OK,), step=STEP), (OK,)) == done
    for turn in ((OK, FAILED), (result(content="loaded"), OK)):
        assert GUIDED.after_calls(state((FAILED,), turn, step=STEP), turn) == done
    assert GUIDED.after_calls(state((FAILED,), (OK,), step=STEP, marks=frozenset({"restarted"})), (OK,)) == done


def test_a_step_that_failed_twice_begins_again_once() -> None:
    assert bare(GUIDED.after_calls(state((FAILED,), step=STEP), (FAILED,))) == Next(Kind.CALL, "")
    move = GUIDED.after_calls(state((FAILED,), (FAILED,), step=STEP), (FAILED,))
    assert bare(move) == Next(Kind.REPAIR, "", restart=True, mark="restarted")
    assert words(move, "hint") == "An attempt failed: KeyError: 'price'"
    over = GUIDED.after_calls(state((FAILED,), step=STEP, marks=frozenset({"restarted"})), (FAILED,))
    assert bare(over) == Done("gave up after 3 failures in a row. The last one: Traceback\nKeyError: 'price'", ok=False)


def test_a_step_that_ran_nothing_must_run_code_and_has_no_answer_without() -> None:
    for turns in ([], [(FAILED,)]):
        move = GUIDED.after_text(state(*turns, step=STEP), Reply("It is 42."))
        assert bare(move) == Next(Kind.CALL, "", "python")
        assert "Run code first" in words(move, "hint")
        assert bare(GUIDED.after_text(state(*turns, step=STEP, asked=2), Reply("It is 42."))) == Done(
            "It is 42.", False
        )


def test_an_answer_behind_plans_needs_a_call_that_worked() -> None:
    planned, failed = result(name="plan"), result("error", name="plan")
    assert GUIDED.after_text(state((planned,), plans=1), Reply("It is 42.")) == Done("It is 42.")
    assert GUIDED.after_text(state((failed,), (failed,), plans=2), Reply("It is 42.")) == Done("It is 42.", ok=False)


# --- files that the task names ---------------------------------------------------------------


def test_a_file_that_nothing_made_is_asked_for_once() -> None:
    known = {"task": SAVE, "files": ("orders.csv",), "kind": Kind.ANSWER}
    move = GUIDED.after_text(state((OK,), **known, made=frozenset({"/work/plot.png"})), Reply("Saved."))
    assert bare(move) == Next(Kind.CALL, "", force=CODE_TOOL, mark="missing")
    assert "Save counts.csv as the task wants it" in words(move, "hint")
    done = Done("Saved.")
    assert GUIDED.after_text(state((OK,), **known, marks=frozenset({"missing"})), Reply("Saved.")) == done
    assert GUIDED.after_text(state((OK,), **known, made=frozenset({"plot.png", "counts.csv"})), Reply("Saved.")) == done
    assert GUIDED.after_text(state((OK,), **known, tools=frozenset({"add"})), Reply("Saved.")) == done
    assert GUIDED.after_text(state((OK,), **known, step=STEP), Reply("Saved.")) == done


# --- tools of the user -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "repeats", "kind"),
    [
        (["ok"], 0, Kind.CALL),
        (["error"], 0, Kind.CALL),
        (["error", "error"], 0, Kind.REPAIR),
        (["error", "ok"], 0, Kind.CALL),
        (["ok", "ok"], 2, Kind.REPAIR),
        (["ok", "ok"], 1, Kind.CALL),
    ],
)
def test_calls_of_the_users_tools_go_on_until_they_fail_or_repeat(
    statuses: list[Status], repeats: int, kind: Kind
) -> None:
    turns = [(result(status, name="add"),) for status in statuses]
    known = state(*turns, tools=frozenset({"add"}), repeats=repeats)
    assert bare(GUIDED.after_calls(known, turns[-1])) == Next(kind, "")


def test_it_offers_few_tools() -> None:
    assert [tool.name for tool in GUIDED.tools(builtin_tools())] == ["plan", "python"]
    assert GUIDED.tools([tool for tool in builtin_tools() if tool.name != "python"]) == ()
    assert "```python" in GUIDED.system(code=True)
    assert "```python" not in GUIDED.system(code=False)
