"""The form of an answer: whatever pydantic can describe as an object with fields."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Never, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict  # pydantic does not take that of typing before Python 3.12

from fastslow import Agent, ConfigurationError, Exit, Journal, ScriptedModel, run_many
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, CallStarted, Result, RunFinished, RunStarted
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


class Color(str, Enum):  # noqa: UP042 - its str() is no value of it
    RED = "red"


class Every(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    clock: time
    took: timedelta
    color: Color
    pair: tuple[int, str]
    ids: set[UUID]
    price: Decimal
    raw: bytes
    place: Path
    host: IPv4Address
    names: dict[int, str]
    weight: float


class Card(BaseModel):
    kind: Literal["card"]
    number: str


class Bank(BaseModel):
    kind: Literal["bank"]
    iban: str


class Numbers(RootModel[list[int]]):
    pass


class Tree(RootModel["dict[str, Tree]"]):
    pass


class Forest(RootModel["list[Forest]"]):
    pass


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    items: list[Item]


class Pair(NamedTuple):
    left: int
    right: str = "x"


class Noted(BaseModel):
    text: str
    note: str = Field(exclude=True)
    size: Annotated[int, Field(validation_alias=AliasChoices("len", "length"))] = 0

    @field_serializer("text")
    def _shouted(self, text: str) -> str:
        return text.upper()


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
        (Noted, {"text": "a", "note": "b", "len": 3}, Noted.model_construct(text="a", note="b", size=3)),
        (Page[int], {"items": [1]}, Page[int](items=[1])),
        (Tree, {"a": {"b": {}}}, Tree.model_validate({"a": {"b": {}}})),
    ],
)
async def test_a_value_of_the_type(journal: Journal, output: Any, fields: dict[str, Any], value: Any) -> None:
    result = await agent(journal, answer(**fields)).run("t", output=output)
    assert (result.exit, result.output) == (Exit.ANSWERED, value)
    assert type(result.output) is (dict if output is Entry else output)
    assert (await replayed(journal, output)).output == value  # a validator that multiplies ran once


URGENCY = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://example.org/urgency.json",
    "type": "object",
    "properties": {"urgency": {"$ref": "#/definitions/level"}, "why": {"type": "string", "maxLength": 9}},
    "required": ["urgency"],
    "definitions": {"level": {"enum": ["low", "high"]}},
}


@pytest.mark.parametrize(
    ("schema", "wrong", "sent", "value"),
    [
        (URGENCY, {"urgency": "middle"}, {"urgency": "high"}, {"urgency": "high"}),
        (URGENCY, {"urgency": "low", "why": "because of it"}, {"urgency": "low"}, {"urgency": "low"}),
        (URGENCY, {"urgency": "low", "more": 1}, {"urgency": "low", "why": "so"}, {"urgency": "low", "why": "so"}),
        ({"enum": ["a", "b"]}, {"value": "c"}, {"value": "b"}, "b"),
        (
            {"type": "array", "items": {"$ref": "#/definitions/n"}, "definitions": {"n": {"minimum": 3}}},
            {"value": [2]},
            {"value": [3, 4]},
            [3, 4],
        ),
        ({"type": ["object", "null"]}, {"value": 3}, {"value": {"any": 1}}, {"any": 1}),
    ],
)
async def test_an_answer_by_a_json_schema(
    journal: Journal, schema: dict[str, Any], wrong: dict[str, Any], sent: dict[str, Any], value: Any
) -> None:
    result = await agent(journal, answer(**wrong), answer(**sent)).run("t", output=schema)
    assert (result.exit, result.output) == (Exit.ANSWERED, value)
    statuses = [event.status for event in result.events if isinstance(event, CallFinished)]
    assert statuses == ["refused", "ok"]
    assert (await replayed(journal)).output == value
    assert (await replayed(journal, schema)).output == value
    [started] = [event for event in result.events if isinstance(event, RunStarted)]
    assert started.output == schema


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "it is empty"),
        ({"type": "objekt"}, "'objekt' is not valid"),
        ({"$ref": "https://example.org/other.json"}, "leaves the schema"),
        ({"type": "array", "items": {"$ref": "#"}}, "refers to itself as a whole"),
        ({"type": "object", "properties": {"a": {"enum": [{1, 2}]}}}, "JSON serializable"),
        ({"type": "object", "properties": {"a": {"const": math.nan}}}, "JSON"),
        ({"type": "object", "title": "\ud800"}, "Unicode"),
    ],
)
async def test_what_is_no_json_schema_is_refused_before_anything_is_asked(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        await agent(None).run("t", output=schema)


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


async def test_an_answer_is_validated_once_in_each_life(tmp_path: Path) -> None:
    seen = []

    class Counted(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _count(cls, number: int) -> int:
            seen.append(number)
            return number * 100

    dies = Dies(tmp_path / "runs.db", RunFinished)
    with pytest.raises(SystemError):
        await agent(dies, answer(number=3)).run("t", output=Counted)
    assert seen == [3]
    result = await agent(Journal(tmp_path / "runs.db")).resume("last", output=Counted)
    assert (result.output.number, seen) == (300, [3, 3])


async def test_the_journal_keeps_the_arguments_as_they_came(journal: Journal) -> None:
    result = await agent(journal, answer(**{"price in euros": 5})).run("t", output=Price)
    [started] = [event for event in journal.read(result.run).events if isinstance(event, CallStarted)]
    assert (json.loads(started.call.arguments), started.arguments) == ({"price in euros": 5}, {"price in euros": 5})


async def test_a_strict_model_takes_what_json_has_no_kind_for(journal: Journal) -> None:
    one = UUID(int=1)
    fields = {
        "at": "2026-01-31T10:00:00Z",
        "clock": "10:00:00",
        "took": "PT1H",
        "color": "red",
        "pair": [1, "a"],
        "ids": [str(one)],
        "price": "1.50",
        "raw": "ab",
        "place": "/a",
        "host": "192.0.2.1",
        "names": {"1": "a"},
        "weight": 3,
    }
    result = await agent(journal, answer(**fields)).run("t", output=Every)
    assert result.exit is Exit.ANSWERED, result.reason
    made = result.output
    assert (made.took, made.color, made.pair, made.ids) == (timedelta(hours=1), Color.RED, (1, "a"), {one})
    assert (made.price, made.raw, made.place, made.names) == (Decimal("1.50"), b"ab", Path("/a"), {1: "a"})


@pytest.mark.parametrize(
    ("output", "sent", "value", "text"),
    [
        (list[int], [1, 2], [1, 2], "[1,2]"),
        (Iterable[int], [1, 2], [1, 2], "[1,2]"),
        (Numbers, [1, 2], Numbers([1, 2]), "[1,2]"),
        (Forest, [[], []], Forest.model_validate([[], []]), "[[],[]]"),
        (list[Color], ["red"], [Color.RED], '["red"]'),
        (Card | Bank, {"kind": "bank", "iban": "DE1"}, Bank(kind="bank", iban="DE1"), '{"kind":"bank","iban":"DE1"}'),
        (
            Annotated[Card | Bank, Field(discriminator="kind")],
            {"kind": "bank", "iban": "DE1"},
            Bank(kind="bank", iban="DE1"),
            '{"kind":"bank","iban":"DE1"}',
        ),
        (Color, "red", Color.RED, "red"),
        (Literal["a", "b"], "b", "b", "b"),
        (int | None, None, None, "null"),
        (int | None, 3, 3, "3"),
        (Card | None, None, None, "null"),
        (str, "two words", "two words", "two words"),
        (str, "", "", ""),
        (bool, False, False, "false"),
        (date, "2026-01-31", date(2026, 1, 31), "2026-01-31"),
        (Pair, [1], Pair(1), '[1,"x"]'),
        (dict[str, int] | int, 3, 3, "3"),
    ],
)
async def test_a_type_without_fields(journal: Journal, output: Any, sent: Any, value: Any, text: str) -> None:
    """It is the one argument `value` of the tool, and nothing of that is seen from outside."""
    one = agent(journal, answer(value=sent))
    result = await one.run("t", output=output)
    assert (result.exit, result.output, result.answer) == (Exit.ANSWERED, value, text), result.reason
    assert type(result.output) is type(value)
    assert isinstance(one.engine, ScriptedModel)
    assert set(one.engine.requests[0].tools[0].parameters["properties"]) == {"value"}
    told = await replayed(journal, output)
    assert (told.exit, told.output, told.answer) == (Exit.ANSWERED, value, text)
    assert (await replayed(journal)).output == sent  # without the type: as it came


class Odd:
    pass


class Schemaless(BaseModel):
    work: Callable[[], int]


class Unknown(BaseModel):
    part: Nowhere  # type: ignore[name-defined]  # noqa: F821 - that is the point


class Raises:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise KeyError("no schema today")


class Example(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [object()]})
    value: int


class Scripts(BaseModel):
    name: str = Field(pattern=r"^\p{Lu}$")


class Placed(BaseModel):
    first: str = Field(validation_alias=AliasPath("names", 0))


class Stream(BaseModel):
    lines: Iterable[str]


class Garbled(BaseModel):
    value: int = Field(description="half \ud800")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (Odd, "output=Odd cannot be asked for"),
        (Schemaless, "output=Schemaless cannot be asked for"),
        (Unknown, "output=Unknown cannot be asked for"),
        (Raises, "output=Raises cannot be asked for: KeyError: 'no schema today'"),
        (Example, "output=Example cannot be asked for"),
        (Scripts, "output=Scripts cannot be asked for"),
        (Placed, "names"),
        (Stream, "a stream that can be read once"),
        (type[Card], "a class"),
        (Literal[b"a"], "a value that JSON cannot send"),
        (Garbled, r"the schema of output=Garbled is no Unicode.*ud800"),
        (Never, "cannot be asked for"),
        (Card(kind="card", number="1"), "cannot be asked for"),
        ("Card", "pass the type itself"),
        (lambda x: x, "is a function"),
        (7, "output=7 cannot be asked for"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_and_nothing_begins(journal: Journal, output: Any, said: str) -> None:
    for one in (agent(journal), agent(None)):
        with pytest.raises(ConfigurationError, match=said) as refused:
            await one.run("t", output=output)
        assert "\n" not in str(refused.value)
    assert journal.runs() == ()
    with pytest.raises(ConfigurationError, match=said):
        agent(None).as_tool("ask", "Ask it.", output=output)


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
    assert second.content == "The arguments do not fit: number: orders begin at 1000, got 7."


async def test_an_answer_that_was_refused_is_none_where_the_type_is_not_known(tmp_path: Path, journal: Journal) -> None:
    script = [answer(day="soon"), answer(day="2026-01-31")]
    await agent(journal, *script).run("t", output=Strict)
    assert (await replayed(journal)).output == {"day": "2026-01-31"}
    dies = Dies(tmp_path / "other.db", RunFinished)
    with pytest.raises(SystemError):
        await agent(dies, *script).run("t", output=Strict)
    result = await agent(Journal(tmp_path / "other.db")).resume("last")
    assert (result.exit, result.output) == (Exit.ANSWERED, {"day": "2026-01-31"})


async def test_a_tag_with_a_default_is_asked_for() -> None:
    class Tea(BaseModel):
        kind: Literal["tea"] = "tea"
        grams: int

    class Milk(BaseModel):
        kind: Literal["milk"] = "milk"
        litres: int

    Drink = Annotated[Tea | Milk, Field(discriminator="kind")]  # noqa: N806 - a type
    one = agent(None, answer(value={"litres": 1}), answer(value={"kind": "milk", "litres": 1}))
    result = await one.run("t", output=Drink)
    assert result.output == Milk(litres=1)
    assert isinstance(one.engine, ScriptedModel)
    told = one.engine.requests[1].messages[-1].content
    assert "value: for Milk expected the property 'kind'" in told
    assert 'A valid example: {"value": {"kind": "milk", "litres": 1}}' in told


async def test_an_error_of_a_whole_object_does_not_repeat_it(journal: Journal) -> None:
    class Span(BaseModel):
        first: int
        last: int

        @model_validator(mode="after")
        def _in_order(self) -> Span:
            assert self.first <= self.last, "first comes before last"
            return self

    one = agent(journal, answer(value=[{"first": 5, "last": 1}]), answer(value=[]))
    await one.run("t", output=list[Span])
    assert isinstance(one.engine, ScriptedModel)
    told = one.engine.requests[1].messages[-1].content
    assert told.startswith("The arguments do not fit: value[0]: first comes before last")
    assert "got {" not in told


def raising(error: BaseException) -> type[BaseModel]:
    class Order(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _fails(cls, number: int) -> int:
            raise error

    return Order


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


BROKEN = (KeyError("x"), TypeError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), Unshowable())


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
async def test_a_validator_that_breaks_ends_its_run_with_the_reason(journal: Journal, error: BaseException) -> None:
    result = await agent(journal, answer(number=1)).run("t", output=raising(error))
    assert (result.exit, result.output) == (Exit.FAILED, None)
    assert f"output=Order failed on the answer: {type(error).__name__}" in result.reason
    assert [info.exit for info in journal.runs()] == [Exit.FAILED]


def test_a_validator_that_breaks_does_not_break_run_sync(journal: Journal) -> None:
    result = agent(journal, answer(number=1)).run_sync("t", output=raising(SystemExit(3)))
    assert "output=Order failed on the answer: SystemExit: 3" in result.reason


async def test_a_validator_that_breaks_ends_no_other_run() -> None:
    class Order(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _known(cls, number: int) -> int:
            return {7: number}[number]

    one = agent(None, *[answer(number=7), answer(number=8), answer(number=7)])
    async with aclosing(run_many(one, ["a", "b", "c"], output=Order, concurrency=1)) as results:
        told = {number: result async for number, result in results}
    assert [told[n].exit for n in range(3)] == [Exit.ANSWERED, Exit.FAILED, Exit.ANSWERED]
    assert "KeyError: 8" in told[1].reason


async def test_a_run_whose_validator_broke_goes_on_once_it_is_mended(journal: Journal) -> None:
    broken = await agent(journal, answer(number=3)).run("t", output=raising(KeyError("rates")))
    assert broken.exit is Exit.FAILED

    class Order(BaseModel):
        number: int

    result = await agent(journal).resume(broken.run, output=Order)
    assert (result.exit, result.output) == (Exit.ANSWERED, Order(number=3))


class Unwritable(BaseModel):
    value: int

    @computed_field
    @property
    def worth(self) -> int:
        raise KeyError("rates")


async def test_an_answer_that_cannot_be_written_is_the_output_all_the_same(journal: Journal) -> None:
    result = await agent(journal, answer(value=3)).run("t", output=Unwritable)
    assert (result.exit, result.output.value) == (Exit.ANSWERED, 3)
    assert result.answer.startswith("(an answer of the type Unwritable, which cannot be written as text: ")
    assert "KeyError: 'rates'" in result.answer
    assert to_json(RunFinished(result))["result"]["output"] is None
    assert (await replayed(journal, Unwritable)).output.value == 3


async def test_events_tell_the_output_as_its_type_writes_it() -> None:
    result = await agent(None, answer(text="a", note="secret", len=3)).run("t", output=Noted)
    assert to_json(RunFinished(result))["result"]["output"] == {"text": "A", "size": 3}
    result = await agent(None, answer(value=["red"])).run("t", output=list[Color])
    assert to_json(RunFinished(result))["result"]["output"] == ["red"]


async def test_defaults_that_json_cannot_hold() -> None:
    class Loose(BaseModel):
        value: float = math.nan
        work: Any = math.floor

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = await agent(None, answer()).run("t", output=Loose)
    assert (math.isnan(result.output.value), result.output.work) == (True, math.floor)
    assert isinstance(started := result.events[0], RunStarted)
    assert "NaN" not in json.dumps(to_json(started))


async def test_a_replay_with_a_type_that_the_answer_does_not_fit_says_so(journal: Journal) -> None:
    first = await agent(journal, answer(width=3)).run("t", output=Box, key="k")
    for told in (
        await replayed(journal, Point),
        await agent(journal).resume(first.run, output=Point),
        await agent(journal).run("t", output=Point, key="k"),
    ):
        assert (told.exit, told.output) == (Exit.FAILED, None)
        assert "does not fit output=Point" in told.reason
    assert (await replayed(journal, Box)).output == Box(width=3)


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
