"""The example that a model is shown: valid always, there whenever it can be, and like what was sent."""

from __future__ import annotations

import enum
import json
import time
from dataclasses import make_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, Field, create_model

from fastslow.tools import ArgumentError, Tool, parse_arguments, tool
from fastslow.tools.examples import example_of
from fastslow.tools.schema import compiled

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def parameters(part: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": part}, "required": ["x"], **more}


def example(part: Any, sent: Any = None, **more: Any) -> Any:
    schema = parameters(part, **more)
    text = example_of(schema) if sent is None else example_of(schema, {"x": sent}, [("x",)])
    value = json.loads(text)
    assert compiled(schema).is_valid(value)
    return value["x"]


TREE = {
    "type": "object",
    "properties": {"value": INTEGER, "next": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
    "required": ["value", "next"],
}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({}, "..."),
        (True, "..."),
        (STRING, "..."),
        ({"type": "string", "minLength": 5}, "....."),
        ({"type": "string", "maxLength": 2}, ".."),
        ({"type": "string", "pattern": r"^\d{4}-[A-Z]+$"}, "1111-A"),
        ({"type": "string", "pattern": "^(left|right)$"}, "left"),
        ({"type": "string", "pattern": "^[^a-z ]+?@", "minLength": 4}, "A@aa"),
        ({"type": "string", "pattern": r"^\S+\s\w\W\D[가-힣]$"}, "a a a가"),
        ({"type": "string", "pattern": "^(?=.*x)ax$"}, "ax"),
        ({"type": "string", "format": "date"}, "2025-01-31"),
        (INTEGER, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "maximum": -5}, -5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "integer", "minimum": 10**400}, 10**400),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "multipleOf": 0.05, "minimum": 0.11}, 0.15),
        ({"minimum": 3}, 3),
        ({"type": "boolean"}, True),
        ({"type": ["null", "integer"]}, None),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "integer", "default": 7, "maximum": 5}, 1),
        ({"type": "string", "examples": [5, "Seoul"]}, "Seoul"),
        ({"type": "array", "items": INTEGER}, [1]),
        ({"type": "array", "items": INTEGER, "maxItems": 0}, []),
        ({"type": "array", "items": INTEGER, "minItems": 3, "uniqueItems": True}, [1, 2, 3]),
        ({"type": "array", "items": STRING, "minItems": 2, "uniqueItems": True}, ["...", "...1"]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True}, [True, False]),
        ({"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "items": False}, [1, "..."]),
        ({"type": "array", "prefixItems": [INTEGER], "minItems": 2, "items": STRING}, [1, "..."]),
        ({"type": "array", "contains": {"const": 5}}, [5]),
        ({"type": "object"}, {}),
        ({"type": "object", "minProperties": 1, "additionalProperties": INTEGER}, {"key1": 1}),
        ({"type": "object", "minProperties": 1, "propertyNames": {"enum": ["a"]}}, {"a": "..."}),
        ({"type": "object", "properties": {"a": INTEGER}, "minProperties": 1}, {"a": 1}),
        ({"type": "object", "required": ["k1"], "patternProperties": {"^k": INTEGER}}, {"k1": 1}),
        (
            {"type": "object", "required": ["a"], "dependentRequired": {"a": ["b"], "b": ["c"]}},
            dict.fromkeys("abc", "..."),
        ),
        ({"required": ["a"]}, {"a": "..."}),
        ({"anyOf": [{"type": "array", "items": False, "minItems": 1}, INTEGER]}, 1),
        ({"oneOf": [INTEGER, {"type": "number"}]}, 1.5),
        ({"allOf": [{"minimum": 3, "type": "integer"}, {"minimum": 5}]}, 5),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": INTEGER}, "required": ["b"]}]}, {"a": 1, "b": "..."}),
        ({"type": "object", "properties": {"a": INTEGER}, "anyOf": [{"required": ["a"]}]}, {"a": 1}),
        ({"type": "string", "not": {"const": "..."}, "enum": ["...", "b"]}, "b"),
    ],
)
def test_a_smallest_value_of_every_shape(part: Any, value: Any) -> None:
    assert example(part) == value


def test_a_schema_that_contains_itself_ends() -> None:
    assert example({"$ref": "#/$defs/Tree"}, **{"$defs": {"Tree": TREE}}) == {"value": 1, "next": None}
    assert example_of(parameters({"$ref": "#"}, additionalProperties=False)) == ""  # there is none
    sent = {"x": {"value": 1, "next": {"value": "one", "next": None}}}
    schema = parameters({"$ref": "#/$defs/Tree"}, **{"$defs": {"Tree": TREE}})
    shown = json.loads(example_of(schema, sent, [("x", "next", "value")]))
    assert shown == {"x": {"value": 1, "next": {"value": 1, "next": None}}}


def test_an_example_is_like_what_was_sent() -> None:
    assert example({"enum": ["a", "b"]}, "b") == "b"
    shapes = {"anyOf": [parameters(INTEGER), {"type": "array", "items": INTEGER}, {"type": "null"}]}
    assert example(shapes, ["a"]) == [1]
    assert example(shapes, {"x": "a"}) == {"x": 1}
    when = {
        "type": "object",
        "properties": {"kind": {"enum": ["card", "bank"]}},
        "if": {"properties": {"kind": {"const": "bank"}}},
        "then": {"required": ["iban"]},
        "else": {"required": ["number"]},
        "required": ["kind"],
    }
    assert example(when, {"kind": "bank"}) == {"kind": "bank", "iban": "..."}
    assert example(when, {"kind": "card"}) == {"kind": "card", "number": "..."}


def test_no_schema_takes_long() -> None:
    defs: dict[str, Any] = {"D0": {"type": "integer", "minimum": 5, "maximum": 4}}
    for level in range(30):
        inner = {"$ref": f"#/$defs/D{level}"}
        either = {"anyOf": [inner, {"type": "array", "items": inner, "minItems": 1}]}
        defs[f"D{level + 1}"] = {"allOf": [either, either]}
    schema = parameters({"$ref": "#/$defs/D30"}, **{"$defs": defs})
    started = time.monotonic()
    assert example_of(schema) == ""
    lists = {"anyOf": [{"type": "array", "items": INTEGER}, {"type": "array", "items": parameters(INTEGER)}]}
    assert example(lists, ["a"] * 500_000) == [1]
    assert time.monotonic() - started < 3


# --- every schema, every value -----------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "kind", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["", "a", "card", "2025-01-31", 0.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SCALARS = st.one_of(
    st.sampled_from([{}, True, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}]),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": st.integers(-3, 5),
            "exclusiveMaximum": st.integers(3, 9),
            "multipleOf": st.sampled_from([2, 0.5]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 4),
            "maxLength": st.integers(2, 5),
            "pattern": st.sampled_from(["^[a-c]+$", r"^\d", "x|y"]),
            "format": st.sampled_from(["date", "email"]),
        },
    ),
    st.fixed_dictionaries({"enum": st.lists(JSON, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"const": JSON}),
    st.just({"$ref": "#/$defs/Self"}),
)


def containing(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
        optional={
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": inner | st.booleans(),
            "minProperties": st.integers(0, 2),
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=1), max_size=1),
            "default": JSON,
        },
    )
    arrays = st.fixed_dictionaries(
        {"type": st.just("array"), "items": inner},
        optional={
            "minItems": st.integers(0, 3),
            "maxItems": st.integers(1, 3),
            "uniqueItems": st.booleans(),
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
        },
    )
    branches = st.lists(inner, min_size=1, max_size=3)
    unions = st.sampled_from(["anyOf", "oneOf", "allOf"]).flatmap(lambda key: st.fixed_dictionaries({key: branches}))
    conditions = st.fixed_dictionaries(
        {"if": inner, "then": inner}, optional={"else": inner, "required": st.just(["a"])}
    )
    tagged = st.lists(objects, min_size=2, max_size=2).map(tagged_union)
    return objects | arrays | unions | conditions | tagged


def tagged_union(branches: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "oneOf": [
            {**branch, "properties": {**branch["properties"], "kind": {"const": tag}}, "required": ["kind"]}
            for tag, branch in zip(("card", "bank"), branches, strict=True)
        ],
        "discriminator": {"propertyName": "kind"},
    }


SCHEMAS = st.builds(
    lambda part, own, required: {**parameters(part), "$defs": {"Self": own}, "required": required},
    st.recursive(SCALARS, containing, max_leaves=8),
    st.recursive(SCALARS, containing, max_leaves=4),
    st.lists(st.just("x"), max_size=1),
)


def shown(schema: dict[str, Any], value: Any) -> str | None:
    """The example in the error for a value, "" for one without, None where the value fits."""
    try:
        parse_arguments(schema, json.dumps(value))
    except ArgumentError as error:
        lines = str(error).splitlines()
        return next((line[17:] for line in lines if line.startswith("A valid example: ")), "")
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, st.fixed_dictionaries({}, optional={"x": JSON, "y": JSON}))
def test_the_example_of_any_schema_is_valid(schema: dict[str, Any], value: Any) -> None:
    try:
        validator = compiled(schema)
    except (SchemaError, ValueError, TypeError):
        assume(False)
    text = shown(schema, value)
    event("fits" if text is None else "shown" if text else "none")
    if text:
        assert validator.is_valid(json.loads(text)), (text, schema)


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


def model(fields: dict[str, Any]) -> type[BaseModel]:
    return create_model("Model", **{name: (hint, ...) for name, hint in fields.items()})  # type: ignore[call-overload,no-any-return]


def dataclass(fields: dict[str, Any]) -> type:
    return make_dataclass("Record", fields.items())


def models_with_tags(both: list[dict[str, Any]]) -> Any:
    one, other = (
        model({**fields, "kind": Literal[tag]})  # type: ignore[valid-type]
        for tag, fields in zip(("card", "bank"), both, strict=True)
    )
    return Annotated[Union[one, other], Field(discriminator="kind")]  # noqa: UP007


TYPES = st.recursive(
    st.sampled_from(
        [
            *(int, float, bool, str, None, Any, date, datetime, timedelta, Decimal, UUID, Path, bytes, Unit),
            *(Literal["a", 1], Annotated[int, Field(ge=3, lt=9)], Annotated[str, Field(pattern="^[A-Z]{3}$")]),
            *(
                Annotated[list[int], Field(min_length=2)],
                Annotated[float, Field(gt=0, multiple_of=0.5)],
                tuple[int, str],
            ),
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: list[one]),  # type: ignore[valid-type]
        inner.map(lambda one: dict[str, one]),  # type: ignore[valid-type]
        inner.map(lambda one: tuple[one, ...]),  # type: ignore[valid-type]
        inner.map(lambda one: Annotated[list[one], Field(min_length=1)]),  # type: ignore[valid-type]
        inner.map(lambda one: Union[one, None]),  # noqa: UP007
        st.tuples(inner, inner).map(lambda both: Union[both]),  # noqa: UP007
        st.tuples(inner, inner).map(lambda both: tuple[both]),  # type: ignore[valid-type]
        st.dictionaries(NAMES, inner, min_size=1, max_size=2).map(model),
        st.dictionaries(NAMES, inner, min_size=1, max_size=2).map(dataclass),
        st.lists(st.dictionaries(NAMES, inner, max_size=2), min_size=2, max_size=2).map(models_with_tags),
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(TYPES, JSON)
def test_the_example_of_any_type_is_there_and_python_takes_it(hint: Any, value: Any) -> None:
    def take(x):  # type: ignore[no-untyped-def]
        """Take it.

        Args:
            x: It.
        """
        return x

    take.__annotations__ = {"x": hint}
    made = tool(take)
    for sent in ({"x": value}, {}, {"x": value, "z": 1}):
        text = shown(made.parameters, sent)
        event("fits" if text is None else "shown")
        if text is None:
            text = refused_by_python(made, sent)
        if text is not None:
            assert compiled(made.parameters).is_valid(json.loads(text))
            made.handler(**json.loads(text))


def refused_by_python(made: Tool, sent: dict[str, Any]) -> str | None:
    """The example in the error for what the schema allows, a text for a date, and Python does not; else None."""
    try:
        made.handler(**parse_arguments(made.parameters, json.dumps(sent)))
    except ArgumentError as error:
        return str(error).partition("A valid example: ")[2]
    return None
