"""A call's arguments: from the model's text to a dict that fits the schema, or to an error that teaches."""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeAlias

from jsonschema import ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator

from fastslow.tools.errors import ArgumentError
from fastslow.tools.examples import example_of
from fastslow.tools.fitting import fitted
from fastslow.tools.lenient import MAX_DEPTH, LenientError, read_value, read_whole, skip_space
from fastslow.tools.result import clip
from fastslow.tools.schema import compiled
from fastslow.tools.teaching import Problem, problems

MAX_CHARACTERS = 2_000_000
SHOWN_ERRORS = 3

_FENCE = re.compile(r"```[ \t]*+\w*+(?:[ \t]*+\n(.*)\n[ \t]*+```|\s*+([{\[].*))", re.DOTALL)
# What may stand behind a whole value and means nothing: stray closers, a fence, closing and special tags.
_NOISE = re.compile(
    r"(?:\s+|[}\])`;]|</[\w:.-]{1,40}>|<\|[^<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|\[\|[^\[\]|]{1,40}\|\])*+"
)

Rewrite: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes arguments of a schema out of others that mean the same."""


def parse_arguments(schema: Mapping[str, Any], text: str, rewrite: Rewrite | None = None) -> dict[str, Any]:
    """The arguments that a model wrote, as an object that is valid under the schema.

    What can be mended with certainty is (see `tools.lenient` and `tools.fitting`); a text that was cut off
    never is: half a command must not run. Optional properties that the model left out stay absent.
    rewrite: see `Tool`; asked first where the arguments do not fit as they are written.
    Raises ArgumentError, whose text is for the model, and nothing else.

    >>> parse_arguments({"properties": {"n": {"type": "integer"}}, "required": ["n"]}, '{"n": "3",}')
    {'n': 3}
    """
    try:
        given = as_written(schema, text)
        return _parsed(schema, text, rewrite) if given is None else given
    except RecursionError:
        raise ArgumentError("The arguments are nested too deeply. Send a flatter object.") from None


def as_written(schema: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """The arguments where they fit as they are written, None else; quicker than to read them with all care."""
    if len(text) > MAX_CHARACTERS or text.count("{") + text.count("[") > MAX_DEPTH:  # it may be nested too deeply
        return None
    try:
        given = json.loads(text, object_pairs_hook=_each_once)
        json.dumps(given, ensure_ascii=False, allow_nan=False).encode()  # fails for half a surrogate pair
        return given if isinstance(given, dict) and compiled(schema).is_valid(given) else None
    except (ValueError, TypeError, RecursionError, SchemaError):
        return None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a name stands there twice")
    return given


def _parsed(schema: Mapping[str, Any], text: str, rewrite: Rewrite | None) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise ArgumentError(
            f"The arguments have {len(text)} characters and at most {MAX_CHARACTERS} fit. Send less at once."
        )
    try:
        validator = compiled(schema)
    except (SchemaError, ValueError, TypeError) as error:
        said = error.message if isinstance(error, SchemaError) else error
        raise ArgumentError(f"This tool cannot be called, its schema is broken: {said}. Use another tool.") from error
    try:
        value = _read(validator, text)
    except LenientError as error:
        raise ArgumentError(_unreadable(schema, text, error)) from error
    value, errors = _fit(validator, value, rewrite)
    if errors and (inner := _unwrapped(validator, value)) is not value:
        value, errors = _fit(validator, inner, rewrite)
    if not errors and isinstance(value, dict):
        return value
    raise ArgumentError(_unfitting(schema, text, value, problems(validator, errors)))


def _read(validator: Validator, text: str) -> Any:
    """The JSON value in the text; `{}` for none. Raises LenientError."""
    bare = text.strip().strip("\ufeff")
    if fence := _FENCE.fullmatch(bare):
        bare = (fence[1] or fence[2] or "").strip()
    if not bare:
        return {}
    try:
        return read_whole(bare)
    except LenientError as error:
        if bare[0] in "{[":
            return _without_noise(bare, error)
        if word := _only_word(validator, bare):
            return word
        raise


def _fit(validator: Validator, value: Any, rewrite: Rewrite | None) -> tuple[Any, list[ValidationError]]:
    if rewrite and isinstance(value, dict):
        value = rewrite(dict(value))
    value = fitted(validator, value)
    return value, list(islice(validator.iter_errors(value), 50))


def _unwrapped(validator: Validator, value: Any) -> Any:
    """The arguments out of what some models wrap them in: a list of one, or the whole call once more."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    known = validator.schema.get("properties", {}) if isinstance(validator.schema, dict) else {}
    for key in ("arguments", "parameters"):
        inner = value.get(key) if isinstance(value, dict) else None
        written = isinstance(inner, dict) or (isinstance(inner, str) and inner.lstrip().startswith("{"))
        if written and key not in known and value.keys() <= {key, "name"} and "name" not in known:
            return inner
    return value


def _without_noise(text: str, error: LenientError) -> Any:
    """The value at the head of a text that only noise follows, or stands where its last brace is missing."""
    try:
        value, end = read_value(text)
    except LenientError as inner:
        position = inner.position
        if inner.cut or not text.startswith(("</", "<|", "<｜", "[|"), position) or not _is_noise(text, position):
            raise error from None
        value, end = read_value(text, end=position, close=True)
        if skip_space(text, end) < position:
            raise error from None
    if not _is_noise(text, end):
        raise error
    return value


def _is_noise(text: str, position: int) -> bool:
    match = _NOISE.match(text, position)
    return match is not None and match.end() == len(text)


def _only_word(validator: Validator, text: str) -> str | None:
    """The text itself, where it is a value of the only property's enum: some models write just that."""
    properties = validator.schema.get("properties", {}) if isinstance(validator.schema, dict) else {}
    for name, part in properties.items() if len(properties) == 1 else ():
        if isinstance(part, dict) and "enum" in part and validator.is_valid({name: text}):
            return text
    return None


def _unreadable(schema: Mapping[str, Any], text: str, error: LenientError) -> str:
    if error.cut:
        head = (
            f"The arguments were cut off: {error}. Nothing was run. Send the whole call again, shorter if it was long."
        )
    else:
        head = f"The arguments are not one JSON object: {error} (character {error.position})."
    return "\n".join([head, *_ending(example_of(schema), text)])


def _unfitting(schema: Mapping[str, Any], text: str, value: Any, found: list[Problem]) -> str:
    told = [problem.text for problem in found] or [f"expected an object, got {clip(repr(value), 80)}"]
    lines = [f"The arguments do not fit: {told[0]}."]
    lines += [f"- {line}" for line in told[:SHOWN_ERRORS]] if len(told) > 1 else []
    if len(told) > SHOWN_ERRORS:
        lines.append(f"- and {len(told) - SHOWN_ERRORS} more")
    example = example_of(schema, value, [problem.place for problem in found])
    return "\n".join([*lines, *_ending(example, text)])


def _ending(example: str, text: str) -> list[str]:
    sent = clip(text.strip(), 600)
    return [*([f"A valid example: {example}"] if example else []), f"You sent: {sent or '(nothing)'}"]
