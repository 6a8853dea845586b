"""What a model wrote as arguments: read where it has one reading, explained where it has none."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.tools import ArgumentError, parse_arguments


def schema(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


WEATHER = schema(
    "city",
    city={"type": "string"},
    days={"type": "integer", "minimum": 1},
    unit={"enum": ["celsius", "fahrenheit"]},
)
COMMAND = schema("command", command={"type": "string"})
FREE = {"type": "object"}
NESTED = {
    "$defs": {
        "Step": {
            "type": "object",
            "properties": {
                "do": {"type": "string"},
                "after": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["do"],
            "additionalProperties": False,
        }
    },
    **schema("steps", steps={"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1}),
}


def refused(schema: dict[str, Any], text: str) -> str:
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(schema, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"city": "Paris", "days": 3}', {"city": "Paris", "days": 3}),
        ('  \ufeff{"city": "Paris"}\n', {"city": "Paris"}),
        ('{"city": "Paris",}', {"city": "Paris"}),
        ('{"city": "Paris"', {"city": "Paris"}),
        ('{"city": "Paris"\n', {"city": "Paris"}),
        ('{"city": "Paris"}}', {"city": "Paris"}),
        ('{"city": "Paris"}</tool_call><|im_end|>\n', {"city": "Paris"}),
        ('{"city": "Paris"</tool_call>', {"city": "Paris"}),
        ('```json\n{"city": "Paris"}\n```', {"city": "Paris"}),
        ("{'city': 'Paris', 'days': None}", {"city": "Paris"}),
        ("{'city': \"L'Aquila\"}", {"city": "L'Aquila"}),
        ('{"city": "L\\\'Aquila"}', {"city": "L'Aquila"}),
        ('{"city": "two\nlines\t"}', {"city": "two\nlines\t"}),
        ('```json {"city": "Paris"} ```', {"city": "Paris"}),
        ('```json\n{"city": "Paris"}', {"city": "Paris"}),
        ('"{\\"city\\": \\"Paris\\"}"', {"city": "Paris"}),
        ('"Paris"', {"city": "Paris"}),
        ("'Paris'", {"city": "Paris"}),
        ('{"city": "Paris", "days": "3"}', {"city": "Paris", "days": 3}),
        ('{"city": "Paris", "days": "3.0"}', {"city": "Paris", "days": 3}),
        ('{"city": "Paris", "days": 3.0}', {"city": "Paris", "days": 3}),
        ('{"city": "Paris", "days": null, "unit": null}', {"city": "Paris"}),
        ('{"city": "Paris", "unit": "Celsius"}', {"city": "Paris", "unit": "celsius"}),
        ('{"city": "Paris", "city": "Paris"}', {"city": "Paris"}),
        ('{"city": "\\ud83d\\ude00 \\ud83d"}', {"city": "\U0001f600 \ufffd"}),
    ],
)
def test_what_has_one_reading_is_read(text: str, arguments: dict[str, Any]) -> None:
    parsed = parse_arguments(WEATHER, text)
    assert parsed == arguments
    assert type(parsed.get("days", 0)) is int


@pytest.mark.parametrize(
    ("parameters", "text", "arguments"),
    [
        (schema(), "", {}),
        (schema(), "null", {}),
        (schema(), '""', {}),
        (schema("n", n={"type": "integer", "nullable": True}), '{"n": null}', {"n": None}),
        (schema("u", u={"type": "string", "enum": ["a"], "nullable": True}), '{"u": null}', {"u": None}),
        (schema(a={"type": "string"}), " \n", {}),
        (FREE, '{"x": {"y": [1]}}', {"x": {"y": [1]}}),
        (schema("on", on={"type": "boolean"}), '{"on": "True"}', {"on": True}),
        (schema("on", on={"type": "boolean"}), "false", {"on": False}),
        (schema("n", n={"type": "number"}), "4.5", {"n": 4.5}),
        (schema("n", n={"type": "number"}), '"4.5"', {"n": 4.5}),
        (schema("xs", xs={"type": "array", "items": {"type": "integer"}}), "[1, 2]", {"xs": [1, 2]}),
        (
            schema("xs", xs={"type": "array", "items": {"type": "integer"}}),
            '{"xs": "[1, \\"2\\"]"}',
            {"xs": [1, 2]},
        ),
        (schema("u", u={"enum": ["celsius", "kelvin"]}), "celsius", {"u": "celsius"}),
        (schema("u", u={"type": ["integer", "null"]}), '{"u": "null"}', {"u": None}),
        (schema("u", u={"type": ["integer", "null"]}), '{"u": null}', {"u": None}),
        (schema("a", a={"type": "string"}), '{"a": "null"}', {"a": "null"}),
        (schema("a", a={"type": "string"}), '{"a": "12"}', {"a": "12"}),
        (schema("a", a={"anyOf": [{"type": "integer"}, {"type": "null"}]}), '{"a": "12"}', {"a": 12}),
        (schema("a", a={"anyOf": [{"type": "string"}, {"type": "integer"}]}), '{"a": "12"}', {"a": "12"}),
        (
            NESTED,
            '{"steps": [{"do": "x", "after": null}, {"do": "y", "after": ["1"]}]}',
            {"steps": [{"do": "x"}, {"do": "y", "after": [1]}]},
        ),
        (NESTED, '{"steps": "[{\\"do\\": \\"x\\"}]"}', {"steps": [{"do": "x"}]}),
        (NESTED, '[{"do": "x"}]', {"steps": [{"do": "x"}]}),
        (NESTED, '{"steps": ["{\\"do\\": \\"x\\"}"]}', {"steps": [{"do": "x"}]}),
        (schema("p", p={"type": "number", "multipleOf": 0.01}), '{"p": 19.99}', {"p": 19.99}),
    ],
)
def test_the_schema_says_what_was_meant(parameters: dict[str, Any], text: str, arguments: dict[str, Any]) -> None:
    parsed = parse_arguments(parameters, text)
    assert parsed == arguments
    assert json.dumps(parsed) == json.dumps(arguments)  # 1 == True == 1.0 in Python


@pytest.mark.parametrize(
    "text",
    [
        '{"command": "rm -rf /',
        '{"command": "rm -rf /\\',
        '{"command": "rm -rf /\\u00',
        '{"command":',
        '{"command"',
        '{"comm',
        "{",
        '"rm -rf /',
        '"{\\"command\\": \\"rm -rf /"',
        "rm -rf /",
        "{'command': 'rm -rf /",
        '```json\n{"command": "rm -rf /',
        '{"command": "rm -rf /</tool_call>',
        '{"command": "ls"} {"command": "pwd"}',
        '{"command": "ls"} and then',
        '{"command": "ls", "command": "pwd"}',
        '""',
        '{"arguments": "{\\"command\\": \\"rm"}',
        '{"command": "ls" "pwd"}',
        '{"command": "a\\d"}',
        '{command: "ls"}',
        '{"command": NaN}',
        "NaN",
        '{"command": 1e999}',
        '{"command": ls}',
        '{"command": ["ls"]}',
        '{"command": 5}',
        '{"command": null}',
        '{"Command": "ls"}',
        "[]",
        "null",
        "12",
        '["ls", "pwd"]',
        "\0",
        "]",
        ",",
        "{}",
        "",
    ],
)
def test_what_has_no_sure_reading_is_refused(text: str) -> None:
    told = refused(COMMAND, text)
    assert 'A valid example: {"command": "..."}' in told
    assert (text.strip()[:50] or "(nothing)") in told


@pytest.mark.parametrize(
    "whole",
    [
        '{"command": "rm -rf /tmp/x", "dry": true, "n": 12, "why": {"a": ["b", "c"], "d": 1.5e3}}',
        "{'command': 'rm -rf /tmp/x', 'dry': True, 'n': 12, 'why': {'a': ['b', 'c'], 'd': 1.5}}",
    ],
)
def test_half_a_call_is_never_run(whole: str) -> None:
    free = {"type": "object", "additionalProperties": True}
    parameters = schema(
        "command dry n why",
        command={"type": "string"},
        dry={"type": "boolean"},
        n={"type": "integer"},
        why=free,
    )
    complete = parse_arguments(parameters, whole)
    for end in range(len(whole) - 1):
        with pytest.raises(ArgumentError, match=r"cut off|not fit"):
            parse_arguments(parameters, whole[:end])
    assert parse_arguments(parameters, whole[:-1]) == complete


def test_a_cut_off_text_is_called_cut_off() -> None:
    told = refused(WEATHER, '{"city": "Par')
    assert told.startswith("The arguments were cut off: the text ends inside a string.")
    assert "Send the whole call again" in told
    assert "cut off" in refused(WEATHER, '{"city": "Paris", "days": 3')  # perhaps 30
    assert "cut off" not in refused(WEATHER, '{"city": Paris}')


def test_errors_say_path_expected_and_got() -> None:
    told = refused(NESTED, '{"steps": [{"do": "x"}, {"do": 5, "afer": []}]}').splitlines()
    assert told[0].startswith("The arguments do not fit: steps[1]")
    assert "- steps[1].do: expected a string, got 5" in told
    assert "- steps[1]: there is no property 'afer', did you mean 'after'? the properties are: do, after" in told
    assert told[-2] == 'A valid example: {"steps": [{"do": "..."}]}'
    assert told[-1].startswith('You sent: {"steps"')
    told = refused(WEATHER, '{"city": "Paris", "days": 0, "unit": "kelvin"}').splitlines()
    assert "- days: expected at least 1, got 0" in told
    assert '- unit: expected one of "celsius", "fahrenheit", got "kelvin"' in told
    assert told[-2] == 'A valid example: {"city": "...", "days": 1, "unit": "celsius"}'
    assert "expected the property 'city', got none" in refused(WEATHER, "{}")
    deep = schema(a=schema(b={"type": "array", "items": schema(c={"type": "integer"})}))
    assert 'A valid example: {"a": {"b": [{"c": 1}]}}' in refused(deep, '{"a": {"b": [{"c": "x"}]}}')
    assert "expected an object, got" in refused(NESTED, "5")


def test_at_most_three_errors_and_a_short_text() -> None:
    many = schema(**{f"p{n}": {"type": "integer"} for n in range(9)})
    told = refused(many, json.dumps({f"p{n}": "x" * 5000 for n in range(9)}))
    assert told.count("expected an integer") == 4  # the first line repeats the first of three
    assert "and 6 more" in told
    assert len(told) < 2000


def test_unions_name_the_branch_that_was_meant() -> None:
    circle = schema("r", kind={"const": "circle"}, r={"type": "number"})
    parameters = schema("shape", shape={"anyOf": [circle, {"type": "null"}]})
    assert "shape.r: expected a number, got" in refused(parameters, '{"shape": {"kind": "circle", "r": "big"}}')
    assert "shape: expected an object or null, got 5" in refused(parameters, '{"shape": 5}')


def test_unknown_properties_are_errors_unless_allowed() -> None:
    assert "no property 'town'" in refused(WEATHER, '{"city": "Paris", "town": 1}')
    assert parse_arguments({**WEATHER, "additionalProperties": True}, '{"city": "P", "town": 1}')["town"] == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "nonsense"},
        {"type": "object", "properties": 5},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"properties": {"a": {"pattern": "("}}},
        {"patternProperties": {"(a+)+$": {}}},
    ],
)
def test_a_broken_schema_is_an_argument_error(broken: dict[str, Any]) -> None:
    refused(broken, '{"a": "b"}')


def test_drafts_before_2020_12() -> None:
    pair = {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False}
    parameters = {"$schema": "http://json-schema.org/draft-07/schema#", **schema("pair", pair=pair)}
    assert parse_arguments(parameters, '{"pair": [1, "a"]}') == {"pair": [1, "a"]}
    refused(parameters, '{"pair": ["a", 1]}')


def test_nothing_hangs() -> None:
    started = time.monotonic()
    bad_pattern = schema("a", a={"type": "string", "pattern": "^(a+)+$"})
    refused(bad_pattern, json.dumps({"a": "a" * 40 + "!"}))
    assert parse_arguments(bad_pattern, '{"a": "aaa"}') == {"a": "aaa"}
    slow = schema("a", a={"type": "string", "pattern": "a*a*a*b$"})
    refused(slow, json.dumps({"a": "a" * 5000}))
    refused(FREE, '{"a":' * 100_000)
    refused(FREE, '{"a":' * 500 + "1" + "}" * 500)
    refused(FREE, "[" * 100_000)
    refused(FREE, '{"a": ' + "9" * 5000 + "}")
    unique = schema("a", a={"type": "array", "uniqueItems": True})
    refused(unique, '{"a": [' + ", ".join('{"n": 1}' for _ in range(100_000)) + "]}")
    refused(FREE, "x" * 3_000_000)
    big = {"text": "x" * 1_000_000}
    assert parse_arguments(FREE, json.dumps(big)) == big
    refused(WEATHER, '{"city": "x' + "'" * 1_000_000)
    assert time.monotonic() - started < 15


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            '"',
            "'",
            "\\",
            " ",
            "\n",
            '"city"',
            "'city'",
            '"days"',
            '"steps"',
            "1",
        ),
        *(
            "-",
            "1e9",
            "true",
            "None",
            "NaN",
            "\\u12",
            "\\ud800",
            "\ud800",
            "```json\n",
            "\n```",
            "</tool_call>",
        ),
        *("\0", "\ufeff", "x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_valid_json_comes_back_as_it_is(value: Any) -> None:
    anything = {"type": "object", "properties": {"value": {}}, "required": ["value"]}
    for text in (json.dumps({"value": value}), json.dumps({"value": value}, ensure_ascii=False)):
        assert parse_arguments(anything, text) == {"value": value}


@settings(max_examples=500, deadline=None)
@given(
    st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=100) | JSON.map(json.dumps),
    st.sampled_from(
        [WEATHER, COMMAND, FREE, NESTED, schema(), schema("a", a={"anyOf": [{"type": "integer"}, NESTED]})]
    ),
)
def test_any_text_gives_an_object_or_an_argument_error(text: str, parameters: dict[str, Any]) -> None:
    try:
        arguments = parse_arguments(parameters, text)
    except ArgumentError:
        return
    written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    written.encode()
    assert parse_arguments(parameters, written) == arguments  # what was mended needs no mending


@pytest.mark.parametrize(
    "text",
    [
        '[{"city": "Paris"}]',
        '{"arguments": {"city": "Paris"}}',
        '{"name": "weather", "arguments": {"city": "Paris"}}',
        '{"name": "weather", "parameters": {"city": "Paris"}}',
        '{"arguments": "{\\"city\\": \\"Paris\\"}"}',
    ],
)
def test_arguments_come_out_of_what_they_are_wrapped_in(text: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert parse_arguments(schema, text) == {"city": "Paris"}


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (["arguments"], '{"arguments": {"a": 1}}'),
        (["name", "arguments"], '{"name": "x", "arguments": {"a": 1}}'),
    ],
)
def test_what_may_be_meant_as_it_stands_stays(properties: list[str], text: str) -> None:
    schema = {"type": "object", "properties": {name: {} for name in properties}}
    assert parse_arguments(schema, text) == json.loads(text)


def test_arguments_that_do_not_fit_are_rewritten_before_they_are_mended() -> None:
    counted = schema("count", count={"type": "integer"})
    seen: list[dict[str, Any]] = []

    def rewrite(sent: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(sent))
        return {"count": sent.pop("number"), **sent} if "number" in sent else sent

    assert parse_arguments(counted, '{"count": 3}', rewrite) == {"count": 3}
    assert seen == []
    assert parse_arguments(counted, '{"number": "3"}', rewrite) == {"count": 3}
    assert parse_arguments(counted, '{"name": "tool", "arguments": {"number": 3}}', rewrite) == {"count": 3}
    with pytest.raises(ArgumentError, match="no property 'size'"):
        parse_arguments(counted, '{"number": 3, "size": 1}', rewrite)
    with pytest.raises(ArgumentError, match="not one JSON object"):
        parse_arguments(counted, "number 3", rewrite)
