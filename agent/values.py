"""What a call's arguments hold, at any depth and of any type: for rules that judge it, and for people who are shown it.

A tool's body receives Python objects. Turning those into JSON would leave out what its author excludes from JSON, and
put stars for secrets; so they are looked into as they are.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from fastslow.tools import ArgumentError

DEEPEST = 100  # levels: a validator may build what no JSON has, such as a list that contains itself
LONGEST = 10_000  # bits of a number that Python writes in decimal digits

Bare: TypeAlias = str | int | float | bool | None


_BARE = {str, int, float, bool, type(None)}


@dataclass(frozen=True, slots=True)
class Part:
    """One value within another. names: of the field, with its alias, or of the key; none for an item of a list. free:
    the name is a key that the model chose, and no field that the tool's author did."""

    label: str
    names: tuple[str, ...]
    value: Any
    free: bool = False


def parts(value: Any) -> list[Part] | None:
    """What a value consists of; None for one that has no parts. ArgumentError for one that can be read only once."""
    if type(value) in _BARE:
        return None
    if isinstance(value, RootModel):
        return [Part("", (), value.root)]
    if isinstance(value, BaseModel):
        return [*_fields(value), *(Part(name, (name,), part) for name, part in (value.model_extra or {}).items())]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [Part(one.name, (one.name,), getattr(value, one.name, None)) for one in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [Part(str(bare(key)), (str(bare(key)),), part, free=True) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [Part(name, (name,), part) for name, part in zip(value._fields, value, strict=False)]
    if isinstance(value, list | tuple | Set):
        return [Part(f"[{number}]", (), part) for number, part in enumerate(value)]
    if isinstance(value, Iterator):
        raise ArgumentError("The arguments hold a stream, which nobody can look into before the tool does.")
    return None


def _fields(value: BaseModel) -> Iterator[Part]:
    for name, field in type(value).model_fields.items():
        aliases = [alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str)]
        yield Part(field.alias or name, (name, *aliases), getattr(value, name, None))


def bare(value: Any) -> Bare:
    """A value without parts as text, number, boolean or None, whatever its type; a secret is what it hides."""
    if type(value) is int and value.bit_length() > LONGEST:
        return hex(value)
    if type(value) in _BARE:
        return value  # type: ignore[no-any-return]
    match value:
        case Enum():
            return bare(value.value)
        case None | bool() | int() | float():
            return value
        case str():
            return str.__str__(value)
        case bytes() | bytearray():
            return os.fsdecode(bytes(value))
        case SecretStr() | SecretBytes():
            return bare(value.get_secret_value())
        case os.PathLike():
            return bare(os.fspath(value))
    try:
        told = to_jsonable_python(value, fallback=str)
    except (ValueError, PydanticSerializationError):
        return str(value)
    return told if isinstance(told, str | int | float) else str(value)


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it, with nothing left out. ArgumentError where it never ends."""
    if depth > DEEPEST:
        raise ArgumentError("The arguments are nested too deeply. Send a flatter object.")
    inner = parts(value)
    if inner is None:
        return bare(value)
    if isinstance(value, RootModel):
        return plain(value.root, depth + 1)
    if isinstance(value, list | tuple | Set) and not hasattr(value, "_fields"):
        return [plain(part.value, depth + 1) for part in inner]
    return {part.label: plain(part.value, depth + 1) for part in inner}


def texts(told: Any) -> Iterator[str]:
    """Every text of a `plain` value: its keys too, and its numbers as they are written."""
    if isinstance(told, dict):
        yield from map(str, told)
        for part in told.values():
            yield from texts(part)
    elif isinstance(told, list):
        for part in told:
            yield from texts(part)
    elif told is not None:
        yield told if isinstance(told, str) else str(told).lower() if isinstance(told, bool) else str(told)
