"""The form of an answer: what `output=` asks for, as schema of the tool `answer` and as check of its arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from fastslow.agent.errors import ConfigurationError, OutputFailed
from fastslow.agent.plan import ANSWER
from fastslow.agent.texts import check_text
from fastslow.tools import Tool

VALUE = "value"  # the argument that holds an answer which is no object with fields
SHOWN = 80  # characters of a value in an error line


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be. name: for people. schema: of the answer. tool: `answer`, whose arguments are the answer,
    or hold it. adapter: what makes the value of them; None keeps them as they are, for a run whose type only the one
    who started it knows."""

    name: str
    schema: Mapping[str, Any]
    tool: Tool
    adapter: TypeAdapter[Any] | None

    @classmethod
    def of(cls, output: Any) -> Form:
        """ConfigurationError for what no answer can be."""
        name = output.__name__ if isinstance(output, type) else repr(output)[:200]
        if isinstance(output, str) or inspect.isroutine(output):
            kind = "a text" if isinstance(output, str) else "a function"
            raise ConfigurationError(f"output={name} is {kind}; pass the type itself: output=Answer")
        try:
            adapter = TypeAdapter(output)
            # Once through JSON, as whoever asks for it gets it: a default that is no number becomes null.
            schema = json.loads(json.dumps(adapter.json_schema(schema_generator=_Schema)), parse_constant=_nothing)
            if reference := schema.pop("$ref", None):  # a type that contains itself
                schema = {**schema["$defs"][reference.rpartition("/")[2]], **schema}
            tool = _answer(schema)
        except Exception as error:  # a type makes its schema with code of its own
            raise ConfigurationError(f"output={name} cannot be asked for: {_said(error)}") from error
        check_text(f"the schema of output={name}", json.dumps(schema, ensure_ascii=False))
        return cls(name, schema, tool, adapter)

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Form:
        """The form of a recorded run, known by its schema alone."""
        return cls(str(schema.get("title", "the schema")), schema, _answer(schema), None)

    def value(self, arguments: Mapping[str, Any]) -> Any:
        """The answer as the type makes it, of the arguments as they came. ValueError, written for the model, where it
        does not fit; OutputFailed where the type breaks."""
        given = dict(arguments) if _has_fields(self.schema) else arguments[VALUE]
        if self.adapter is None:
            return given
        try:
            return self.adapter.validate_json(json.dumps(given))  # as JSON, so that strict types take their text
        except ValidationError as error:
            raise ValueError(problems(error, () if _has_fields(self.schema) else (VALUE,))) from error
        except BaseException as error:  # a validator is the user's own code, as a tool's body is
            raise OutputFailed(
                f"output={self.name} failed on the answer: {_said(error)}; "
                "a validator says by a ValueError that a value does not fit"
            ) from error

    def text(self, value: Any) -> str:
        """The answer for people, as its type writes it, so that no secret is in it: JSON, but a text as it is."""
        try:
            written = (self.adapter or _ANY).dump_json(value, by_alias=True, warnings=False, fallback=str).decode()
        except BaseException as error:  # a serializer is the user's own code, too
            return f"(an answer of the type {self.name}, which cannot be written as text: {_said(error)})"
        return str(json.loads(written)) if written.startswith('"') else written


def problems(error: ValidationError, within: tuple[str, ...] = ()) -> str:
    """A pydantic error as the model reads it: path, what is wrong, what came. within: path to what was validated."""
    lines = []
    for problem in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (*within, *problem["loc"]))
        what = problem["ctx"]["error"] if problem["type"] in ("value_error", "assertion_error") else problem["msg"]
        value = problem["input"]
        plain = value is None or isinstance(value, str | int | float)  # the rest it sent itself, and would read again
        got = json.dumps(value, ensure_ascii=False) if plain else ""
        shown = f", got {got if len(got) <= SHOWN else got[:SHOWN] + '…'}" if got else ""
        lines.append(f"{path.lstrip('.') or 'arguments'}: {what}{shown}")
    return "\n".join(dict.fromkeys(lines))


class _Schema(GenerateJsonSchema):
    """Says nothing of defaults that JSON cannot hold, and refuses a field that no name in the answer leads to."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's

    def model_field_schema(self, schema: Any) -> Any:
        return super().model_field_schema(_named(schema))

    def dataclass_field_schema(self, schema: Any) -> Any:
        return super().dataclass_field_schema(_named(schema))

    def typed_dict_field_schema(self, schema: Any) -> Any:
        return super().typed_dict_field_schema(_named(schema))


def _named(field: Any) -> Any:
    """The field itself, if it has a name: pydantic has no schema of an AliasPath, and gives a wrong one."""
    alias = field.get("validation_alias")
    if isinstance(alias, list) and not any(isinstance(path, list) and len(path) == 1 for path in alias):
        raise PydanticInvalidForJsonSchema(f"the alias {alias} is a path; give the field a name of its own")
    return field


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _nothing(_: str) -> None:
    """In the place of NaN and the infinities, which are no JSON."""


def _has_fields(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object"


def _answer(schema: Mapping[str, Any]) -> Tool:
    """The tool that takes an answer. Tools take objects: any other answer is the one argument of it."""
    if not _has_fields(schema):
        inner = {key: part for key, part in schema.items() if key != "$defs"}
        outer: dict[str, Any] = {"type": "object", "properties": {VALUE: inner}, "required": [VALUE]}
        schema = {**outer, **{key: schema[key] for key in ("$defs",) if key in schema}}
    return Tool.from_schema(ANSWER, "Give the final answer. The task ends with it.", schema, _ends, effect="read")


def _ends(**arguments: Any) -> None:
    raise TypeError("the loop carries answers out itself; this tool cannot be run on its own")


def _said(error: BaseException) -> str:
    """An exception on one line."""
    try:
        text = str(error).partition("\n\nFor further information")[0]  # pydantic's own end so
    except Exception:  # a broken __str__ is the user's own code, too
        text = "(an error that cannot be shown)"
    return " ".join(f"{type(error).__name__}: {text}".rstrip(": ").split())[:500]
