"""`@tool`: a typed function with a docstring becomes a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import make_dataclass
from functools import partial
from typing import Any, overload

from pydantic import ConfigDict, TypeAdapter

from fastslow.tools.errors import ToolDefinitionError
from fastslow.tools.generation import GENERATION_ERRORS, schema_of
from fastslow.tools.signature import Signature, signature_of, wrong
from fastslow.tools.tool import TIMEOUT, Effect, Place, Tool
from fastslow.tools.typed import typed


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
    signature = signature_of(function)
    adapter, parameters = _arguments(function, signature)
    bind = _binding(adapter, parameters)
    try:
        return Tool(
            name or signature.name, signature.text, parameters, function, timeout, effect, place=place, bind=bind
        )
    except ToolDefinitionError as error:
        raise wrong(function, f"is no tool: {error}") from error


def _arguments(function: Callable[..., Any], signature: Signature) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """The parameters as pydantic sees them, as fields of a dataclass, and their JSON schema."""
    config = {"__pydantic_config__": ConfigDict(extra="forbid")}
    try:
        dataclass = make_dataclass("Arguments", signature.fields, kw_only=True, namespace=config)
        adapter: TypeAdapter[Any] = TypeAdapter(dataclass)
        parameters = schema_of(adapter)
    except GENERATION_ERRORS as error:
        raise wrong(function, f"has a type that pydantic does not know how to make of JSON: {error}") from error
    properties = parameters.get("properties", {})
    if len(properties) != len(signature.fields):
        raise wrong(function, f"has other parameters than its JSON schema: {', '.join(properties) or 'none'}")
    for (name, _), part in zip(signature.fields, properties.values(), strict=True):
        if not part.get("description"):
            raise wrong(function, "has no description; add it under 'Args:' in the docstring", name)
    return adapter, parameters


def _binding(
    adapter: TypeAdapter[Any], parameters: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What turns JSON values into what the function's type hints say."""

    def read(text: str | bytes) -> dict[str, Any]:
        values: dict[str, Any] = vars(adapter.validate_json(text))
        for name, value in values.items():
            if isinstance(value, Iterator):  # what pydantic makes of an `Iterable`: it could be looked into only once
                values[name] = list(value)
        return values

    return partial(typed, read, parameters)
