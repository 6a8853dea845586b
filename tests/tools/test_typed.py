"""What a type makes of arguments, and what the model is told where only the type knows what is wrong."""

from __future__ import annotations

import time
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, field_validator, model_validator

from fastslow.tools import ArgumentError
from fastslow.tools.generation import schema_of
from fastslow.tools.typed import typed


class Card(BaseModel):
    kind: Literal["card"]
    number: str


class Bank(BaseModel):
    kind: Literal["bank"]
    iban: str

    @field_validator("iban")
    @classmethod
    def _known(cls, iban: str) -> str:
        if not iban.startswith("DE"):
            raise ValueError("ibans begin with DE" if iban else "")
        return iban


class Trip(BaseModel):
    on: date


Tagged = Annotated[Card | Bank, Field(discriminator="kind")]


def made(hint: Any, sent: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    schema = {"type": "object", "properties": {"x": schema_of(TypeAdapter(hint))}}
    return typed(adapter.validate_json, schema, {"x": sent}, "x")


@pytest.mark.parametrize(
    ("hint", "sent", "said"),
    [
        (Card | Bank, {"kind": "bank", "iban": "FR1"}, 'x.iban: ibans begin with DE, got "FR1".'),
        (Tagged, {"kind": "bank", "iban": "FR1"}, 'x.iban: ibans begin with DE, got "FR1".'),
        (list[Card | Bank], [{"kind": "bank", "iban": ""}], 'x[0].iban: is not taken, got "".'),
        (dict[str, int | list[Card | Bank]], {"a": [{"kind": "bank", "iban": "FR1"}]}, "x.a[0].iban: ibans begin"),
        (date | int, "soon", "x: Input should be a valid date"),
        (Trip | None, {"on": "soon"}, "x.on: Input should be a valid date"),
        (list[date], ["2025-01-31", "soon"], "x[1]: Input should be a valid date"),
    ],
)
def test_only_the_branch_that_was_meant_is_told_of(hint: Any, sent: Any, said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        made(hint, sent)
    first = str(caught.value).splitlines()[0]
    assert first.startswith("The arguments do not fit: ")
    assert said in first
    assert "- x" not in str(caught.value)  # nothing else is wrong


def test_an_example_is_one_that_the_type_takes() -> None:
    with pytest.raises(ArgumentError, match=r'A valid example: \{"x": \["2025-01-31"\]\}'):
        made(list[date], ["soon"])
    with pytest.raises(ArgumentError) as caught:
        made(list[Annotated[date, Field(gt=date(2030, 1, 1))]], ["soon"])
    assert "example" not in str(caught.value)


def test_a_long_list_of_problems_takes_no_long_time() -> None:
    began = time.monotonic()
    with pytest.raises(ArgumentError, match=r"x\[0\]: .*\n- x\[0\]"):
        made(list[date], ["soon"] * 20_000)
    assert time.monotonic() - began < 5


def test_what_a_validator_leaves_out_is_named() -> None:
    class Half(BaseModel):
        whole: int

        @model_validator(mode="before")
        @classmethod
        def _halved(cls, sent: Any) -> Any:
            return {"half": sent["whole"]}

    with pytest.raises(ArgumentError, match=r": x\.whole: Field required"):
        made(Half, {"whole": 1})


def test_no_validator_runs_to_find_an_example() -> None:
    seen = []

    class Order(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def _known(cls, number: int) -> int:
            seen.append(number)
            raise ValueError("is unknown")

    with pytest.raises(ArgumentError, match=r"x\.number: is unknown, got 7"):
        made(Order, {"number": 7})
    assert seen == [7]
