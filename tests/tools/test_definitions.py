"""Every way in which typed Python says what a parameter takes: what a model is told, and what the function gets."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import functools
import inspect
import ipaddress
import json
import math
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union
from uuid import UUID

import annotated_types as at
import pytest
import typing_extensions as te
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    EmailStr,
    Field,
    Json,
    PastDate,
    RootModel,
    SecretStr,
    StringConstraints,
    Tag,
    with_config,
)
from pydantic.fields import FieldInfo

from fastslow.tools import ArgumentError, Tool, Toolbox, ToolDefinitionError, parse_arguments, tool
from fastslow.tools.examples import example_of

if TYPE_CHECKING:
    from somewhere import Nothing  # type: ignore[import-not-found]

EMPTY: Any = inspect.Parameter.empty
OUT: Any = object()  # left out by the model
SENTINEL: Any = object()

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
OneOf = TypeVar("OneOf", int, str)
UserId = NewType("UserId", int)
Percent = Annotated[int, Field(ge=0, le=100, description="Of all.")]
Tree = te.TypeAliasType("Tree", "dict[str, Tree] | int")


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Level(enum.IntEnum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Mode(enum.StrEnum):
    FAST = "fast"
    SLOW = "slow"


class Pair(enum.Enum):
    A = (1, 2)


class Function(enum.Enum):
    ABS = enum.member(abs)


class City(BaseModel):
    """A city."""

    name: str
    people: int = 0


class Town(BaseModel):
    name: str = Field(alias="town")


class Exact(BaseModel):
    model_config = ConfigDict(strict=True)
    on: date
    unit: Unit
    pair: tuple[int, int]


class Node(BaseModel):
    value: int
    next: Node | None = None


class Boxed(BaseModel, Generic[T]):
    inside: T


class Ids(RootModel[list[int]]):
    pass


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Bank(BaseModel):
    kind: Literal["bank"] = "bank"
    iban: str
    bic: str


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Options(te.TypedDict, total=False):
    a: te.Required[int]
    b: Annotated[str, Field(description="B.")]


class Old(typing.TypedDict):
    a: int


class Row(NamedTuple):
    x: int
    y: str = "y"


@with_config(ConfigDict(extra="allow"))
class Loose(te.TypedDict):
    a: int


def kind_of(value: Any) -> str:
    return value.get("sort", "c") if isinstance(value, dict) else "c"


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def taking(hint: Any, default: Any = EMPTY, documented: str = "X.") -> Callable[..., Any]:
    def take(x):  # type: ignore[no-untyped-def]
        return x

    take.__doc__ = "Take it.\n" + (f"\nArgs:\n    x: {documented}\n" if documented else "")
    take.__annotations__ = {"x": hint}
    if default is not EMPTY:
        take.__defaults__ = (default,)
    return take


def received(made: Tool, **sent: Any) -> Any:
    """What the function behind a tool got, through the model's text."""
    got: list[Any] = []
    handler = made.handler
    arguments = parse_arguments(made.parameters, json.dumps(sent))
    result = handler(**made.receive(arguments))
    got.append(asyncio.run(result) if inspect.isawaitable(result) else result)
    return got[0]


SHAPES: list[tuple[Any, Any, Any, dict[str, Any], Any]] = [
    # hint, default, sent, what the schema says beside the description, what the function gets
    (int, EMPTY, 3, {"type": "integer"}, 3),
    (int, 5, OUT, {"type": "integer", "default": 5}, 5),
    (float, EMPTY, 3, {"type": "number"}, 3.0),
    (bool, False, "true", {"type": "boolean", "default": False}, True),
    (str, "a", OUT, {"type": "string", "default": "a"}, "a"),
    (int, None, OUT, {"type": "integer", "default": None}, None),
    (int, None, None, {"type": "integer", "default": None}, None),
    (int | None, EMPTY, None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
    (int | None, 5, None, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5}, None),
    (int | None, 5, OUT, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5}, 5),
    (Optional[int], EMPTY, 1, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),  # noqa: UP045
    (Union[int, str], EMPTY, "1", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "1"),  # noqa: UP007
    ("int | None", EMPTY, 1, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
    (list["Node"], EMPTY, [{"value": 1}], {"type": "array", "items": {"$ref": "#/$defs/Node"}}, [Node(value=1)]),
    (None, EMPTY, None, {"type": "null"}, None),
    (Any, EMPTY, [1], {}, [1]),
    (object, EMPTY, {"a": 1}, {}, {"a": 1}),
    (Annotated[int, Field(ge=0, description="At least none.")], 1, OUT, {"minimum": 0, "default": 1}, 1),
    (Annotated[int, Field(default=3)], EMPTY, OUT, {"type": "integer", "default": 3}, 3),
    (Annotated[int, Field(default=3)], 4, OUT, {"type": "integer", "default": 4}, 4),
    (int, Field(1, ge=0), OUT, {"type": "integer", "default": 1, "minimum": 0}, 1),
    (int, Field(ge=0), 2, {"type": "integer", "minimum": 0}, 2),
    (int, Field(..., le=9), 2, {"type": "integer", "maximum": 9}, 2),
    (Annotated[int, Field(ge=0)], Field(1, le=9), OUT, {"type": "integer", "minimum": 0, "maximum": 9}, 1),
    (list[int], Field(default_factory=list), OUT, {"type": "array", "items": {"type": "integer"}}, []),
    (Annotated[list[int], Field(default_factory=lambda: [7])], EMPTY, OUT, {"type": "array"}, [7]),
    (list[int], [], OUT, {"type": "array", "default": []}, []),
    (dict[str, int], {"a": 1}, OUT, {"type": "object", "default": {"a": 1}}, {"a": 1}),
    (int, SENTINEL, OUT, {"type": "integer"}, SENTINEL),
    (float, math.inf, OUT, {"type": "number"}, math.inf),
    (Percent, EMPTY, 5, {"minimum": 0, "maximum": 100}, 5),
    (Percent | None, None, 5, {"anyOf": [{"minimum": 0, "maximum": 100}, {"type": "null"}], "default": None}, 5),
    (list[Percent], EMPTY, [5], {"items": {"minimum": 0, "maximum": 100, "description": "Of all."}}, [5]),
    (Annotated[int, at.Ge(1), at.Lt(9)], EMPTY, 5, {"minimum": 1, "exclusiveMaximum": 9}, 5),
    (Annotated[int, at.Interval(gt=1, le=9)], EMPTY, 5, {"exclusiveMinimum": 1, "maximum": 9}, 5),
    (Annotated[int, at.MultipleOf(5)], EMPTY, 5, {"multipleOf": 5}, 5),
    (Annotated[list[int], at.Len(1, 3)], EMPTY, [5], {"minItems": 1, "maxItems": 3}, [5]),
    (Annotated[str, at.MinLen(2)], EMPTY, "ab", {"minLength": 2}, "ab"),
    (Annotated[str, StringConstraints(pattern="^a", strip_whitespace=True)], EMPTY, "a ", {"pattern": "^a"}, "a"),
    (Annotated[date, Field(ge=date(2020, 1, 1))], EMPTY, "2021-01-01", {"ge": "2020-01-01"}, date(2021, 1, 1)),
    (Annotated[Decimal, Field(ge=0, decimal_places=2)], EMPTY, 1.25, {"decimal_places": 2}, Decimal("1.25")),
    (Annotated[int, AfterValidator(even)], EMPTY, 2, {"type": "integer"}, 2),
    (Annotated[int, BeforeValidator(lambda value: value + 1)], EMPTY, 2, {"type": "integer"}, 3),
    (Literal["long", "short"], "short", OUT, {"enum": ["long", "short"], "default": "short"}, "short"),
    (Literal["only"], EMPTY, "Only", {"const": "only"}, "only"),
    (Literal[1, "a", None], EMPTY, None, {"enum": [1, "a", None]}, None),
    (Literal["a"] | Literal["b"], EMPTY, "b", {}, "b"),
    (Literal[Mode.FAST], EMPTY, "fast", {"const": "fast"}, Mode.FAST),
    (Unit, Unit.CELSIUS, OUT, {"$ref": "#/$defs/Unit", "default": "celsius"}, Unit.CELSIUS),
    (Unit, EMPTY, "kelvin", {"$ref": "#/$defs/Unit"}, Unit.KELVIN),
    (Level, EMPTY, 2, {"$ref": "#/$defs/Level"}, Level.HIGH),
    (Access, EMPTY, 3, {"$ref": "#/$defs/Access"}, Access.READ | Access.WRITE),
    (Mode | None, None, "slow", {"default": None}, Mode.SLOW),
    (dict[Mode, int], EMPTY, {"slow": 1}, {"type": "object"}, {Mode.SLOW: 1}),
    (dict[int, str], EMPTY, {"1": "a"}, {"type": "object"}, {1: "a"}),
    (dict[date, int], EMPTY, {"2025-01-31": 1}, {"propertyNames": {"format": "date"}}, {date(2025, 1, 31): 1}),
    (Mapping[str, int], EMPTY, {"a": 1}, {"type": "object"}, {"a": 1}),
    (collections.OrderedDict[str, int], EMPTY, {"a": 1}, {"type": "object"}, collections.OrderedDict(a=1)),
    (collections.Counter[str], EMPTY, {"a": 1}, {"type": "object"}, collections.Counter("a")),
    (collections.deque[int], EMPTY, [1], {"type": "array"}, collections.deque([1])),
    (list, EMPTY, [1, "a"], {"type": "array"}, [1, "a"]),
    (Sequence[int], EMPTY, [1], {"type": "array"}, [1]),
    (set[int], EMPTY, [1, 2], {"type": "array", "uniqueItems": True}, {1, 2}),
    (set[int], {2, 1}, OUT, {"type": "array", "default": [1, 2]}, {1, 2}),
    (frozenset[str], frozenset(), ["a"], {"uniqueItems": True, "default": []}, frozenset("a")),
    (set[date], EMPTY, ["2025-01-31"], {"uniqueItems": True}, {date(2025, 1, 31)}),
    (tuple[int, str], EMPTY, [1, "a"], {"minItems": 2, "maxItems": 2}, (1, "a")),
    (tuple[int, ...], (1, 2), OUT, {"type": "array", "default": [1, 2]}, (1, 2)),
    (tuple[int, ...], EMPTY, [1], {"type": "array"}, (1,)),
    (Row, EMPTY, [1], {"$ref": "#/$defs/Row"}, Row(1, "y")),
    (date, EMPTY, "2025-01-31", {"type": "string", "format": "date"}, date(2025, 1, 31)),
    (date, date(2025, 1, 31), OUT, {"format": "date", "default": "2025-01-31"}, date(2025, 1, 31)),
    (datetime, EMPTY, "2025-01-31T12:00:00Z", {"format": "date-time"}, datetime(2025, 1, 31, 12, tzinfo=UTC)),
    (time, EMPTY, "12:30:00", {"format": "time"}, time(12, 30)),
    (timedelta, timedelta(hours=1), OUT, {"format": "duration", "default": "PT1H"}, timedelta(hours=1)),
    (PastDate, EMPTY, "2020-01-31", {"format": "date"}, date(2020, 1, 31)),
    (Decimal, EMPTY, 19.99, {}, Decimal("19.99")),
    (Decimal, Decimal("0.1"), OUT, {"default": "0.1"}, Decimal("0.1")),
    (Fraction, EMPTY, "1/2", {}, Fraction(1, 2)),
    (
        UUID,
        EMPTY,
        "123e4567-e89b-42d3-a456-426614174000",
        {"format": "uuid"},
        UUID(int=0x123E4567E89B42D3A456426614174000),
    ),
    (Path, Path("out.txt"), OUT, {"format": "path", "default": "out.txt"}, Path("out.txt")),
    (Path, EMPTY, "a/b", {"format": "path"}, Path("a/b")),
    (bytes, b"a", "é", {"type": "string", "default": "a"}, "é".encode()),
    (bytes, b"\xff", OUT, {"type": "string"}, b"\xff"),
    (complex, EMPTY, "1+2j", {"type": "string"}, 1 + 2j),
    (re.Pattern[str], EMPTY, "a+", {"format": "regex"}, re.compile("a+")),
    (ipaddress.IPv4Address, EMPTY, "192.0.2.1", {"format": "ipv4"}, ipaddress.IPv4Address("192.0.2.1")),
    (SecretStr, EMPTY, "s", {"type": "string"}, SecretStr("s")),
    (SecretStr, SecretStr("s"), OUT, {"type": "string"}, SecretStr("s")),
    (Json[list[int]], EMPTY, "[1]", {"type": "string"}, [1]),
    (T, EMPTY, 1, {}, 1),
    (Bound, EMPTY, 1, {"type": "integer"}, 1),
    (OneOf, EMPTY, "a", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "a"),
    (UserId, EMPTY, 1, {"type": "integer"}, 1),
    (Tree, EMPTY, {"a": {"b": 1}}, {"$ref": "#/$defs/Tree"}, {"a": {"b": 1}}),
    (City, EMPTY, {"name": "Seoul"}, {"$ref": "#/$defs/City"}, City(name="Seoul")),
    (City, City(name="Seoul"), OUT, {"default": {"name": "Seoul", "people": 0}}, City(name="Seoul")),
    (City | None, None, {"name": "Seoul", "people": None}, {"default": None}, City(name="Seoul")),
    (list[City], EMPTY, [{"name": "Seoul"}], {"items": {"$ref": "#/$defs/City"}}, [City(name="Seoul")]),
    (dict[str, City], EMPTY, {"a": {"name": "Seoul"}}, {"type": "object"}, {"a": City(name="Seoul")}),
    (Town, EMPTY, {"town": "Jeju"}, {"$ref": "#/$defs/Town"}, Town(town="Jeju")),
    (Town, Town(town="Jeju"), OUT, {"default": {"town": "Jeju"}}, Town(town="Jeju")),
    (
        Exact,
        EMPTY,
        {"on": "2025-01-31", "unit": "kelvin", "pair": [1, 2]},
        {},
        Exact(on=date(2025, 1, 31), unit=Unit.KELVIN, pair=(1, 2)),
    ),
    (Node, EMPTY, {"value": 1, "next": {"value": 2}}, {}, Node(value=1, next=Node(value=2))),
    (Boxed[int], EMPTY, {"inside": 1}, {"$ref": "#/$defs/Boxed_int_"}, Boxed[int](inside=1)),
    (Ids, EMPTY, [1], {"$ref": "#/$defs/Ids"}, Ids([1])),
    (Point, EMPTY, {"x": 1}, {"$ref": "#/$defs/Point"}, Point(1, [])),
    (Point, Point(1), OUT, {"default": {"x": 1, "tags": []}}, Point(1)),
    (Options, EMPTY, {"a": 1}, {"$ref": "#/$defs/Options"}, {"a": 1}),
    (Loose, EMPTY, {"a": 1, "b": 2}, {"$ref": "#/$defs/Loose"}, {"a": 1, "b": 2}),
    (Card | Bank, EMPTY, {"kind": "bank", "iban": "a", "bic": "b"}, {}, Bank(iban="a", bic="b")),
    (Card | Bank, Field(discriminator="kind"), {"kind": "card", "number": "1"}, {}, Card(number="1")),
    (
        Annotated[Card | Bank, Field(discriminator="kind")] | None,
        None,
        {"kind": "card", "number": "1"},
        {"default": None},
        Card(number="1"),
    ),
    (
        Annotated[Annotated[City, Tag("c")] | Annotated[Point, Tag("p")], Discriminator(kind_of)],
        EMPTY,
        {"name": "Seoul"},
        {},
        City(name="Seoul"),
    ),
]


ONLY_PYDANTIC_KNOWS = (complex, Annotated[int, AfterValidator(even)])  # so the schema's example may not be taken


@pytest.mark.parametrize(("hint", "default", "sent", "schema", "got"), SHAPES, ids=[str(row[0])[:60] for row in SHAPES])
def test_what_a_type_says_reaches_the_schema_and_the_function(
    hint: Any, default: Any, sent: Any, schema: dict[str, Any], got: Any
) -> None:
    made = tool(taking(hint, default))
    part = made.parameters["properties"]["x"]
    assert covers(part, schema), part
    if default is not EMPTY and not isinstance(default, FieldInfo):
        assert ("default" in part) == ("default" in schema)
    assert made.parameters.get("required", []) == (["x"] if default is EMPTY and sent is not OUT else required(default))
    value = received(made, **({} if sent is OUT else {"x": sent}))
    assert (value, type(value)) == (got, type(got))
    assert made.spec["function"]["strict"] in (True, False)
    json.dumps(made.spec, allow_nan=False)
    example = example_of(made.parameters, {"x": sent}, [("x",)])
    assert example
    if hint not in ONLY_PYDANTIC_KNOWS:
        made.receive(json.loads(example))


def required(default: Any) -> list[str]:
    return ["x"] if getattr(default, "is_required", lambda: False)() else []


def covers(whole: Any, part: Any) -> bool:
    """Whether a schema says all that another says."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and covers(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(covers, whole, part))
    return bool(whole == part)


# --- where descriptions stand ------------------------------------------------------------------------

DESCRIBED: list[Any] = [
    Annotated[int, Field(description="How many.")],
    Annotated[int, te.Doc("How many.")],
    Annotated[int, at.doc("How many.")],
    Annotated[int, "How many."],
    Annotated[int, at.Ge(0), "How many."],
    Annotated[Annotated[int, at.Ge(0)], Field(description="How many.")],
]


@pytest.mark.parametrize("hint", DESCRIBED, ids=str)
@pytest.mark.parametrize("documented", ["", "Overruled."])
def test_a_description_may_stand_at_the_type(hint: Any, documented: str) -> None:
    made = tool(taking(hint, documented=documented))
    assert made.parameters["properties"]["x"]["description"] == "How many."


def test_a_description_may_stand_at_the_default() -> None:
    made = tool(taking(int, Field(1, description="How many."), documented=""))
    assert made.parameters["properties"]["x"] == {"type": "integer", "default": 1, "description": "How many."}


class ModelOfTexts(BaseModel):
    n: Annotated[int, te.Doc("How many.")]


@dataclasses.dataclass
class RecordOfTexts:
    n: Annotated[int, "How many."]


class DictOfTexts(te.TypedDict):
    n: te.Required[Annotated[int, at.doc("How many.")]]
    m: Annotated[int, te.Doc("Overruled."), Field(description="How many.")]


@pytest.mark.parametrize("hint", [ModelOfTexts, RecordOfTexts, DictOfTexts])
def test_a_description_may_stand_at_the_type_of_a_field(hint: Any) -> None:
    part = tool(taking(hint)).parameters["$defs"][hint.__name__]
    assert [one["description"] for one in part["properties"].values()] == ["How many."] * len(part["properties"])


STYLES = {
    "google": """Take both.

    More of it.

    Args:
        a (int): The first,
            long one.
        b (str, optional): The second. Defaults to "b".

    Returns:
        Nothing.
    """,
    "google with an odd section": """Take both.

    More of it.

    Args:
        a: The first,
            long one.
        b: The second. Defaults to "b".

    Raises:
        ValueError if it is none
    """,
    "google with keywords": """Take both.

    More of it.

    Args:
        a: The first,
            long one.

    Keyword Args:
        b: The second. Defaults to "b".
    """,
    "google with attributes": """Take both.

    More of it.

    Args:
        a: The first,
            long one.
        b: The second. Defaults to "b".

    Attributes:
        c: No parameter.
    """,
    "numpy": """Take both.

    More of it.

    Parameters
    ----------
    a : int
        The first,
        long one.
    b : str, optional
        The second. Defaults to "b".

    Returns
    -------
    None
    """,
    "sphinx": """Take both.

    More of it.

    :param a: The first,
        long one.
    :param str b: The second. Defaults to "b".
    :returns: Nothing.
    :raises ValueError: if it is none
    """,
    "epydoc": """Take both.

    More of it.

    @param a: The first,
        long one.
    @param b: The second. Defaults to "b".
    @return: Nothing.
    """,
    "lists": """Take both.

    More of it.

    Args:
        - `a` (int): The first,
            long one.
        - `b`: The second. Defaults to "b".

    """,
}


@pytest.mark.parametrize("style", STYLES)
def test_docstrings_of_every_style(style: str) -> None:
    def both(a: int, b: str = "b") -> None: ...

    both.__doc__ = STYLES[style]
    made = tool(both)
    said = {name: part["description"] for name, part in made.parameters["properties"].items()}
    assert said == {"a": "The first,\nlong one.", "b": 'The second. Defaults to "b".'}
    assert made.description == "Take both.\nMore of it."


def test_two_parameters_on_one_line_of_numpys() -> None:
    def move(x: int, y: int) -> None:
        """Move.

        Parameters
        ----------
        x, y : int
            Where to.
        """

    assert [part["description"] for part in tool(move).parameters["properties"].values()] == ["Where to."] * 2


# --- names -------------------------------------------------------------------------------------------


def test_an_alias_is_the_name_for_the_model_and_the_parameters_own_that_for_python() -> None:
    def search(
        limit: Annotated[int, Field(alias="max-results")] = 5,
        query: str = Field(validation_alias=AliasChoices("q", "query"), default="all"),
        model_config: int = 1,
        _private: int = 2,
        json: int = 3,
        self: int = 4,
        values: int = 5,
        title: int = 6,
        default: int = 7,
    ) -> dict[str, Any]:
        """Search.

        Args:
            limit: How many.
            query: For what.
            model_config: A.
            _private: B.
            json: C.
            self: D.
            values: E.
            title: F.
            default: G.
        """
        return dict(locals())

    made = tool(search)
    names = ["max-results", "q", "model_config", "_private", "json", "self", "values", "title", "default"]
    assert list(made.parameters["properties"]) == names
    assert [part["default"] for part in made.parameters["properties"].values()] == [5, "all", 1, 2, 3, 4, 5, 6, 7]
    sent: dict[str, Any] = dict(zip(names, [9, "cats", *range(7)], strict=True))
    assert list(received(made, **sent).values()) == list(sent.values())
    assert list(received(made)) == list(search.__annotations__)[:-1]


def test_a_factory_may_look_at_the_parameters_before() -> None:
    def cut(size: int, step: Annotated[int, Field(default_factory=lambda given: given["size"] * 2)]) -> int:
        """Cut.

        Args:
            size: The size.
            step: The step.
        """
        return step

    made = tool(cut)
    assert made.parameters["required"] == ["size"]
    assert received(made, size=3) == 6


def test_a_mutable_default_is_the_same_at_each_call() -> None:
    def note(line: str, lines: list[str] = []) -> list[str]:  # noqa: B006
        """Note.

        Args:
            line: What.
            lines: After which.
        """
        lines.append(line)
        return lines

    made = tool(note)
    assert received(made, line="a") == ["a"]
    assert received(made, line="b") == ["b"]


# --- functions of every kind -------------------------------------------------------------------------

DOC = """Take it.

Args:
    x: X.
    y: Y.
"""


def plain(x: int, y: int = 2) -> Any:
    return x, y


async def awaited(x: int, y: int = 2) -> Any:
    return x, y


def keyword_only(*, x: int, y: int = 2) -> Any:
    return x, y


def returning_what_is_not_there(x: int, y: int = 2) -> Nothing:
    return x, y


def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def async_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    return wrapper


class Taker:
    """A class.

    Attributes:
        z: No parameter.
    """

    z = 0

    def method(self, x: int, y: int = 2) -> Any:
        return x, y

    @classmethod
    def of_class(cls, x: int, y: int = 2) -> Any:
        return x, y

    @staticmethod
    def static(x: int, y: int = 2) -> Any:
        return x, y

    def __call__(self, x: int, y: int = 2) -> Any:
        return x, y


class Inheriting(Taker):
    def method(self, x: int, y: int = 2) -> Any:
        return x, y


class AsyncTaker:
    async def __call__(self, x: int, y: int = 2) -> Any:
        return x, y


for _function in (
    plain,
    awaited,
    keyword_only,
    returning_what_is_not_there,
    Taker.method,
    Taker.static,
    Taker.__call__,
):
    _function.__doc__ = DOC
Taker.of_class.__func__.__doc__ = AsyncTaker.__call__.__doc__ = DOC  # type: ignore[attr-defined]


def three(w: int, x: int, y: int = 2) -> Any:
    """Take it.

    Args:
        w: W.
        x: X.
        y: Y.
    """
    return x, y


FUNCTIONS: list[tuple[Callable[..., Any], str]] = [
    (plain, "plain"),
    (awaited, "awaited"),
    (keyword_only, "keyword_only"),
    (returning_what_is_not_there, "returning_what_is_not_there"),
    (decorator(plain), "plain"),
    (decorator(decorator(plain)), "plain"),
    (async_decorator(plain), "plain"),
    (functools.lru_cache(plain), "plain"),
    (functools.partial(plain), "plain"),
    (functools.partial(awaited), "awaited"),
    (functools.partial(three, 0), "three"),
    (functools.partial(three, w=0), "three"),
    (functools.partial(functools.partial(three, 0)), "three"),
    (functools.partial(Taker().method), "method"),
    (decorator(functools.partial(plain)), "wrapper"),
    (decorator(functools.partial(three, w=0)), "wrapper"),
    (Taker().method, "method"),
    (Inheriting().method, "method"),
    (Taker.of_class, "of_class"),
    (Taker().of_class, "of_class"),
    (Taker.static, "static"),
    (staticmethod(plain), "plain"),
    (Taker(), "Taker"),
    (AsyncTaker(), "AsyncTaker"),
]


@pytest.mark.parametrize(("function", "name"), FUNCTIONS, ids=[f"{n} {row[1]}" for n, row in enumerate(FUNCTIONS)])
def test_functions_of_every_kind(function: Callable[..., Any], name: str) -> None:
    (made,) = Toolbox([function]).tools
    assert (made.name, made.description) == (name, "Take it.")
    assert made.parameters == {
        "type": "object",
        "properties": {
            "x": {"type": "integer", "description": "X."},
            "y": {"type": "integer", "description": "Y.", "default": 2},
        },
        "required": ["x"],
        "additionalProperties": False,
    }
    assert received(made, x=1) == (1, 2)
    assert asyncio.run(made.call({"x": 1, "y": 5})).text == "[1,5]"


def test_what_partial_binds_by_name_is_no_matter_of_the_model() -> None:
    made = tool(functools.partial(plain, y="a secret"))
    assert "secret" not in json.dumps(made.spec)
    assert list(made.parameters["properties"]) == ["x"]
    assert received(made, x=1) == (1, "a secret")


def test_a_hint_may_name_what_is_local_where_the_tool_is_made() -> None:
    class Local(BaseModel):
        n: int

    def outer() -> Tool:
        @tool
        def use(local: Local, more: list[Local] | None = None) -> Missing:  # type: ignore[name-defined]  # noqa: F821
            """Use it.

            Args:
                local: It.
                more: More.
            """
            return local

        return use

    assert received(outer(), local={"n": 1}) == Local(n=1)


def test_type_parameters_of_a_function_are_read() -> None:
    def first(x: list[Item]) -> Item:  # type: ignore[name-defined]  # noqa: F821
        """Take one.

        Args:
            x: X.
        """
        return x[0]

    first.__type_params__ = (TypeVar("Item", bound=int),)  # type: ignore[attr-defined]  # as `def first[Item: int]`
    assert tool(first).parameters["properties"]["x"]["items"] == {"type": "integer"}


# --- what is refused ---------------------------------------------------------------------------------


class Placed(BaseModel):
    first: str = Field(validation_alias=AliasPath("names", 0))


class Streaming(BaseModel):
    lines: typing.Iterable[str] | None = None


class Streamed(te.TypedDict):
    lines: typing.Iterable[str]


class Abstract(typing.Protocol):
    x: int


def with_hidden_type(x: Nothing) -> None:
    """Take it.

    Args:
        x: X.
    """


def pair_of_one_name(
    a: Annotated[int, Field(alias="b", description="A.")], b: Annotated[int, Field(description="B.")]
) -> None:
    """Take it."""


REFUSED: list[tuple[Any, str]] = [
    (taking(Callable[[int], int]), "JsonSchema"),
    (taking(type[int]), "a class"),
    (taking(Abstract), "pydantic"),
    (taking(range), "range"),
    (taking(slice), "slice"),
    (taking(typing.Iterator[int]), "Iterator"),
    (taking(typing.ClassVar[int]), "other parameters than its JSON schema"),
    (taking(te.Self), "other parameters than its JSON schema"),
    (taking(te.Never), "Never"),
    (taking(te.NotRequired[int]), "NotRequired"),
    (taking(Literal[Unit.KELVIN]), "a value that JSON cannot send ('kelvin')"),
    (taking(Literal[b"a"]), "a value that JSON cannot send ('a')"),
    (taking(Pair), "a value that JSON cannot send"),
    (taking(list[Pair]), "a value that JSON cannot send"),
    (taking(Function), "Unable to serialize unknown type"),
    (taking(EmailStr), "email-validator"),
    *([(taking(Old), "typing_extensions.TypedDict")] if sys.version_info < (3, 12) else []),
    (taking("int |"), "cannot be read"),
    (taking("Missing"), "name 'Missing' is not defined"),
    (taking("re.Missing"), "Missing"),
    (taking(list["Missing"]), "name 'Missing' is not defined"),  # type: ignore[name-defined]  # noqa: F821
    (taking(5), " 5"),
    (taking(Annotated[str, Field(pattern="(?=a)")]), "look-around"),
    (taking(Annotated[str, Field(pattern="(")]), "unclosed group"),
    (taking(Annotated[int, Field(json_schema_extra={"a": object()})]), "JSON"),
    (taking(Annotated[int, Field(json_schema_extra={"a": math.nan})]), "JSON compliant"),
    (taking(int, Field(validation_alias=AliasPath("a", 0))), "AliasPath"),
    (taking(Annotated[int, Field(validation_alias=AliasPath("a", 0))]), "AliasPath"),
    (taking(Placed), "the alias ['names', 0] is a path"),
    (taking(Streaming), "a stream that can be read once"),
    (taking(list[Streamed]), "a stream that can be read once"),
    (taking(int, documented=""), "parameter 'x': has no description"),
    (with_hidden_type, "parameter 'x': has type hints that cannot be read: name 'Nothing' is not defined"),
    (pair_of_one_name, "other parameters than its JSON schema: b"),
    (Taker.method, "parameter 'self': has no type hint; make the tool of an object's method"),
    (max, "has no signature that can be read"),
]


@pytest.mark.parametrize(("function", "said"), REFUSED, ids=[f"{n} {row[1][:20]}" for n, row in enumerate(REFUSED)])
def test_what_cannot_be_meant_is_refused_at_definition(function: Any, said: str) -> None:
    with pytest.raises(ToolDefinitionError, match=re.escape(said)):
        tool(function)


async def test_what_only_pydantic_knows_is_told_with_an_example() -> None:
    made = tool(taking(list[date]))
    with pytest.raises(ArgumentError) as caught:
        await made.run({"x": ["2025-01-31", "soon"]})
    assert str(caught.value).startswith("The arguments do not fit: x[1]: ")
    assert str(caught.value).endswith('A valid example: {"x": ["2025-01-31"]}')
    with pytest.raises(ArgumentError) as caught:
        await tool(taking(Annotated[int, AfterValidator(even)])).run({"x": 3})
    assert "must be even" in str(caught.value)
    assert "example" not in str(caught.value)  # 1 would not do

    def listed(value: int) -> int:
        if value == 1:
            raise KeyError(value)
        raise ValueError("is not listed")

    with pytest.raises(ArgumentError, match="is not listed"):
        await tool(taking(Annotated[int, AfterValidator(listed)])).run({"x": 3})


def test_what_json_schema_has_no_word_for_is_told_in_words() -> None:
    made = tool(taking(Annotated[date, Field(ge=date(2020, 1, 1))]))
    sent = made.spec["function"]["parameters"]["properties"]["x"]
    assert sent == {"type": "string", "description": "X. (format: date, ge: 2020-01-01)"}
    made = tool(taking(Annotated[str, Field(examples=["Jeju"])]))
    assert made.spec["function"]["parameters"]["properties"]["x"]["description"] == 'X. (examples: ["Jeju"])'
    made = tool(taking(dict[Literal["a", "b"], int]))
    assert "propertyNames" in made.spec["function"]["parameters"]["properties"]["x"]["description"]


def test_names_that_a_value_does_not_say_are_told() -> None:
    told = tool(taking(tuple[Level, Row])).parameters["$defs"]
    assert told["Level"]["description"] == "1 is LOW, 2 is HIGH"
    assert [part["description"] for part in told["Row"]["prefixItems"]] == ["x", "y"]
    assert "description" not in tool(taking(Unit)).parameters["$defs"]["Unit"]


def test_a_tag_with_a_default_must_be_sent() -> None:
    made = tool(taking(Card | Bank, Field(discriminator="kind")))
    assert made.parameters["$defs"]["Card"]["required"] == ["kind", "number"]
    assert made.spec["function"]["parameters"]["$defs"]["Card"]["properties"]["kind"] == {
        "const": "card",
        "type": "string",
    }
