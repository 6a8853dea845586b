"""The leaderboard's tasks as cases: its own answers are right for its own checker, and others are not."""

from __future__ import annotations

import pytest

from fastslow import Kind
from fastslow.agent.evals.suites.bfcl import CATEGORIES, Called, Problem, bfcl, plain, problems, tools_of, verdict
from fastslow.agent.evals.suites.package import schema_of
from fastslow.agent.events import TurnFinished, TurnStarted
from fastslow.agent.modes import FAST
from tests.agent.helpers import calls

CALLING = CATEGORIES[:-1]


def truth(problem: Problem) -> list[Called]:
    """The calls of the answer, with the first of each argument's right values."""
    return [
        Called(plain(name), {key: values[0] for key, values in arguments.items() if values and values[0] != ""})
        for answer in problem.answers
        for name, arguments in answer.items()
    ]


def flat(problem: Problem) -> bool:
    """Whether no argument is an object, whose values the answers list in a way of their own."""
    return not any(isinstance(value, dict) for call in truth(problem) for value in call.arguments.values())


@pytest.mark.index
@pytest.mark.parametrize("category", CALLING)
def test_the_answers_are_right_and_others_are_not(category: str) -> None:
    for problem in [each for each in problems(category) if flat(each)][:4]:
        right = truth(problem)
        assert verdict(problem, right) == "", problem.id
        assert verdict(problem, right[:-1])
        assert verdict(problem, [*right, right[0]])
        assert verdict(problem, [Called("other", right[0].arguments), *right[1:]])


@pytest.mark.index
def test_where_no_call_is_right() -> None:
    problem = problems("irrelevance")[0]
    assert verdict(problem, []) == ""
    assert verdict(problem, [Called("f", {})]) == "expected no call, got ['f']"


@pytest.mark.index
def test_all_tasks_become_tools() -> None:
    for category in CATEGORIES:
        assert all(tools_of(problem) for problem in problems(category))


@pytest.mark.index
def test_the_first_cases_are_a_sample_of_all_categories() -> None:
    first, other = bfcl(1), bfcl(2)
    assert [case.group for case in first[: len(CATEGORIES) + 1]] == [*CATEGORIES, "multi_turn_base"]
    assert [case.id for case in first] != [case.id for case in other]
    assert len(first) == len({case.id for case in first}) == 1440


@pytest.mark.index
def test_a_run_is_over_when_a_turn_begins_behind_one_that_called() -> None:
    case = next(each for each in bfcl(1) if each.group == "simple_python")
    assert case.stop_when
    began = TurnStarted("", 1, Kind.CALL, FAST, "")
    ended = TurnFinished("", 1, FAST, calls((case.tools()[0].name, {})))
    for _ in range(2):  # a case runs under several policies
        assert not case.stop_when([began])
        assert not case.stop_when([began, ended])
        assert case.stop_when([began, ended, began])


def test_types_have_other_names_there() -> None:
    told = {
        "type": "dict",
        "properties": {
            "type": {"type": "tuple", "items": {"type": "float"}},
            "any": {"type": "any", "default": 1},
            "flag": {"type": "boolean", "enum": [True]},
        },
        "required": ["type"],
    }
    assert schema_of(told) == {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"type": "number"}},
            "any": {},
            "flag": {"type": "boolean", "enum": [True]},
        },
        "required": ["type"],
    }
