"""`bfcl`: categories of the Berkeley Function Calling Leaderboard, judged by its own checker.

Of the single-turn ones, what counts is the first turn that calls.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fastslow.agent.evals.case import Case, Judge
from fastslow.agent.evals.suites import multi_turn
from fastslow.agent.evals.suites.package import ask, lines, schema_of
from fastslow.agent.events import CallStarted, Event, TurnFinished, TurnStarted
from fastslow.tools import Tool

T = TypeVar("T")
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")


@dataclass(frozen=True, slots=True)
class Called:
    """A call that a model made. arguments: as parsed; nulls count as left out."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One task of the leaderboard. functions: as its authors describe them. answers: the calls that are right, with
    all values that are right for each argument; empty where none is."""

    id: str
    category: str
    question: str
    functions: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]


def bfcl(seed: int) -> tuple[Case, ...]:
    """All cases, shuffled by the seed within each category; the first of each category come first."""
    parts = [_shuffled(list(map(_case, problems(category))), f"{seed}/{category}") for category in CATEGORIES]
    talks = list(map(multi_turn.case_of, multi_turn.conversations()))
    parts.append(_shuffled(talks, f"{seed}/{multi_turn.CATEGORY}"))
    longest = max(map(len, parts))
    return tuple(part[number] for number in range(longest) for part in parts if number < len(part))


def problems(category: str) -> list[Problem]:
    """The tasks of a category, in the order of the leaderboard."""
    name = f"BFCL_v4_{category}.json"
    answers: dict[str, list[dict[str, Any]]] = {}
    if category != "irrelevance":
        answers = {each["id"]: each["ground_truth"] for each in lines(f"possible_answer/{name}")}
    return [
        Problem(
            id=told["id"],
            category=category,
            question=told["question"][0][-1]["content"],
            functions=tuple(told["function"]),
            answers=tuple(answers.get(told["id"], ())),
        )
        for told in lines(name)
    ]


def tools_of(problem: Problem) -> tuple[Tool, ...]:
    """The functions as tools: JSON schema, and names without dots, as the leaderboard has them for such models."""
    return tuple(
        Tool.from_schema(plain(each["name"]), each["description"], schema_of(each["parameters"]), _done, effect="read")
        for each in problem.functions
    )


def plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def verdict(problem: Problem, calls: Sequence[Called]) -> str:
    """Empty when the calls are right, else why not; for the calls of any client. Raises ConfigurationError where the
    checker does not run."""
    if not problem.answers:
        return f"expected no call, got {[call.name for call in calls]}" if calls else ""
    output = [{call.name: {k: v for k, v in call.arguments.items() if v is not None}} for call in calls]
    asked = {
        "functions": problem.functions,
        "output": output,
        "answers": problem.answers,
        "category": problem.category,
    }
    told = ask(asked)
    return "" if told["valid"] else " ".join(str(told["error"]).split())[:300]


def _case(problem: Problem) -> Case:
    names = {plain(each["name"]) for each in problem.functions}
    return Case(
        suite="bfcl",
        group=problem.category,
        id=problem.id,
        task=problem.question,
        judge=_judge(problem, names),
        tools=partial(tools_of, problem),
        sandboxed=False,
        stop_when=_calls_decided(names),
    )


def _judge(problem: Problem, names: set[str]) -> Judge:
    return lambda result: verdict(problem, _first_calls(result.events, names))


def _first_calls(events: Iterable[Event], names: set[str]) -> list[Called]:
    """The calls of the first turn that called one of the tools."""
    calls: list[Called] = []
    for event in events:
        if isinstance(event, TurnStarted) and calls:
            break
        if isinstance(event, CallStarted) and event.call.name in names:
            calls.append(Called(event.call.name, event.arguments))
    return calls


def _calls_decided(names: set[str]) -> Callable[[Sequence[Event]], bool]:
    """Whether a turn begins after one that called."""
    return lambda said: (
        isinstance(said[-1], TurnStarted)
        and any(call.name in names for event in said if isinstance(event, TurnFinished) for call in event.reply.calls)
    )


def _shuffled(found: list[T], seed: str) -> list[T]:
    random.Random(seed).shuffle(found)  # noqa: S311 - not for secrets
    return found


def _done(**_: Any) -> str:
    return "done"
