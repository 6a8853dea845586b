"""Mend values that do not fit a schema, where there is one thing only that can have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from jsonschema import ValidationError
from jsonschema.protocols import Validator

from fastslow.tools.lenient import LenientError, read_whole

ROUNDS = 8  # a mended value may show what is wrong inside of it
MENDED = 200  # places looked at in one round

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def fitted(validator: Validator, value: Any) -> Any:
    """The value, mended as far as is certain; whoever asks validates the outcome.

    Mended are: a bare value for the only property (or the only required one), an object written as a string
    (also inside of the value), a number, boolean or null in quotes, a whole number written as a float, an
    enum value in other case, and null for a property that may be left out.
    """
    schema = validator.schema
    if not isinstance(value, dict) and isinstance(schema, dict) and not validator.is_valid(value):
        value = _as_object(validator, schema, value)
    return _mended(validator, value)


def _as_object(validator: Validator, schema: dict[str, Any], value: Any) -> Any:
    """An object out of something else."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = read_whole(value)
        except LenientError:
            return value  # perhaps half an object: it must not become some property's text
        if isinstance(inner, dict):
            return inner
    nothing = value is None or value == ""  # an empty text is no argument's value, but may be that of none
    if nothing and not schema.get("required"):
        return {}
    properties, required = schema.get("properties", {}), schema.get("required", ())
    only = list(properties) if len(properties) == 1 else list(required) if len(required) == 1 else []
    if nothing or not only:
        return value
    wrapped = _mended(validator, {only[0]: value})
    return wrapped if validator.is_valid(wrapped) else value


def _mended(validator: Validator, value: Any) -> Any:
    for _ in range(ROUNDS):
        errors = list(islice(validator.iter_errors(value), MENDED))
        before = value
        for error in errors:
            value = _mend_at(validator, value, error, len(errors))
        if value is before:
            break
    return value


def _mend_at(validator: Validator, value: Any, error: ValidationError, count: int) -> Any:
    """The value with the place of one error mended, or unchanged."""
    if _at(value, error.path) is not error.instance:
        return value  # another error's mending came first
    part = validator.evolve(schema=error.schema)
    for candidate in _candidates(error, part):
        mended = _mended(part, candidate)
        if part.is_valid(mended):
            return _replaced(value, list(error.path), mended)
    if error.instance is None and error.path and isinstance(error.path[-1], str):
        without = _replaced(value, list(error.path), _ABSENT)
        if len(list(islice(validator.iter_errors(without), MENDED))) < count:
            return without
    return value


def _candidates(error: ValidationError, part: Validator) -> Iterator[Any]:
    """What the value at the place of an error may have meant, likeliest first."""
    value = error.instance
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if isinstance(value, str):
        yield from _unquoted(value)
        yield from _same_but_case(value, part.schema)
    branches: Any = error.validator_value if error.validator in ("anyOf", "oneOf") else ()
    for branch in branches:
        mended = _mended(part.evolve(schema=branch), value)
        if mended is not value:
            yield mended


def _unquoted(text: str) -> Iterator[Any]:
    """The value that a string spells, where that is no string."""
    bare = text.strip()
    if bare[:1] in ("{", "[") or bare in ("true", "false", "null", "True", "False", "None") or _NUMBER.fullmatch(bare):
        try:
            value = read_whole(bare)
        except LenientError:
            return
        yield value
        if isinstance(value, float) and value.is_integer():
            yield int(value)


def _same_but_case(text: str, schema: Any) -> Iterator[str]:
    allowed = schema.get("enum", [schema.get("const")]) if isinstance(schema, dict) else ()
    same = [item for item in allowed if isinstance(item, str) and item.casefold() == text.strip().casefold()]
    if len(same) == 1:
        yield same[0]


_ABSENT = object()


def _at(value: Any, path: Iterable[str | int]) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key, _ABSENT)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return _ABSENT
    return value


def _replaced(value: Any, path: Sequence[str | int], new: Any) -> Any:
    """A copy of the value with another part at the path; `_ABSENT` takes the part away."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    changed = _replaced(value[key], rest, new)
    if changed is _ABSENT:
        del copy[key]
    else:
        copy[key] = changed
    return copy
