"""What a model is told of a value that fits no branch of a union: what the branch lacks that it meant."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from fastslow.tools import ArgumentError, Tool, parse_arguments, tool
from fastslow.tools.generation import schema_of
from fastslow.tools.schema import compiled
from fastslow.tools.strict import strict_form

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Bank(BaseModel):
    kind: Literal["bank", "wire"] = "bank"
    iban: str
    bic: str


class Cash(BaseModel, extra="forbid"):
    kind: Literal["cash"]
    amount: int


Pay = Annotated[Card | Bank | Cash, Field(discriminator="kind")]


@tool
def pay(
    by: Pay,
    fallback: Pay | None = None,
    more: list[Pay] | None = None,
    named: dict[str, Pay] | None = None,
) -> str:
    """Pay.

    Args:
        by: How.
        fallback: Else how.
        more: And how.
        named: How, by name.
    """
    return repr((by, fallback, more, named))


class Text(BaseModel):
    text: str
    size: int
    bold: bool


class Picture(BaseModel):
    url: str
    width: int


@tool
def draw(what: Text | Picture | list[Picture] | str) -> str:
    """Draw.

    Args:
        what: It.
    """
    return repr(what)


CARD = {"kind": "card", "number": "1"}
BANK = {"kind": "bank", "iban": "...", "bic": "..."}


def raw(part: dict[str, Any], **more: Any) -> Tool:
    parameters = {"type": "object", "properties": {"x": part}, "required": ["x"], **more}
    return Tool.from_schema("raw", "Raw.", parameters, print)


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def told(made: Tool, sent: Any) -> tuple[list[str], Any]:
    """What is said to be wrong, and the example."""
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(made.parameters, json.dumps(sent))
    head, *lines = str(caught.value).splitlines()
    example = next(json.loads(line[17:]) for line in lines if line.startswith("A valid example: "))
    assert compiled(made.parameters).is_valid(example)
    wrong = [line[2:] for line in lines if line.startswith("- ")]
    return wrong or [head.removeprefix("The arguments do not fit: ").removesuffix(".")], example


def test_the_tag_says_which_branch_is_meant() -> None:
    wrong, example = told(pay, {"by": {"kind": "bank", "iban": "DE1"}})
    assert wrong == ["""by: for Bank expected the property 'bic', got ["iban", "kind"]"""]
    assert example == {"by": BANK}
    wrong, example = told(pay, {"by": {"kind": "wire", "iban": 5, "bic": []}})
    assert wrong == ["by.iban: for Bank expected a string, got 5", "by.bic: for Bank expected a string, got []"]
    assert example == {"by": {**BANK, "kind": "wire"}}
    wrong, example = told(pay, {"by": {"kind": "cash", "amount": 1, "iban": "DE1"}})
    assert wrong == ["by: for Cash there is no property 'iban'; the properties are: kind, amount"]
    assert example == {"by": {"kind": "cash", "amount": 1}}


@pytest.mark.parametrize("kind", ["check", 5, None, ["bank"], {"bank": 1}])
def test_a_wrong_tag_gets_those_that_are_allowed(kind: Any) -> None:
    wrong, example = told(pay, {"by": {"kind": kind, "iban": "DE1"}})
    (line,) = wrong
    assert line.startswith("by.kind: expected one of ")
    assert {'"card"', '"bank"', '"wire"', '"cash"'} == {
        word for word in line.partition(", got ")[0].replace(",", "").split() if word[0] == '"'
    }
    assert example["by"].keys() >= {"kind", "iban"}


def test_a_tag_may_have_tags_below_it() -> None:
    class Dog(BaseModel):
        kind: Literal["pet"]
        sort: Literal["dog"]

    class Cat(BaseModel):
        kind: Literal["pet"]
        sort: Literal["cat"]

    class Car(BaseModel):
        kind: Literal["car"]

    pet = Annotated[Dog | Cat, Field(discriminator="sort")]
    part = schema_of(TypeAdapter(Annotated[pet | Car, Field(discriminator="kind")]))
    made = raw({key: value for key, value in part.items() if key != "$defs"}, **{"$defs": part["$defs"]})
    wrong, _ = told(made, {"x": {"kind": "house"}})
    assert wrong == ['x.kind: expected one of "pet", "car", got "house"']
    wrong, _ = told(made, {"x": {"kind": "pet", "sort": "fish"}})
    assert wrong == ['x.sort: for kind "pet" expected one of "dog", "cat", got "fish"']


def test_a_missing_tag_is_named_with_the_branch_that_comes_closest_or_with_all_tags() -> None:
    wrong, example = told(pay, {"by": {"iban": "DE1"}})
    assert wrong == ["""by: for Bank expected the properties 'kind', 'bic', got ["iban"]"""]
    assert example == {"by": BANK}
    wrong, _ = told(pay, {"by": {}})
    assert wrong == ["""by: expected the property 'kind', one of "card", "bank", "wire", "cash", got none"""]
    assert told(pay, {"by": 5})[0] == ["by: expected an object, got 5"]


@pytest.mark.parametrize(
    ("sent", "place", "example"),
    [
        ({"fallback": {"kind": "bank"}}, "fallback", {"fallback": BANK}),
        ({"more": [CARD, {"kind": "bank"}]}, "more[1]", {"more": [BANK]}),
        ({"named": {"first": CARD, "second": {"kind": "bank"}}}, "named.second", {"named": {"second": BANK}}),
    ],
)
def test_a_union_may_stand_inside(sent: Any, place: str, example: Any) -> None:
    wrong, shown = told(pay, {"by": CARD, **sent})
    assert wrong == [f"""{place}: for Bank expected the properties 'iban', 'bic', got ["kind"]"""]
    assert shown == {"by": {"kind": "card", "number": "..."}, **example}


async def test_what_is_right_becomes_the_branch() -> None:
    arguments = parse_arguments(pay.parameters, json.dumps({"by": {**BANK, "kind": "Bank"}, "more": [CARD]}))
    text = await pay.run(arguments)
    assert text == "(Bank(kind='bank', iban='...', bic='...'), None, [Card(kind='card', number='1')], None)"


@pytest.mark.parametrize(
    ("sent", "wrong", "example"),
    [
        (
            {"url": "u"},
            ["""what: for Picture expected the property 'width', got ["url"]"""],
            {"url": "...", "width": 1},
        ),
        (
            {"text": "t", "size": "big"},
            [
                'what.size: for Text expected an integer, got "big"',
                """what: for Text expected the property 'bold', got ["size", "text"]""",
            ],
            {"text": "...", "size": 1, "bold": True},
        ),
        (
            [{"url": "u"}],
            ["""what[0]: expected the property 'width', got ["url"]"""],
            [{"url": "...", "width": 1}],
        ),
        (5.5, ["what: expected an object or an array or a string, got 5.5"], {"text": "...", "size": 1, "bold": True}),
    ],
)
def test_without_a_tag_the_branch_that_came_closest_is_named(sent: Any, wrong: list[str], example: Any) -> None:
    assert told(draw, {"what": sent}) == (wrong, {"what": example})


# --- schemas as other servers send them --------------------------------------------------------------

RAW_CARD = closed(kind={"const": "card"}, number=STRING)
RAW_BANK = closed(kind={"enum": ["bank"]}, iban=STRING, bic=STRING)
SENT = {"x": {"kind": "bank", "iban": "DE1"}}


@pytest.mark.parametrize(
    "part",
    [
        {"oneOf": [RAW_CARD, RAW_BANK]},
        {"anyOf": [RAW_CARD, RAW_BANK]},
        {"anyOf": [{"type": "null"}, {"oneOf": [RAW_CARD, RAW_BANK]}]},
        {"type": "object", "oneOf": [RAW_CARD, RAW_BANK], "discriminator": {"propertyName": "kind"}},
        {"allOf": [{"oneOf": [RAW_CARD, RAW_BANK]}, {"required": ["kind"]}]},
        {"oneOf": [{"allOf": [{"required": ["number"]}, RAW_CARD]}, {"allOf": [RAW_BANK]}]},
    ],
)
def test_a_tag_that_no_keyword_names_is_found(part: dict[str, Any]) -> None:
    wrong, example = told(raw(part), SENT)
    assert wrong == ["""x: for kind "bank" expected the property 'bic', got ["iban", "kind"]"""]
    assert example == {"x": BANK}
    (line,), example = told(raw(part), {"x": {"kind": "cash"}})
    assert line == 'x.kind: expected one of "card", "bank", got "cash"'


def test_tags_may_be_written_beside_the_union_only() -> None:
    definitions = {"C": closed(kind=STRING, number=STRING), "B": closed(kind=STRING, iban=STRING, bic=STRING)}
    mapping = {"card": "#/components/C", "bank": "#/components/B"}
    union = {
        "oneOf": [{"$ref": target} for target in mapping.values()],
        "discriminator": {"propertyName": "kind", "mapping": mapping},
    }
    wrong, example = told(raw(union, components=definitions), SENT)
    assert wrong == ["""x: for kind "bank" expected the property 'bic', got ["iban", "kind"]"""]
    assert example == {"x": BANK}
    assert told(raw(union, components=definitions), {"x": {"kind": "cash", "iban": "1"}})[0] == [
        'x.kind: expected one of "card", "bank", got "cash"'
    ]


CONDITIONS = [
    {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {"required": names, "properties": dict.fromkeys(names, STRING)},
    }
    for kind, names in (("card", ["number"]), ("bank", ["iban", "bic"]))
]
CONDITIONAL = {"type": "object", "properties": {"kind": {"enum": ["card", "bank"]}}, "required": ["kind"]}


def test_conditions_are_branches_too() -> None:
    wrong, example = told(raw({**CONDITIONAL, "allOf": CONDITIONS}), SENT)
    assert wrong == ["""x: expected the property 'bic', got ["iban", "kind"]"""]
    assert example == {"x": BANK}
    card, bank = CONDITIONS
    wrong, example = told(raw({**CONDITIONAL, **card, "else": bank["then"]}), SENT)
    assert example == {"x": BANK}


@pytest.mark.parametrize(
    ("part", "sent", "wrong", "example"),
    [
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}], "properties": {"a": INTEGER}},
            {"b": 1},
            """x: for an object with b, c expected the property 'c', got ["b"]""",
            {"b": "...", "c": "..."},
        ),
        (
            {"oneOf": [closed(a=INTEGER), closed(b=INTEGER)]},
            {"a": 1, "b": 1},
            'x: expected either an object with a or an object with b, and not what fits several, got {"a": 1, "b": 1}',
            {"a": 1},
        ),
        (
            {"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": INTEGER}},
            {"a": 1},
            """x: expected the property 'b', got ["a"]""",
            {},
        ),
        (
            {
                "anyOf": [
                    {"title": "Code", **STRING, "pattern": "^[A-Z]{3}$"},
                    {"title": "Id", **STRING, "minLength": 9},
                ]
            },
            "eur",
            'x: for Code expected text that matches the pattern ^[A-Z]{3}$, got "eur"',
            "AAA",
        ),
        ({"anyOf": [{"const": "a"}, {"const": "b"}]}, "c", 'x: expected "a" or "b", got "c"', "a"),
        ({"anyOf": [{"enum": ["a"], **STRING}, INTEGER]}, "c", 'x: expected one of "a", got "c"', "a"),
        ({"anyOf": [{"enum": ["a"]}, {"type": "integer", "minimum": 3}]}, 1, "x: expected at least 3, got 1", 3),
        (
            {"anyOf": [{"type": "array", "items": INTEGER}, {"type": "array", "items": closed(a=INTEGER)}]},
            [{}],
            "x[0]: for an array of an object with a expected the property 'a', got none",
            [{"a": 1}],
        ),
        (
            {"anyOf": [{"anyOf": [closed(a=INTEGER), INTEGER]}, closed(b=INTEGER, c=INTEGER)]},
            {"b": 1},
            """x: for an object with b, c expected the property 'c', got ["b"]""",
            {"b": 1, "c": 1},
        ),
    ],
)
def test_unions_of_every_shape(part: dict[str, Any], sent: Any, wrong: str, example: Any) -> None:
    assert told(raw(part), {"x": sent}) == ([wrong], {"x": example})


def test_a_branch_of_the_arguments_themselves() -> None:
    made = Tool.from_schema("raw", "Raw.", {"type": "object", "oneOf": [RAW_CARD, RAW_BANK]}, print)
    wrong, example = told(made, SENT["x"])
    assert wrong == ["""arguments: for kind "bank" expected the property 'bic', got ["iban", "kind"]"""]
    assert example == BANK


def test_a_tree_of_unions_shows_the_place_that_is_wrong() -> None:
    expression = {
        "oneOf": [
            closed(op={"const": "num"}, value=INTEGER),
            closed(op={"const": "add"}, left={"$ref": "#/$defs/E"}, right={"$ref": "#/$defs/E"}),
        ]
    }
    made = raw({"$ref": "#/$defs/E"}, **{"$defs": {"E": expression}})
    number = {"op": "num", "value": 1}
    wrong, example = told(made, {"x": {"op": "add", "left": number, "right": {"op": "add", "left": number}}})
    assert wrong == ["""x.right: for op "add" expected the property 'right', got ["left", "op"]"""]
    assert example == {"x": {"op": "add", "left": number, "right": {"op": "add", "left": number, "right": number}}}


def test_the_servers_grammar_has_the_tag_in_each_branch() -> None:
    sent, strict = strict_form(pay.parameters)
    assert strict
    for name in ("Card", "Bank", "Cash"):
        assert "anyOf" not in sent["$defs"][name]["properties"]["kind"]
        assert "kind" in sent["$defs"][name]["required"]
