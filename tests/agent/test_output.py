"""The form of an answer: whatever pydantic can describe as an object with fields."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field, field_validator
from typing_extensions import TypedDict  # pydantic does not take that of typing before Python 3.12

from fastslow import Agent, ConfigurationError, Exit, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import Result, RunFinished, RunStarted
from fastslow.agent.record.jsonl import to_json
from fastslow.agent.transcript import ToolResult
from tests.agent.helpers import Dies, calls, says


class Price(BaseModel):
    cents: int = Field(alias="price in euros")

    @field_validator("cents", mode="before")
    @classmethod
    def _cents(cls, euros: Any) -> Any:
        return euros * 100


class Login(BaseModel):
    user: str
    password: SecretStr


class Box(BaseModel):
    width: int

    @computed_field
    @property
    def area(self) -> int:
        return self.width**2


class Measured(BaseModel):
    value: float

    @field_validator("value")
    @classmethod
    def _unknown(cls, value: float) -> float:
        return math.nan if value < 0 else value


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date


class Node(BaseModel):
    name: str
    below: list[Node] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Entry(TypedDict):
    word: str


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any) -> Agent:
    return Agent(engine=ScriptedModel(script), journal=journal, sandbox=None)


def answer(**fields: Any) -> Reply:
    return calls(("answer", fields))


async def replayed(journal: Journal, output: Any = None) -> Result:
    events = [event async for event in agent(journal).replay("last", output=output)]
    assert isinstance(events[-1], RunFinished)
    return events[-1].result


@pytest.mark.parametrize(
    ("output", "fields", "value"),
    [
        (Box, {"width": 3}, Box(width=3)),
        (Strict, {"day": "2026-01-31"}, Strict(day=date(2026, 1, 31))),
        (Node, {"name": "a", "below": [{"name": "b"}]}, Node(name="a", below=[Node(name="b")])),
        (Point, {"x": 1}, Point(1)),
        (Entry, {"word": "tea"}, {"word": "tea"}),
        (Price, {"price in euros": 5}, Price.model_construct(cents=500)),
    ],
)
async def test_a_value_of_the_type(journal: Journal, output: Any, fields: dict[str, Any], value: Any) -> None:
    result = await agent(journal, answer(**fields)).run("t", output=output)
    assert (result.exit, result.output) == (Exit.ANSWERED, value)
    assert type(result.output) is (dict if output is Entry else output)
    assert (await replayed(journal, output)).output == value  # a validator that multiplies ran once


async def test_a_secret_is_whole_in_the_value_alone(journal: Journal) -> None:
    result = await agent(journal, answer(user="kim", password="s3cret")).run("t", output=Login)
    assert result.output.password.get_secret_value() == "s3cret"
    assert json.loads(result.answer) == {"user": "kim", "password": "**********"}
    assert "s3cret" not in json.dumps(to_json(RunFinished(result)))
    finished = journal.read(result.run).finished
    assert finished is not None
    assert finished.result.output is None
    assert "s3cret" not in finished.result.answer


async def test_computed_fields_are_in_the_answer_and_no_part_of_the_question(journal: Journal) -> None:
    result = await agent(journal, answer(width=3)).run("t", output=Box)
    assert json.loads(result.answer) == {"width": 3, "area": 9}
    assert isinstance(started := result.events[0], RunStarted)
    assert started.output is not None
    assert set(started.output["properties"]) == {"width"}


async def test_a_number_that_is_none(journal: Journal) -> None:
    result = await agent(journal, answer(value=-1)).run("t", output=Measured)
    assert result.exit is Exit.ANSWERED
    assert math.isnan(result.output.value)
    assert json.loads(json.dumps(to_json(RunFinished(result))))["result"]["exit"] == "answered"
    assert math.isnan((await replayed(journal, Measured)).output.value)


@pytest.mark.parametrize(("output", "name"), [(list[int], "list[int]"), (int, "int"), (dict[str, int] | int, "int")])
async def test_what_is_no_object_is_refused_and_nothing_begins(journal: Journal, output: Any, name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await agent(journal).run("t", output=output)
    assert name in str(refused.value)
    assert "wrap it in a pydantic model: class Answer(BaseModel): value: ..." in str(refused.value)
    assert journal.runs() == ()


async def test_a_type_that_has_no_schema_is_refused(journal: Journal) -> None:
    class Odd:
        pass

    with pytest.raises(ConfigurationError, match="output=Odd cannot be asked for"):
        await agent(journal).run("t", output=Odd)


async def test_what_does_not_fit_is_told_and_may_be_tried_again(journal: Journal) -> None:
    class Order(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _known(cls, number: int) -> int:
            if number < 1000:
                raise ValueError("orders begin at 1000")
            return number

    wrong = [answer(number="many"), answer(number=7)]
    one = agent(journal, *wrong, answer(number=1207))
    result = await one.run("t", output=Order)
    assert result.output == Order(number=1207)
    assert isinstance(one.engine, ScriptedModel)
    first, second = [request.messages[-1] for request in one.engine.requests[1:]]
    assert isinstance(first, ToolResult)
    assert isinstance(second, ToolResult)
    assert ("number" in first.content, "integer" in first.content) == (True, True)
    assert second.content == "number: Value error, orders begin at 1000, got 7"


async def test_a_run_resumed_without_the_type_keeps_its_form(tmp_path: Path) -> None:
    dies = Dies(tmp_path / "runs.db", RunFinished)
    with pytest.raises(SystemError):
        await agent(dies, says("It is three wide."), answer(width=3)).run("t", output=Box)
    journal = Journal(tmp_path / "runs.db")
    result = await agent(journal).resume("last")
    assert (result.exit, result.output) == (Exit.ANSWERED, {"width": 3})


async def test_the_form_is_asked_for_by_a_run_that_goes_on_without_the_type(journal: Journal) -> None:
    def crash(request: Request) -> Reply:
        raise SystemError

    with pytest.raises(SystemError):
        await agent(journal, crash).run("t", output=Box)
    one = agent(journal, answer(width="wide"), answer(width=3))
    result = await one.resume("last")
    assert (result.exit, result.output, result.answer) == (Exit.ANSWERED, {"width": 3}, '{"width":3}')
    assert isinstance(one.engine, ScriptedModel)
    assert [tool.name for tool in one.engine.requests[0].tools] == ["answer"]
