"""`bfcl`: single-turn categories of the Berkeley Function Calling Leaderboard, judged by its own checker.

Tasks and checker are those of the package `bfcl-eval` (Apache-2.0, https://gorilla.cs.berkeley.edu/leaderboard.html),
which is fetched without what it depends on, and runs in a process of its own. What counts is the first turn that calls.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.engine.machine import data_folder, only_one
from agent.errors import ConfigurationError
from agent.evals.case import Case, Judge
from agent.events import CallStarted, Event, TurnFinished, TurnStarted
from tools import Tool

PACKAGE = "bfcl-eval==2026.3.23"
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
CHECKER = Path(__file__).with_name("bfcl_checker.py")
CHECK_SECONDS = 60.0
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


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
    by_category = [_shuffled(problems(category), f"{seed}/{category}") for category in CATEGORIES]
    longest = max(map(len, by_category))
    return tuple(_case(part[number]) for number in range(longest) for part in by_category if number < len(part))


def problems(category: str) -> list[Problem]:
    """The tasks of a category, in the order of the leaderboard."""
    data = package() / "bfcl_eval" / "data"
    name = f"BFCL_v4_{category}.json"
    answers: dict[str, list[dict[str, Any]]] = {}
    if category != "irrelevance":
        answers = {each["id"]: each["ground_truth"] for each in _lines(data / "possible_answer" / name)}
    return [
        Problem(
            id=told["id"],
            category=category,
            question=told["question"][0][-1]["content"],
            functions=tuple(told["function"]),
            answers=tuple(answers.get(told["id"], ())),
        )
        for told in _lines(data / name)
    ]


def tools_of(problem: Problem) -> tuple[Tool, ...]:
    """The functions as tools: JSON schema, and names without dots, as the leaderboard has them for such models."""
    return tuple(
        Tool.from_schema(plain(each["name"]), each["description"], schema_of(each["parameters"]), _done, effect="read")
        for each in problem.functions
    )


def plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def schema_of(told: Any) -> Any:
    """A description of the leaderboard as JSON schema: some types have other names, and `any` is none.

    >>> schema_of({"type": "dict", "properties": {"x": {"type": "float"}}})
    {'type': 'object', 'properties': {'x': {'type': 'number'}}}
    """
    if not isinstance(told, dict):
        return told
    schema = {key: schema_of(value) for key, value in told.items() if key not in {"default", "format", "optional"}}
    if isinstance(told.get("properties"), dict):
        schema["properties"] = {name: schema_of(each) for name, each in told["properties"].items()}
    kind = told.get("type")
    if kind == "any":
        del schema["type"]
    elif isinstance(kind, str):
        schema["type"] = _TYPES.get(kind, kind)
    return schema


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
    command = [sys.executable, "-I", str(CHECKER), str(package())]
    ran = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=CHECK_SECONDS)
    if ran.returncode:
        raise ConfigurationError(f"the checker of {PACKAGE} failed: {ran.stderr.strip()[-300:]}")
    told = json.loads(ran.stdout)
    return "" if told["valid"] else " ".join(str(told["error"]).split())[:300]


def package() -> Path:
    """The folder that holds the package, fetched once. Raises ConfigurationError with pip's last words."""
    folder = data_folder() / "evals" / PACKAGE
    with only_one("bfcl", lambda *_: None):
        if not (folder / "bfcl_eval").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            ran = subprocess.run([*pip, "--target", str(folder), PACKAGE], capture_output=True, text=True)
            if ran.returncode:
                raise ConfigurationError(f"{PACKAGE} could not be fetched: {ran.stderr.strip()[-300:]}")
    return folder


def _case(problem: Problem) -> Case:
    tools = tools_of(problem)
    names = {tool.name for tool in tools}
    return Case(
        suite="bfcl",
        group=problem.category,
        id=problem.id,
        task=problem.question,
        judge=_judge(problem, names),
        tools=tools,
        sandboxed=False,
        over=_over(names),
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


def _over(names: set[str]) -> Callable[[Sequence[Event]], bool]:
    """Whether a turn begins after one that called."""
    return lambda said: (
        isinstance(said[-1], TurnStarted)
        and any(call.name in names for event in said if isinstance(event, TurnFinished) for call in event.reply.calls)
    )


def _shuffled(found: list[Problem], seed: str) -> list[Problem]:
    random.Random(seed).shuffle(found)  # noqa: S311 - not for secrets
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _done(**_: Any) -> str:
    return "done"
