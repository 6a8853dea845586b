"""The form of a schema that is sent to the server."""

from __future__ import annotations

from typing import Any

import pytest

from fastslow.tools.schema import compiled
from fastslow.tools.strict import strict_form


def sent(**properties: Any) -> dict[str, Any]:
    form, strict = strict_form({"type": "object", "properties": properties})
    assert strict
    assert form["required"] == list(properties)
    assert form["additionalProperties"] is False
    result: dict[str, Any] = form["properties"]
    return result


@pytest.mark.parametrize(
    ("part", "form"),
    [
        (
            {"type": "string", "description": "A."},
            {"type": ["string", "null"], "description": "A. (null to leave it out)"},
        ),
        ({"type": "integer", "default": 5}, {"type": ["integer", "null"], "description": "(null for 5)"}),
        ({"type": ["integer", "null"]}, {"type": ["integer", "null"]}),
        (
            {"type": ["integer", "null"], "default": 5},
            {"type": ["integer", "null"], "description": "(default: 5)"},
        ),
        ({}, {}),
        (
            {"enum": ["a", "b"]},
            {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}], "description": "(null to leave it out)"},
        ),
        (
            {"type": "string", "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None], "description": "(null to leave it out)"},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "T"},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ),
        ({"const": 1}, {"anyOf": [{"const": 1}, {"type": "null"}], "description": "(null to leave it out)"}),
        (
            {"type": ["string", "null"], "pattern": "a$", "minLength": 1, "description": "D."},
            {"type": ["string", "null"], "minLength": 1, "description": "D. (pattern: a$)"},
        ),
        (
            {"type": ["string", "null"], "pattern": "^(a|b)+$"},
            {"type": ["string", "null"], "pattern": "^(a|b)+$"},
        ),
        ({"type": ["object", "null"]}, {"type": ["object", "null"]}),
        (
            {"type": ["object", "null"], "additionalProperties": {"type": "integer"}},
            {"type": ["object", "null"], "additionalProperties": {"type": "integer"}},
        ),
    ],
)
def test_optional_properties_become_nullable(part: dict[str, Any], form: dict[str, Any]) -> None:
    assert sent(p=part) == {"p": form}


@pytest.mark.parametrize("pattern", ["a", "^a", "a$", "^a|b$", r"^\d$", "^a?$", "^a{2}$", "^(?=a)b$"])
def test_patterns_that_the_grammar_reads_otherwise_are_told(pattern: str) -> None:
    form = sent(p={"type": ["string", "null"], "pattern": pattern})["p"]
    assert form == {"type": ["string", "null"], "description": f"(pattern: {pattern})"}


def test_nested_objects_are_closed_and_names_are_no_keywords() -> None:
    inner = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "format": {"type": "string"}},
        "required": ["title"],
    }
    form, strict = strict_form(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {"Inner": inner},
            "type": "object",
            "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/Inner"}, "uniqueItems": True}},
            "required": ["list"],
        }
    )
    assert strict
    assert "$schema" not in form
    assert form["properties"]["list"] == {
        "type": "array",
        "items": {"$ref": "#/$defs/Inner"},
        "description": "(uniqueItems: True)",
    }
    closed = form["$defs"]["Inner"]
    assert closed["required"] == ["title", "format"]
    assert closed["properties"]["title"] == {"type": "string"}
    assert closed["properties"]["format"]["type"] == ["string", "null"]
    assert closed["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 3}]}}},
        {"type": "object", "properties": {"a": {}}, "if": {"required": ["a"]}, "then": {}},
        {"type": "object", "properties": {}, "required": ["a"]},
    ],
)
def test_what_cannot_be_closed_is_sent_as_it_is(schema: dict[str, Any]) -> None:
    assert strict_form(schema) == (schema, False)


def test_deep_schemas_are_not_strict() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(70):
        schema = {"type": "array", "items": schema}
    assert strict_form({"type": "object", "properties": {"a": schema}})[1] is False


def test_open_objects_stay_open() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}
    assert strict_form(schema) == ({**schema, "required": []}, True)
    assert strict_form({"type": "object"}) == ({"type": "object"}, True)


def test_what_the_strict_form_allows_the_schema_takes_but_for_null() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": 2}, "b": {"type": "integer", "minimum": 1}},
        "required": ["a"],
    }
    form, _ = strict_form(schema)
    for value in (
        {"a": "xx", "b": 1},
        {"a": "x", "b": 1},
        {"a": "xx", "b": 0},
        {"a": "xx", "b": 1, "c": 1},
        {"a": None, "b": 1},
    ):
        assert compiled(form).is_valid(value) == compiled(schema).is_valid(value)
    assert compiled(form).is_valid({"a": "xx", "b": None})
