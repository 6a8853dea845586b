"""The fast path of a map: a row that needs no sandbox is one constrained call. What is the same for all rows stands
first, so that the server has it in its prefix cache; the row's values come last."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from fastslow.agent.budget import BudgetSpent, Ledger
from fastslow.agent.engine.types import Engine, Reply, Request
from fastslow.agent.errors import ContextOverflow, EngineError, EngineRefused
from fastslow.agent.events import Exit
from fastslow.agent.flow.places import names, plain
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.votes import Votes
from fastslow.agent.modes import FAST, Kind, Mode, ModePolicy
from fastslow.agent.output import Form
from fastslow.agent.prompts import prompt
from fastslow.agent.record.jobs import StepResult, spent
from fastslow.agent.texts import unicode
from fastslow.agent.transcript import Assistant, Message, System, User
from fastslow.tools.arguments import parse_arguments
from fastslow.tools.errors import ArgumentError

VOTING_TEMPERATURE = 0.7  # of samples that vote, where the model's own is 0, at which all would be the same


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sample of a row came to. output: None where there is none. failure, reason: why not."""

    output: Any = None
    exit: Exit = Exit.ANSWERED
    reason: str = ""
    failure: str = ""


@dataclass(slots=True)
class Caller:
    """Carries rows out by single calls of the model. It is a `Do`: `await caller(row)`."""

    spec: MapSpec
    engine: Engine
    form: Form | None = field(init=False)
    system: System = field(init=False)
    mode: Mode = field(init=False)
    votes: Votes | None = field(init=False)

    def __post_init__(self) -> None:
        self.form = Form.of(self.spec.schema) if self.spec.schema is not None else None
        self.system = System(system_text(self.spec.prompt, self.spec.schema))
        self.mode = _mode(self.spec, self.engine)
        self.votes = Votes.of(self.spec.schema) if self.spec.votes > 1 else None

    async def __call__(self, row: Row) -> StepResult:
        """Raises EngineUnreachable or EngineDied: the row is not to blame."""
        began, ledger = time.monotonic(), Ledger(replace(self.spec.each, turns=None))
        samples = await _together([self._sample(row, n, ledger) for n in range(self.spec.votes)])
        answered = [sample for sample in samples if sample.exit is Exit.ANSWERED]
        end = (answered or samples)[0]
        shares: Mapping[str, float] = {}
        if self.votes and answered:
            output, shares = self.votes.counted([sample.output for sample in answered], of=len(samples))
            end = replace(end, output=output)
        return StepResult(
            row.key,
            row.id,
            end.exit,
            end.output,
            end.reason,
            end.failure,
            seconds=round(time.monotonic() - began, 3),
            votes=shares,
            **spent(ledger.usage),
        )

    async def _sample(self, row: Row, number: int, ledger: Ledger) -> Sample:
        """Ask, and ask again with the error told, as often as the row's budget allows."""
        messages: tuple[Message, ...] = (self.system, User(user_text(self.spec.prompt, row.values)))
        own, last = Ledger(replace(self.spec.each, seconds=None), above=ledger), Sample()
        while True:
            try:
                own.check()
                reply = unicode(await own.in_time(self._ask(messages, number)))
            except BudgetSpent as spent:
                known = last.failure and own.turns == self.spec.each.turns
                return last if known else Sample(None, Exit.BUDGET, str(spent), "budget")
            except ContextOverflow as error:
                return Sample(None, Exit.FAILED, str(error), "overflow")
            except EngineRefused as error:
                return Sample(None, Exit.SERVER, str(error), f"refused {error.status}")
            own.add(self.mode, reply)
            last = self._judged(reply)
            if last.exit is Exit.ANSWERED:
                return last
            messages += (Assistant(reply.content), User(prompt("map_wrong", error=last.reason)))

    def _judged(self, reply: Reply) -> Sample:
        if reply.finish != "stop":
            why = f"It was cut off after {reply.usage.thinking + reply.usage.answer} tokens; be shorter."
            return Sample(None, Exit.FAILED, why, "cut off")
        if self.form is None:
            text = reply.content.strip()
            return Sample(text) if text else Sample(None, Exit.FAILED, "It was empty.", "empty")
        try:
            return Sample(self.form.value(parse_arguments(self.form.tool.parameters, reply.content)))
        except ArgumentError as error:
            return Sample(None, Exit.FAILED, str(error), "invalid")

    async def _ask(self, messages: tuple[Message, ...], number: int) -> Reply:
        schema = self.form.tool.parameters if self.form else None
        request = Request(messages, mode=self.mode, schema=schema)
        if self.spec.votes > 1:
            sampling = self.engine.profile.think if self.mode.thinks else self.engine.profile.fast
            request = replace(request, temperature=sampling.temperature or VOTING_TEMPERATURE, seed=number)
        async with aclosing(self.engine.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Reply):
                    return piece
        raise EngineError("the engine ended its answer without a reply")


def system_text(task: str, schema: Mapping[str, Any] | None) -> str:
    """The part of the prompt that is the same for all rows. The grammar alone would not tell the model what the fields
    of its answer mean."""
    parts = [prompt("map", task=plain(task))]
    if schema is not None:
        parts.append(prompt("map_schema", fields=fields_text(schema)))
    return "\n\n".join(parts)


def user_text(task: str, values: Mapping[str, str]) -> str:
    """The part of the prompt that is the row."""
    return "\n\n".join(f"<{name}>\n{values[name]}\n</{name}>" for name in names(task)) or "(no values)"


def fields_text(schema: Mapping[str, Any]) -> str:
    """The fields of an answer, one a line: what it may be, and what it means. The whole schema where that is no object
    with named fields."""
    properties = schema.get("properties")
    if not properties or "$defs" in schema:
        return json.dumps(schema, ensure_ascii=False)
    required = schema.get("required", ())
    return "\n".join(_field_line(name, part, name in required) for name, part in properties.items())


def _field_line(name: str, part: Any, required: bool) -> str:
    known = dict(part) if isinstance(part, Mapping) else {}
    about = known.pop("description", "")
    kind = json.dumps({key: value for key, value in known.items() if key != "title"}, ensure_ascii=False)
    return f"- {name}{'' if required else ' (may be left out)'}: {kind}{f'. {about}' if about else ''}"


def _mode(spec: MapSpec, engine: Engine) -> Mode:
    if isinstance(spec.think, int):
        return Mode(spec.think)
    return ModePolicy(engine.profile.rules, "always").mode(Kind.EXTRACT)[0] if spec.think == "always" else FAST


async def _together(samples: list[Coroutine[Any, Any, Sample]]) -> list[Sample]:
    """All of them; the first error as it is, once the others are cancelled."""
    tasks = [asyncio.ensure_future(sample) for sample in samples]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
