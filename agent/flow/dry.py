"""A flow on paper: its main runs with made-up answers, and what it would do is written into a tree. Nothing is."""

from __future__ import annotations

import json
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastslow.agent.budget import LIMITS
from fastslow.agent.errors import AgentError, ConfigurationError
from fastslow.agent.events import Exit
from fastslow.agent.flow.asking import form_of
from fastslow.agent.flow.script import Script, told
from fastslow.agent.flow.spending import FlowBudget
from fastslow.agent.flow.workflow import Answered, Checked, Effect, Workflow, name_of
from fastslow.agent.output import Form
from fastslow.tools import clip
from fastslow.tools.examples import example_of
from fastslow.tools.foreign import in_thread

TEXT = "(an answer)"
SHOWN = 10  # steps within one


def times(count: int) -> str:
    """How often, for people."""
    return f" \N{MULTIPLICATION SIGN}{count}"


@dataclass(slots=True)
class Planned:
    """A step that would be. times: how often."""

    kind: str
    name: str
    times: int = 0
    within: list[Planned] = field(default_factory=list)

    def lines(self, indent: str = "") -> Iterator[str]:
        """It and those within it, for people."""
        yield f"{indent}{self.kind} {self.name}".rstrip() + (times(self.times) if self.times != 1 else "")
        for step in self.within[:SHOWN]:
            yield from step.lines(f"{indent}  ")
        if len(self.within) > SHOWN:
            yield f"{indent}  … and {len(self.within) - SHOWN} more"


@dataclass(slots=True)
class DryTree:
    """What a flow would do. reads, writes: files. reason: what main raised, if it did."""

    exit: Exit = Exit.ANSWERED
    reason: str = ""
    steps: list[Planned] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        for step in self.steps:
            yield from step.lines()
        for what, files in (("reads", self.reads), ("writes", self.writes)):
            if files:
                yield f"{what} {', '.join(files[:SHOWN])}" + (" …" if len(files) > SHOWN else "")
        if self.reason:
            yield f"ended with made-up answers at {self.reason}"


async def dry_tree(script: Script, values: Mapping[str, Any]) -> DryTree:
    """Go through a flow with the smallest answers that fit what is asked for."""
    wf = DryWorkflow()
    wf.reads(values.values())
    try:
        await script.main(wf, **values)
    except Exception as error:
        wf.tree.exit, wf.tree.reason = Exit.FAILED, told(error, script.path)
    return wf.tree


class DryWorkflow(Workflow):
    """Does nothing but note what it would do; only steps with `effect="read"` are carried out."""

    def __init__(self) -> None:
        self.tree = DryTree()
        self._here: ContextVar[list[Planned]] = ContextVar("here", default=self.tree.steps)

    async def run(self, prompt: str, *, files: Iterable[str | Path] = (), name: str = "", **options: Any) -> Answered:
        """The smallest answer that fits."""
        self._note("agent", name or clip(prompt.split("\n")[0], 60))
        self.reads(map(Path, files))
        form = form_of(options.get("output"))
        value = made_up(form) if form else TEXT
        return Answered(value, form.text(value) if form else TEXT, (), "")

    async def agent(self, prompt: str, **options: Any) -> Any:
        """See `run`."""
        return (await self.run(prompt, **options)).output

    async def step(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        retries: int = 0,
        effect: Effect = "outside",
        name: str = "",
    ) -> Any:
        """What its annotation says; only what merely reads is called."""
        self._note("step", name or name_of(function, "step"))
        self.reads(arguments)
        if effect == "read":
            value = await in_thread(function, *arguments)
            return await value if isinstance(value, Awaitable) else value
        annotation = typing.get_type_hints(function).get("return", Any)
        return None if annotation in (Any, type(None)) else made_up(Form.of(annotation))

    async def check(self, command: str, files: Iterable[str | Path] = ()) -> Checked:
        """Green."""
        self._note("check", clip(command, 60))
        self.reads(map(Path, files))
        return Checked(True, 0, "")

    async def ask(self, question: str, choices: Sequence[str] = ("yes", "no"), *, about: Any = None) -> str:
        """The first choice."""
        self._note("ask", question)
        return choices[0]

    async def map(self, function: Any, items: Iterable[Any], **options: Any) -> list[Any]:
        """All items, one after the other."""
        listed = list(items)
        planned = self._note("map", name_of(function, ""), len(listed))
        before = self._here.set(planned.within)
        try:
            return [await function(item) for item in listed]
        finally:
            self._here.reset(before)

    async def until(self, make: Any, judge: Any, *, tries: int = 3) -> Any:
        """The first one made is taken."""
        value = await make(None)
        verdict = judge(value)
        if isinstance(verdict, Awaitable):
            await verdict
        return value

    def log(self, text: str) -> None:
        """Nobody is told."""

    def save(self, name: str, content: str | bytes) -> Path:
        """Where it would be."""
        self.tree.writes.append(name)
        return Path("fastslow-out") / name

    @property
    def budget(self) -> FlowBudget:
        """Nothing is spent."""
        return FlowBudget({}, dict.fromkeys(LIMITS, 0.0), {})

    def reads(self, values: Iterable[Any]) -> None:
        """Note the files among some values."""
        for value in values:
            if isinstance(value, Path) and value.is_file() and str(value) not in self.tree.reads:
                self.tree.reads.append(str(value))
            elif isinstance(value, list | tuple):
                self.reads(value)

    def _note(self, kind: str, name: str, times: int = 1) -> Planned:
        steps = self._here.get()
        same = [step for step in steps if (step.kind, step.name) == (kind, name)]
        known = same[0] if same and (kind != "map" or steps is not self.tree.steps) else None
        if known is None:
            steps.append(known := Planned(kind, name))
        known.times += times
        return known


def made_up(form: Form) -> Any:
    """A smallest value of a form, in which no list is empty where one may have items."""
    for schema in (_with_items(form.tool.parameters), form.tool.parameters):
        try:
            return form.value(json.loads(example_of(schema)))
        except (AgentError, ValueError):
            continue
    raise ConfigurationError(f"no example of {form.name} can be made up")


def _with_items(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_items(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"minItems": 1} if schema.get("type") == "array" and "minItems" not in schema else {}
    return {key: _with_items(part) for key, part in schema.items()} | more
