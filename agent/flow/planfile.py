"""A plan as a file that people edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator

from fastslow.agent.flow.places import escaped, filled, names
from fastslow.agent.flow.yamlfile import FileWrong, parse
from fastslow.agent.plan import Plan, Step
from fastslow.agent.quoting import CONTROLS

WIDTH = 100  # columns
_ORDER = ("task", "files", "parameters", "goal", "steps")


class PlanFile(Plan):
    """A plan with what it is for. In task, goal and steps `{name}` is a parameter.

    files: of the task, as they lie from the file's folder on. parameters: their values where nobody gives others, `""`
    for none.
    """

    task: str = Field(min_length=1)
    files: tuple[str, ...] = ()
    parameters: dict[str, str] = Field(default_factory=dict)

    @field_validator("files", mode="before")
    @classmethod
    def _no_files(cls, value: Any) -> Any:
        """`files:` with nothing behind it is read as an empty text."""
        return value or ()

    @field_validator("parameters", mode="before")
    @classmethod
    def _no_parameters(cls, value: Any) -> Any:
        return value or {}

    @classmethod
    def of(cls, task: str, plan: Plan, files: Iterable[Path] = ()) -> Self:
        """The file of a plan that was made for a task: no text in it is a parameter."""
        steps = tuple(Step(do=escaped(step.do), after=step.after) for step in plan.steps)
        return cls(task=escaped(task), files=tuple(map(_named, files)), goal=escaped(plan.goal), steps=steps)

    @classmethod
    def read(cls, text: str, name: str) -> Self:
        """FileWrong, with the line of each field that is wrong."""
        written = parse(text, name)
        return written.read(cls, written.texts())

    def to_yaml(self) -> str:
        told = self.model_dump(mode="json", exclude_none=True)
        shown = {key: told[key] for key in _ORDER if told[key]}
        text = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
        return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # what is not printable stands in quotes

    def filled(self, given: Mapping[str, str]) -> tuple[str, Plan]:
        """Task and plan with values for the parameters. FileWrong for one that is unknown, not used, or has none."""
        used = set(names("\n".join((self.task, self.goal, *(step.do for step in self.steps)))))
        values = {name: value for name, value in self.parameters.items() if value} | dict(given)
        known = f"it has {', '.join(sorted(used))}" if used else "it has none"
        for wrong, what in (
            (set(given) - used, f"the plan has no such parameter; {known}"),
            (set(self.parameters) - used, "the plan does not use it; write it in braces where it belongs"),
            (used - set(values), "it has no value; give --set NAME=VALUE, or double the braces where they are text"),
        ):
            if wrong:
                raise FileWrong(f"parameter {', '.join(sorted(wrong))}: {what}")
        steps = tuple(Step(do=filled(step.do, values), after=step.after) for step in self.steps)
        return filled(self.task, values), Plan(goal=filled(self.goal, values), steps=steps)


def _named(file: Path) -> str:
    """As it is found again from here, if it lies here; else by its name alone."""
    return file.name if file.is_absolute() or ".." in file.parts else str(file)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and numbers of steps on one line."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    lines = text.split("\n")
    if not all(map(str.isprintable, lines)):
        style: str | None = '"'  # YAML ends lines at other characters, too
    else:
        style = "|" if len(lines) > 1 and text == text.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    flow = all(isinstance(value, int) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
