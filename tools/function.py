"""`@tool`: a typed function with a Google-style docstring becomes a tool."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, overload

from docstring_parser import DocstringStyle, parse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

from fastslow.tools.errors import ArgumentError, ToolDefinitionError
from fastslow.tools.tool import TIMEOUT, Effect, Place, Tool


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, timeout: float | None = TIMEOUT, effect: Effect = "outside", place: Place = "host"
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = TIMEOUT,
    effect: Effect = "outside",
    place: Place = "host",
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function: name, summary, type hints and `Args:` become what the model is told.

    The function is called with Python objects: enums, dates, paths and pydantic models, not with raw JSON.
    Raises ToolDefinitionError, with file, line, function and parameter, for whatever the model would miss.

    >>> @tool
    ... def add(a: int, b: int = 1) -> int:
    ...     '''Add two numbers.
    ...
    ...     Args:
    ...         a: The first number.
    ...         b: The second one.
    ...     '''
    ...     return a + b
    >>> add.parameters["required"]
    ['a']
    """
    if function is None:
        return lambda decorated: _make(decorated, name, timeout, effect, place)
    return _make(function, name, timeout, effect, place)


def _make(function: Callable[..., Any], name: str | None, timeout: float | None, effect: Effect, place: Place) -> Tool:
    if not callable(function) or isinstance(function, type):
        raise ToolDefinitionError(f"a tool is made of a function, got {function!r}; pass a function or a Tool")
    described = parse(inspect.getdoc(function) or "", style=DocstringStyle.GOOGLE)
    if not described.short_description:
        raise _wrong(function, "has no docstring; its first line must tell the model what it does")
    model = _arguments_model(function, {param.arg_name: param.description or "" for param in described.params})
    try:
        schema = model.model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise _wrong(function, f"has a parameter with no JSON schema: {error}") from error
    parameters: dict[str, Any] = _untitled(schema)
    text = "\n".join(filter(None, [described.short_description, described.long_description]))
    chosen = name or str(getattr(function, "__name__", type(function).__name__))
    try:
        return Tool(chosen, text, parameters, function, timeout, effect, place=place, bind=_binding(model))
    except ToolDefinitionError as error:
        raise _wrong(function, f"is no tool: {error}") from error


def _arguments_model(function: Callable[..., Any], descriptions: Mapping[str, str]) -> type[BaseModel]:
    """A pydantic model with a field for each parameter."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise _wrong(function, f"has type hints that cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _wrong(function, "must be passable by name; write it as a plain parameter", parameter.name)
        if parameter.name not in hints:
            raise _wrong(function, "has no type hint", parameter.name)
        if not descriptions.get(parameter.name):
            raise _wrong(function, "has no description; add it under 'Args:' in the docstring", parameter.name)
        default = ... if parameter.default is parameter.empty else parameter.default
        # Fields have names of their own: a parameter may be called as something that pydantic's models have.
        field = Field(default, alias=parameter.name, description=descriptions[parameter.name])
        fields[f"field_{len(fields)}"] = (hints[parameter.name], field)
    if unknown := descriptions.keys() - inspect.signature(function).parameters.keys():
        raise _wrong(function, "is described in the docstring and is no parameter", min(unknown))
    try:
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        return create_model("Arguments", __config__=config, **fields)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise _wrong(function, f"has a type that pydantic does not know: {error}") from error


def _binding(model: type[BaseModel]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What turns JSON values into what the function's type hints say."""

    def bind(values: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            checked = model.model_validate(values)
            bound = {str(field.alias): getattr(checked, key) for key, field in model.model_fields.items()}
            # Of an `Iterable` pydantic makes a stream, which could be looked into only once.
            return {name: list(value) if isinstance(value, Iterator) else value for name, value in bound.items()}
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r:.80}"
                for problem in error.errors()[:3]
            )
            raise ArgumentError(f"The arguments do not fit: {problems}.") from error

    return bind


def _untitled(schema: Any) -> Any:
    """The schema without the titles that pydantic adds: they only repeat names, in every prompt."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(part) for name, part in value.items()}
        if key in ("properties", "$defs")
        else value
        if key in ("default", "const", "enum", "examples")
        else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }


def _wrong(function: Callable[..., Any], what: str, parameter: str | None = None) -> ToolDefinitionError:
    """The error, beginning with where it is: `file:line: function f, parameter x: …`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
    name = getattr(function, "__qualname__", repr(function))
    return ToolDefinitionError(f"{where}function {name}{f', parameter {parameter!r}' if parameter else ''}: {what}")
