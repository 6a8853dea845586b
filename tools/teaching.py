"""Validation errors as a model can use them: path, expected, got; and an example to follow."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import SchemaError

from fastslow.tools.lenient import MAX_DEPTH
from fastslow.tools.result import clip
from fastslow.tools.schema import compiled, resolve

SHOWN_DEPTH = 6  # down to which an example has optional properties: schemas may contain themselves
_SHOWN = 80  # characters of a value in an error line
_PHRASES = {
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "pattern": "text that matches the pattern {}",
}
_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "name@example.com",
    "uri": "https://example.com",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "ipv4": "192.0.2.1",
    "path": "file.txt",
}


def explained(error: ValidationError) -> str:
    """One error as `path: expected …, got …`."""
    error = _deepest(error)
    path = _path(error) or "arguments"
    rule: Any = error.validator_value
    value: Any = error.instance
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in value]
            return f"{path}: expected the property {missing[0]!r}, got {_shown(sorted(value)) if value else 'none'}"
        case "additionalProperties" | "unevaluatedProperties":
            return f"{path}: {_unknown(error.schema, value)}"
        case "type":
            expected = _kinds(rule)
        case "enum":
            expected = "one of " + clip(", ".join(map(_json, rule)), 400)
        case "const":
            expected = _json(rule)
        case "anyOf" | "oneOf":
            expected = " or ".join(dict.fromkeys(_kind(part) for part in rule))
        case "uniqueItems":
            expected = "no item twice"
        case str(keyword) if keyword in _PHRASES:
            expected = _PHRASES[keyword].format(rule)
        case _:
            return f"{path}: {clip(error.message, 200)}"
    return f"{path}: expected {expected}, got {_shown(value)}"


def _deepest(error: ValidationError) -> ValidationError:
    """For a union, the error inside of its only branch that can be meant: the one of the value's own kind."""
    while error.validator in ("anyOf", "oneOf", "allOf") and error.context:
        inner = [one for one in error.context if one.validator != "type" or one.path]
        branches = {one.schema_path[0] for one in inner}
        if len(branches) != 1:
            return error
        error = inner[0]
    return error


def _path(error: ValidationError) -> str:
    text = ""
    for part in error.absolute_path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return clip(text.lstrip("."), 200)


def _unknown(schema: Any, value: Any) -> str:
    """What to say of a property that is none: which, and the nearest one that is."""
    known = [str(name) for name in schema.get("properties", {})]
    extra = next((name for name in value if name not in known), "")
    near = get_close_matches(extra[:64].casefold(), known, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else ""
    listed = clip(", ".join(known), 400) or "none"
    return f"there is no property {extra[:64]!r}{hint or ';'} the properties are: {listed}"


def _kinds(kinds: Any) -> str:
    names = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(f"{'an' if name[0] in 'aio' else 'a'} {name}" if name != "null" else "null" for name in names)


def _kind(schema: Any) -> str:
    """A branch of a union in a few words."""
    if not isinstance(schema, dict):
        return "anything"
    if "const" in schema:
        return _json(schema["const"])
    if "enum" in schema:
        return clip(", ".join(map(_json, schema["enum"])), 200)
    if "type" in schema:
        return _kinds(schema["type"])
    return "an object"


def _shown(value: Any) -> str:
    return clip(_json(value), _SHOWN)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def example_of(schema: Mapping[str, Any], named: Collection[str] = ()) -> str:
    """A smallest valid value as JSON, with the optional properties in `named`; "" where none is found."""
    try:
        value = _example(schema, schema, 0, named)
        return _json(value) if isinstance(value, dict) and compiled(schema).is_valid(value) else ""
    except (RecursionError, SchemaError, ValueError, TypeError, AttributeError):
        return ""  # a schema too odd to make an example for


def _example(schema: Any, root: Any, depth: int, named: Collection[str] = ()) -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return schema["const"]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if schema.get("default") is not None:
        return schema["default"]
    if "$ref" in schema:
        return _example(resolve(root, schema["$ref"]), root, depth + 1, named)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _example(schema[key][0], root, depth + 1, named)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            value = _example(part, root, depth + 1, named)
            merged |= value if isinstance(value, dict) else {}
        return merged
    return _example_of_type(schema, root, depth, named)


def _example_of_type(schema: Mapping[str, Any], root: Any, depth: int, named: Collection[str]) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            properties, required = schema.get("properties", {}), schema.get("required", ())
            wanted = [*required, *(name for name in properties if name in named)]
            inner = named if depth < SHOWN_DEPTH else ()
            return {name: _example(properties.get(name, {}), root, depth + 1, inner) for name in dict.fromkeys(wanted)}
        case "array":
            count = max(schema.get("minItems", 0), 1 if schema.get("maxItems", 1) else 0)
            return [_example(schema.get("items", {}), root, depth + 1, named)] * min(count, 5)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = _FORMATS.get(schema.get("format", ""), "...")
            return text.ljust(min(schema.get("minLength", 0), 100), ".")[: schema.get("maxLength")]


def _number(schema: Mapping[str, Any]) -> Any:
    if "multipleOf" in schema:
        return schema["multipleOf"]
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum", 2) - 1)
    return low if low is not None else min(1, high)
