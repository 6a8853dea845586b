"""JSON values as a Python type makes them, and what a model is told where the type does not take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json

from fastslow.tools.errors import ArgumentError
from fastslow.tools.examples import example_of
from fastslow.tools.foreign import text_of, tried
from fastslow.tools.teaching import Location, dotted

_LINES = 5  # of what is wrong
_SHOWN = 80  # characters of a value in an error line
_RAISED = {"value_error", "assertion_error"}  # by validators
_OF_SCHEMA = {"missing", "literal_error", "enum", "extra_forbidden", "int_parsing", "float_parsing", "bool_parsing"}


def typed(
    read: Callable[[str | bytes], Any],
    schema: Mapping[str, Any],
    arguments: Mapping[str, Any],
    within: str | None = None,
) -> Any:
    """What a type makes of arguments that fit its schema, or of the one of them named `within`.

    read: makes it of JSON, as strict types take a date, say, from JSON and not from a string of Python's.
    Raises ArgumentError for what only the type knows to be wrong, and whatever its validators raise.
    """
    try:
        return read(to_json(arguments if within is None else arguments[within]))
    except ValidationError as error:
        raise ArgumentError(_unfitting(read, schema, arguments, within, error)) from error


def problems_of(error: ValidationError, values: Any, within: Location = ()) -> dict[str, Location]:
    """What is wrong as the model reads it, `path: what, got …`, with the place. within: path to what was validated."""
    found: dict[str, Location] = {}
    for problem in _meant(error.errors(include_url=False), values):
        place = (*within, *_place(values, problem))
        missing = problem["loc"][-1:] if problem["type"] == "missing" and place[-1:] != problem["loc"][-1:] else ()
        found.setdefault(f"{dotted((*place, *missing))}: {_said(problem)}", place)
    return found


def _said(problem: ErrorDetails) -> str:
    own = problem["type"] in _RAISED  # its message has a prefix, for programmers
    text = (text_of(problem["ctx"]["error"]) if own else problem["msg"]) or "is not taken"
    value = problem["input"]
    if not (value is None or isinstance(value, str | int | float)):  # the rest it sent itself, and would read again
        return text
    got = json.dumps(value, ensure_ascii=False)
    return f"{text}, got {got if len(got) <= _SHOWN else got[:_SHOWN] + '…'}"


def _unfitting(
    read: Callable[[str | bytes], Any],
    schema: Mapping[str, Any],
    arguments: Mapping[str, Any],
    within: str | None,
    error: ValidationError,
) -> str:
    found = problems_of(error, arguments) if within is None else problems_of(error, arguments[within], (within,))
    told = list(found)[:_LINES]
    lines = [f"The arguments do not fit: {told[0]}.", *(f"- {line}" for line in told if len(told) > 1)]
    if any(problem["type"] in _RAISED for problem in error.errors(include_url=False)):
        return "\n".join(lines)  # only the validator knows what would do, and it is not run to find out
    example = example_of(schema, arguments, list(found.values()))
    fits = not tried(lambda: read(example if within is None else to_json(json.loads(example)[within]))).error
    return "\n".join([*lines, f"A valid example: {example}"] if fits else lines)


def _place(values: Any, problem: ErrorDetails) -> Location:
    """Where in the values: pydantic's locations also name branches of unions on the way."""
    place: list[str | int] = []
    for part in problem["loc"]:
        if _holds(values, part):
            values = values[part]
            place.append(part)
    return tuple(place)


def _holds(values: Any, part: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(part, int) and part < len(values)
    return isinstance(values, Mapping) and part in values


def _meant(problems: Sequence[ErrorDetails], values: Any, depth: int = 0) -> Sequence[ErrorDetails]:
    """What is wrong in those branches of unions that were meant; pydantic tells what is wrong in all.

    depth: of `values` in the locations.
    """
    parts = [problem["loc"][depth] for problem in problems if len(problem["loc"]) > depth]
    if len(problems) == 1 or len(parts) < len(problems):
        return problems
    groups: dict[str | int, list[ErrorDetails]] = {}
    for part, problem in zip(parts, problems, strict=True):
        groups.setdefault(part, []).append(problem)
    kept = {
        part: _meant(inside, values[part] if _holds(values, part) else values, depth + 1)
        for part, inside in groups.items()
    }
    far = {part: sum(map(_of_schema, told)) for part, told in kept.items() if not _holds(values, part)}
    nearest = min(far.values(), default=0)
    return [problem for part, told in kept.items() if far.get(part, nearest) == nearest for problem in told]


def _of_schema(problem: ErrorDetails) -> bool:
    """Whether a schema has a word for it. Values that come here fit theirs: then the branch was not meant."""
    return problem["type"].endswith("_type") or problem["type"] in _OF_SCHEMA
