"""The form of an answer: what `output=` asks for, as schema of the tool `answer` and as check of its arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jsonschema.exceptions import SchemaError
from pydantic import TypeAdapter

from fastslow.agent.errors import ConfigurationError, OutputFailed
from fastslow.agent.plan import ANSWER
from fastslow.agent.texts import check_text
from fastslow.tools import ArgumentError, Tool, ToolDefinitionError
from fastslow.tools.foreign import described, tried
from fastslow.tools.generation import schema_of
from fastslow.tools.schema import compiled, subschemas
from fastslow.tools.typed import typed

VALUE = "value"  # the argument that holds an answer which is no object with fields
_AT_THE_TOP = ("$schema", "$defs", "definitions")  # of a schema: what says how its parts are read, and where they are


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be. name: for people. schema: of the answer. tool: `answer`, whose arguments are the answer,
    or hold it. adapter: what makes the value of them; None keeps them as they are: for a JSON schema, and for a run
    whose type only the one who started it knows."""

    name: str
    schema: Mapping[str, Any]
    tool: Tool
    adapter: TypeAdapter[Any] | None

    @classmethod
    def of(cls, output: Any) -> Form:
        """output: a type that pydantic can describe, or a JSON schema as a mapping. ConfigurationError for what no
        answer can be."""
        if isinstance(output, Mapping):
            return _by_schema(output)
        name = output.__name__ if isinstance(output, type) else repr(output)[:200]
        if isinstance(output, str) or inspect.isroutine(output):
            kind = "a text" if isinstance(output, str) else "a function"
            raise ConfigurationError(f"output={name} is {kind}; pass the type itself: output=Answer")
        try:
            adapter = TypeAdapter(output)
            schema = schema_of(adapter)
            if reference := schema.pop("$ref", None):  # a type that contains itself
                schema = {**schema["$defs"][reference.rpartition("/")[2]], **schema}
            tool = _answer(schema)
        except Exception as error:  # a type makes its schema with code of its own
            raise ConfigurationError(f"output={name} cannot be asked for: {_said(error)}") from error
        check_text(f"the schema of output={name}", json.dumps(schema, ensure_ascii=False))
        return cls(name, schema, tool, adapter)

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Form:
        """A form that is known by its schema alone, as that of a recorded run."""
        return cls(str(schema.get("title", "the schema")), schema, _answer(schema), None)

    def value(self, arguments: Mapping[str, Any]) -> Any:
        """The answer as the type makes it, of the arguments as they came.

        Raises ArgumentError where it does not fit, OutputFailed where the type breaks.
        """
        within = None if _has_fields(self.schema) else VALUE
        if self.adapter is None:  # the tool's schema has judged them
            return arguments[within] if within else dict(arguments)
        # A validator is the user's own code, as a tool's body is.
        end = tried(typed, partial(_read, self.adapter), self.tool.parameters, arguments, within)
        if isinstance(end.error, ArgumentError):
            raise end.error
        if end.error:
            raise OutputFailed(
                f"output={self.name} failed on the answer: {_said(end.error)}; "
                "a validator says by a ValueError that a value does not fit"
            ) from end.error
        return end.value

    def text(self, value: Any) -> str:
        """The answer for people, as its type writes it, so that no secret is in it: JSON, but a text as it is."""
        dump = partial((self.adapter or _ANY).dump_json, by_alias=True, warnings=False, fallback=str)
        end = tried(dump, value)  # a serializer is the user's own code, too
        if end.value is None:
            why = _said(end.error) if end.error else ""
            return f"(an answer of the type {self.name}, which cannot be written as text: {why})"
        written = end.value.decode()
        return str(json.loads(written)) if written.startswith('"') else written


def _read(adapter: TypeAdapter[Any], text: str | bytes) -> Any:
    value = adapter.validate_json(text)
    return list(value) if isinstance(value, Iterator) else value  # of an `Iterable` pydantic makes a stream


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _has_fields(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object"


def _by_schema(schema: Mapping[str, Any]) -> Form:
    """The form of a JSON schema that the user wrote."""
    try:
        plain = json.loads(json.dumps(schema, ensure_ascii=False, allow_nan=False))
        if not plain:
            raise ValueError("it is empty, and so asks for no form")
        if not _has_fields(plain) and any(part.get("$ref") == "#" for part in subschemas(plain)):
            raise ValueError("a schema that refers to itself as a whole ('#') must be an object with fields")
        compiled(plain)
        form = Form.from_schema(plain)
    except (SchemaError, ToolDefinitionError, ValueError, TypeError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else error
        raise ConfigurationError(f"output= is no usable JSON schema: {said!s:.300}") from error
    check_text("the schema of output", json.dumps(plain, ensure_ascii=False))
    return form


def _answer(schema: Mapping[str, Any]) -> Tool:
    """The tool that takes an answer. Tools take objects: any other answer is the one argument of it."""
    schema = {key: part for key, part in schema.items() if key != "$id"}  # references are within it
    if not _has_fields(schema):
        inner = {key: part for key, part in schema.items() if key not in _AT_THE_TOP}
        outer: dict[str, Any] = {"type": "object", "properties": {VALUE: inner}, "required": [VALUE]}
        schema = {**outer, **{key: schema[key] for key in _AT_THE_TOP if key in schema}}
    return Tool.from_schema(ANSWER, "Give the final answer. The task ends with it.", schema, _ends, effect="read")


def _ends(**arguments: Any) -> None:
    raise TypeError("the loop carries answers out itself; this tool cannot be run on its own")


def _said(error: BaseException) -> str:
    """An exception on one line, without the address that pydantic's own end with."""
    return " ".join(described(error).partition("\n\nFor further information")[0].split())[:500]
