"""`fastslow flow show`: the steps of a flow as a tree, with what each took."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from rich.text import Text

from fastslow import Journal
from fastslow.agent.events import Exit
from fastslow.agent.flow.course import END
from fastslow.agent.flow.dry import times
from fastslow.agent.flow.left import FILES
from fastslow.agent.flow.memory import QUESTION, open_questions
from fastslow.agent.flow.workflow import MAP, SAVED
from fastslow.agent.record.jobs import JobInfo, Jobs, StepInfo
from fastslow.agent.surfaces.cli.text import one_line, seconds, terminal, typed

_MARKS = {Exit.ANSWERED: ("✓", "green"), Exit.WAITING: ("?", "yellow")}


def show(name: str, *, as_json: bool) -> None:
    """Print a flow."""
    with closing(Journal()) as journal:
        jobs = Jobs(journal)
        info = jobs.find(name, "flow")
        steps = sorted((step for step in jobs.steps(info.job) if _shown(step)), key=lambda step: step.started)
        state = _state(journal, info)
    asked = open_questions(steps)
    if as_json:
        questions = [asdict(one) for one in asked]
        told = {"flow": info.job, "name": info.name, "state": state, "started": info.started.isoformat()}
        rows = list(map(_row, steps))
        sys.stdout.write(json.dumps({**told, "questions": questions, "steps": rows}, indent=2) + "\n")
        return
    console = terminal()
    console.print(Text(f"{info.job}  {state}  {one_line(info.name)}", "bold"), soft_wrap=True)
    for depth, step in _nested(steps):
        console.print(_line(depth, step), soft_wrap=True)
    tokens = sum(step.result.tokens for step in steps if step.result)
    thinking = sum(step.result.thinking for step in steps if step.result)
    if tokens:
        console.print(Text(f"{tokens:,} tokens, {_share(thinking, tokens)}", "dim"))
    for one in asked:
        token = info.job if len(asked) == 1 else f"{info.job}:{one.number}"
        choices = " | ".join(map(typed, one.choices))
        console.print(Text(f"Answer it: fastslow flow answer {token} {choices}", "yellow"), soft_wrap=True)


def _shown(step: StepInfo) -> bool:
    return step.key != END and not (step.result and step.result.failure in (SAVED, FILES))


def _nested(steps: Sequence[StepInfo]) -> Iterator[tuple[int, StepInfo]]:
    """Each step behind the map whose item it is a part of, and how deep it lies."""
    keys = {step.key for step in steps}
    children: defaultdict[str, list[StepInfo]] = defaultdict(list)
    for step in steps:
        within = step.parent.partition("/")[0]
        children[within if within in keys and within != step.key else ""].append(step)

    def below(key: str, depth: int) -> Iterator[tuple[int, StepInfo]]:
        for step in children[key]:
            yield depth, step
            yield from below(step.key, depth + 1)

    return below("", 0)


def _line(depth: int, step: StepInfo) -> Text:
    result, name = step.result, one_line(step.name)
    if result is None:
        return Text("  " * depth).append("▸ ", "yellow").append(f"{name}  not ended")
    mark, style = _MARKS.get(result.exit, ("✗", "red"))
    line = Text("  " * depth).append(f"{mark} ", style).append(name)
    if result.failure == MAP:
        return line.append(times(result.output["items"]), "bold")
    if result.failure == QUESTION:
        return line.append(f"  {one_line(result.output['answer'])}" if "answer" in result.output else "", "bold")
    told = [seconds(result.seconds)]
    if result.tokens:
        told += [f"{result.tokens:,} tokens", _share(result.thinking, result.tokens)]
    line.append(f"  {', '.join(told)}", "dim")
    return line if result.exit is Exit.ANSWERED else line.append(f"  {result.exit}: {one_line(result.reason)}", "red")


def _share(thinking: int, tokens: int) -> str:
    """How the tokens part into the two speeds."""
    think = round(100 * thinking / tokens)
    return f"{think} % think, {100 - think} % fast"


def _row(step: StepInfo) -> dict[str, Any]:
    head = {"key": step.key, "name": step.name, "within": step.parent.partition("/")[0]}
    return {**head, "started": step.started.isoformat(), **(asdict(step.result) if step.result else {"exit": None})}


def _state(journal: Journal, info: JobInfo) -> str:
    if journal.holds_key(info.key):
        return "running"
    return str(info.exit) if info.exit else "interrupted"
