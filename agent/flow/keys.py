"""What a step is known by: the content of all that goes into it, and not its place among the others.

What is equal has the same key in every process and on every machine: values by their JSON, files by their name and the
digest of what they hold, functions by their source, types by their JSON schema.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from enum import Enum
from functools import lru_cache, partial
from hashlib import file_digest, sha256
from pathlib import Path
from types import CellType, CodeType
from typing import Any

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from fastslow.agent.errors import ConfigurationError

DEEPEST = 50  # levels of a value; and of functions within functions


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What goes into a step. content: its key, in which files count by what they hold. paths: one in which they count
    by their path alone. files: by path what each held, as JSON."""

    content: str
    paths: str
    files: Mapping[str, Any]


def received(kind: str, name: str, content: Mapping[str, Any]) -> Received:
    """See `key_of`."""
    files: dict[str, Any] = {}

    def noted(path: Path) -> Any:
        return files.setdefault(str(path), file_told(path))

    by_content = _with_files(noted, kind, name, content)
    by_path = _with_files(lambda path: {"path": str(path)}, kind, name, content) if files else by_content
    return Received(by_content, by_path, files)


def _with_files(how: Callable[[Path], Any], kind: str, name: str, content: Mapping[str, Any]) -> str:
    before = _how_files.set(how)
    try:
        return key_of(kind, name, content)
    finally:
        _how_files.reset(before)


def key_of(kind: str, name: str, content: Mapping[str, Any]) -> str:
    """The key of a step. content: all that goes into it. ConfigurationError for what has no content of its own."""
    told = json.dumps([kind, name, told_of(content)], sort_keys=True, ensure_ascii=True)
    return sha256(told.encode()).hexdigest()[:32]


def told_of(value: Any, depth: int = 0) -> Any:
    """A value as JSON that is equal for equal contents. ConfigurationError."""
    if depth > DEEPEST:
        raise ConfigurationError("a value that a step receives is nested too deeply, or contains itself; pass less")
    below = partial(told_of, depth=depth + 1)
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, Enum):
            return value
        case Path():
            return _how_files.get()(value)
        case bytes():
            return {"bytes": sha256(value).hexdigest()}
        case BaseModel():
            return {"fields": {name: below(part) for name, part in value}}
        case Mapping():
            pairs = [[below(key), below(part)] for key, part in value.items()]
            return {"pairs": sorted(pairs, key=json.dumps)}
        case list() | tuple():
            return [below(part) for part in value]
        case Set():
            return {"set": sorted(map(below, value), key=json.dumps)}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"fields": {one.name: below(getattr(value, one.name)) for one in dataclasses.fields(value)}}
    return _code(value, depth) if callable(value) else _other(value)


def source_of(function: Callable[..., Any]) -> str:
    """ConfigurationError where Python cannot tell: of what is built in, or was typed at a prompt."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        if inspect.isfunction(function) and function.__name__ == "<lambda>":
            return _lambda(function.__code__, "".join(inspect.findsource(function)[0])) or source
        return source
    except (OSError, TypeError) as error:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(
            f"the source of {name} is not to be had, so nobody could tell when it changes; call it within a function "
            "of your own file, and pass that"
        ) from error


def _lambda(code: CodeType, text: str) -> str:
    """A lambda without the rest of its lines, which `inspect` gives with it: what stands there is none of its content.
    `""` where it is not found. code: its own. text: of its file."""
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]  # those are made up
    begin = min(((line, column) for line, _, column, _ in places), default=(0, 0))
    end = max(((line, column) for _, line, _, column in places), default=(0, 0))
    around = [one for one in _lambdas(text) if one.lineno == code.co_firstlineno and _holds(one.body, begin, end)]
    return (ast.get_source_segment(text, around[-1]) if around else None) or ""  # the innermost of them


@lru_cache(maxsize=8)
def _lambdas(text: str) -> list[ast.Lambda]:
    """Those of a file, each behind what it lies in."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]


def _holds(node: ast.expr, begin: tuple[Any, Any], end: tuple[Any, Any]) -> bool:
    return (node.lineno, node.col_offset) <= begin and end <= (node.end_lineno or 0, node.end_col_offset or 0)


def _code(value: Callable[..., Any], depth: int) -> Any:
    """A function, or a type."""
    if isinstance(value, type):
        return {"type": _type(value)}
    if isinstance(value, partial):
        return {"call": [told_of(part, depth + 1) for part in (value.func, value.args, value.keywords)]}
    if inspect.ismethod(value):
        return {"method": [told_of(part, depth + 1) for part in (value.__func__, value.__self__)]}
    return _function(value, depth)


def _function(function: Callable[..., Any], depth: int) -> Any:
    """Its source, with the values that it was made with: those of the names around it, and its defaults."""
    cells: tuple[CellType, ...] = getattr(function, "__closure__", None) or ()
    names: tuple[str, ...] = function.__code__.co_freevars if cells else ()
    around = {name: _around(cell, function, depth + 1) for name, cell in zip(names, cells, strict=True)}
    defaults = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)]
    return {"source": source_of(function), "around": around, "defaults": told_of(defaults, depth + 1)}


def _around(cell: CellType, function: Callable[..., Any], depth: int) -> Any:
    """What cannot be told by its content is told by its type: a workflow, a connection, the function itself."""
    try:
        value = cell.cell_contents
        return type(value).__qualname__ if value is function else told_of(value, depth)
    except (ConfigurationError, ValueError):  # the latter: it has no value yet
        return "something"


def file_told(path: Path) -> Any:
    """A regular file by name and content. A folder by what stands in it: names, sizes, times. What is not there is
    known by its path alone: a place to write to, say."""
    if path.is_file():
        with path.open("rb") as file:
            return {"file": path.name, "sha256": file_digest(file, "sha256").hexdigest()}
    if path.is_dir():
        inner = ((one, one.stat()) for one in sorted(path.rglob("*")) if one.is_file())
        return {"folder": [[str(one.relative_to(path)), facts.st_size, facts.st_mtime_ns] for one, facts in inner]}
    return {"path": str(path)}


_how_files: ContextVar[Callable[[Path], Any]] = ContextVar("_how_files", default=file_told)


def _type(value: type) -> Any:
    try:
        return TypeAdapter(value).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError):
        return value.__qualname__


def _other(value: Any) -> Any:
    """Dates, numbers of the decimal kind, enums, UUIDs and the like."""
    try:
        return {type(value).__name__: to_jsonable_python(value)}
    except (PydanticSerializationError, ValueError) as error:
        raise ConfigurationError(
            f"a step receives a {type(value).__name__}, and nobody can tell when that changes; pass values that JSON "
            "can hold, files as pathlib.Path, dataclasses or pydantic models"
        ) from error
