"""JSON schemas: checked and compiled once, never fetched from elsewhere, never a way to hang the process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal, DecimalException
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from referencing import Registry

from fastslow.tools.errors import ToolDefinitionError

PATTERN_SECONDS = 1.0  # that matching one risky pattern may take
_RISKY = re.compile(r"\)[*+{]|\\[1-9]|\(\?P=")  # a repeated group or a backreference may take exponential time
_REPEATS = re.compile(r"[*+{]")
# Runs apart, since `re` cannot be interrupted and holds the interpreter's lock.
_MATCH_APART = "import json, re, sys; pattern, text = json.load(sys.stdin); sys.exit(re.search(pattern, text) is None)"
# With one of these beside `properties`, other properties may be allowed elsewhere than in `properties`.
_OPENING = (
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "propertyNames",
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
)


def check_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Raise ToolDefinitionError unless a schema can describe the parameters of the tool `name`."""
    try:
        compiled(schema)
    except (SchemaError, ValueError, TypeError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else error
        raise ToolDefinitionError(f"the parameters of tool {name!r} are no usable JSON schema: {said}") from error
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ToolDefinitionError(
            f"the parameters of tool {name!r} must be of type 'object', got {json.dumps(schema)[:80]}; "
            "put each parameter under 'properties'"
        )


def compiled(schema: Mapping[str, Any]) -> Validator:
    """A validator of the schema's own draft, 2020-12 where it names none.

    Stricter than JSON schema in one thing: parameters that are listed, with no word of others, have no
    others. Models invent parameter names, and one that is ignored in silence is never mended.
    Raises SchemaError, ValueError or TypeError for a schema that cannot be used.
    """
    return _compiled(json.dumps(schema, allow_nan=False))


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Validator:
    schema = json.loads(text)
    draft = validators.validator_for(schema, default=Draft202012Validator)
    draft.check_schema(schema)
    for part in subschemas(schema):
        reference = part.get("$ref")
        if isinstance(reference, str):
            resolve(schema, reference)
        patterns = part.get("patternProperties")
        if isinstance(patterns, dict) and (risky := [pattern for pattern in patterns if _RISKY.search(pattern)]):
            raise ValueError(f"the pattern {risky[0]!r} of patternProperties repeats a group, which may never end")
        _allow_null(part)
    _check_ends(schema)
    if isinstance(schema, dict):
        schema.pop("$schema", None)  # else references would switch to a validator without the rules below
        if "properties" in schema and not any(key in schema for key in _OPENING):
            schema["additionalProperties"] = False
    rules = {"pattern": _pattern, "multipleOf": _multiple_of, "uniqueItems": _unique_items}
    types = draft.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    cls = validators.extend(draft, validators=rules, type_checker=types)  # type: ignore[no-untyped-call]
    return cls(schema, registry=Registry())  # type: ignore[no-any-return]


def _check_ends(schema: Any) -> None:
    """ValueError where a part of the schema holds itself for the very same value: to check one would never end."""
    order: TopologicalSorter[int] = TopologicalSorter()
    for part in subschemas(schema):
        order.add(id(part), *(id(inner) for inner in _of_same_value(schema, part)))
    try:
        order.prepare()
    except CycleError:
        raise ValueError("a part of it refers to itself, for the same value and without end") from None


def _of_same_value(schema: Any, part: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that a value must fit, or not fit, for it to fit this one."""
    for key in ("if", "then", "else", "not"):
        yield part.get(key)
    for key in ("allOf", "anyOf", "oneOf"):
        yield from part[key] if isinstance(part.get(key), list) else ()
    if isinstance(dependent := part.get("dependentSchemas"), dict):
        yield from dependent.values()
    if isinstance(reference := part.get("$ref"), str):
        yield resolve(schema, reference)


def _allow_null(part: dict[str, Any]) -> None:
    """OpenAPI's `nullable`, which tools that come from such descriptions have, in JSON schema's own words."""
    kinds = part.get("type")
    if part.get("nullable") is True and isinstance(kinds, str | list) and "null" not in kinds:
        part["type"] = [*([kinds] if isinstance(kinds, str) else kinds), "null"]
        if isinstance(part.get("enum"), list):
            part["enum"] = [*part["enum"], None]


def resolve(schema: Any, reference: str) -> Any:
    """What a local reference (`#/$defs/City`) points to. ValueError for any other."""
    if not reference.startswith("#"):
        raise ValueError(f"the reference {reference!r} leaves the schema; copy what it means into '$defs'")
    if reference[1:2] not in ("", "/"):
        raise ValueError(f"the reference {reference!r} must be a path like '#/$defs/Name'")
    found = schema
    for part in reference.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"the reference {reference!r} points to nothing") from None
    return found


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object inside of a schema."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _pattern(_: Validator, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _matches(pattern, value):
        yield ValidationError(f"must match the pattern {pattern}")


def _matches(pattern: str, text: str) -> bool:
    """`re.search` that always ends. Counts as no match what takes too long."""
    steps = (len(text) + 1) ** (len(_REPEATS.findall(pattern)) + 1)
    if not _RISKY.search(pattern) and steps < 10_000_000:
        return re.search(pattern, text) is not None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH_APART],
            input=json.dumps([pattern, text]).encode(),
            timeout=PATTERN_SECONDS,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _multiple_of(_: Validator, divisor: float, value: Any, __: Any) -> Iterator[ValidationError]:
    """In decimals: 19.99 is a multiple of 0.01, and a huge number is no OverflowError."""
    if type(value) not in (int, float):
        return
    try:
        rest = Decimal(repr(value)) % Decimal(repr(divisor))
    except DecimalException:
        rest = Decimal(1)
    if rest:
        yield ValidationError(f"must be a multiple of {divisor}")


def _unique_items(_: Validator, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
    """In linear time, where jsonschema compares each object with each other."""
    if wanted and isinstance(value, list) and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
        yield ValidationError("must have no item twice")
