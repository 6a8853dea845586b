"""The form of a schema that the server is sent: closed and complete, so its grammar holds the model to it.

With `"strict": true` vLLM compiles a tool's schema to a grammar; without, any JSON passes. The grammar engine
ignores or refuses some keywords, so those are left out here and checked only when the arguments come back.
https://docs.vllm.ai/en/stable/features/tool_calling/ , https://xgrammar.mlc.ai/docs/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastslow.tools.lenient import MAX_DEPTH

# No grammar for them, or (lookarounds in a pattern) a wrong one: the model is told in words.
_TOLD = (
    "pattern",
    "format",
    "multipleOf",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "contains",
    "minContains",
    "maxContains",
    "contentEncoding",
    "contentMediaType",
    "examples",
    *("ge", "gt", "le", "lt", "max_digits", "decimal_places"),  # as pydantic calls what JSON schema has no word for
)
_UNSENT = {
    *_TOLD,
    "$schema",
    "$id",
    "$comment",
    "contentSchema",
    "default",
    "deprecated",
    "description",
    "discriminator",
    "readOnly",
    "title",
    "writeOnly",
}
# They speak of several parts of a schema at once, so closing its objects would change what it means.
_FREE = {
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "patternProperties",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
}
# Patterns without escapes, lookarounds and counted repeats hold; xgrammar 0.2.8 fails on "[...]{15,200}" in a
# tool, and takes every pattern as one of the whole text, so only those that say so themselves keep their
# meaning.
_PLAIN_PATTERN = re.compile(r"\^[^\\{?^$]+\$")
_GROUP = re.compile(r"\([^()]*\)")


class _NotStrictError(Exception):
    """This schema has no strict form."""


def strict_form(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema to send, and whether it is strict.

    Strict: an object that lists its properties is closed, all of them are required, and those that were
    optional may be null. Objects with free keys stay as they are.
    """
    plain = {key: value for key, value in schema.items() if key not in ("$schema", "title")}
    try:
        return {"type": "object", **_closed(plain, 0)}, True
    except _NotStrictError:
        return {"type": "object", **plain}, False


def _closed(schema: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _NotStrictError
    if not isinstance(schema, Mapping):
        return schema
    if not _FREE.isdisjoint(schema):
        raise _NotStrictError
    closed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _UNSENT and not _compiles(key, value):
            continue
        if key in ("$defs", "definitions"):
            closed[key] = {name: _closed(part, depth + 1) for name, part in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems"):
            closed["anyOf" if key == "oneOf" else key] = [_closed(part, depth + 1) for part in value]
        elif key in ("items", "additionalProperties"):
            closed[key] = _closed(value, depth + 1)
        elif key not in ("properties", "required"):
            closed[key] = value
    if told := _told(schema):
        closed["description"] = told
    if "properties" in schema:
        _close_object(schema, closed, depth)
    return closed


def _compiles(key: str, value: Any) -> bool:
    """Whether the grammar holds this rule of `_TOLD`: a plain pattern with no `|` outside of groups."""
    return (
        key == "pattern"
        and isinstance(value, str)
        and _PLAIN_PATTERN.fullmatch(value) is not None
        and "|" not in _GROUP.sub("", value)
    )


def _told(schema: Mapping[str, Any]) -> str:
    """The description, with the rules that the grammar does not know."""
    rules = [
        f"{key}: {json.dumps(rule, ensure_ascii=False) if isinstance(rule, Mapping | list) else rule}"
        for key in _TOLD
        if (rule := schema.get(key)) is not None
        and rule is not False
        and rule not in ({}, [])
        and not _compiles(key, rule)
    ]
    return " ".join([str(schema.get("description", "")), *([f"({', '.join(rules)})"] if rules else [])]).strip()


def _close_object(schema: Mapping[str, Any], closed: dict[str, Any], depth: int) -> None:
    properties = {name: _closed(part, depth + 1) for name, part in schema["properties"].items()}
    required = list(schema.get("required", ()))
    free = closed.pop("additionalProperties", False)
    if free is False:
        if not properties.keys() >= set(required):
            raise _NotStrictError
        for name in properties.keys() - set(required):
            properties[name] = _nullable(schema["properties"][name], properties[name])
        required = list(properties)
    closed |= {"type": "object", "properties": properties, "required": required, "additionalProperties": free}


def _nullable(original: Any, closed: Any) -> Any:
    """A property that may be left out: null says so. What is then taken is added to its description."""
    if not isinstance(closed, dict):
        return closed
    default = json.dumps(original.get("default"), ensure_ascii=False)
    if _takes_null(closed):
        note = "" if default == "null" else f"default: {default}"
    else:
        note = "null to leave it out" if default == "null" else f"null for {default}"
    description = " ".join(filter(None, [closed.pop("description", ""), f"({note})" if note else ""]))
    if not _takes_null(closed):
        closed = _or_null(closed)
    return {**closed, "description": description} if description else closed


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, dict) or "$ref" in schema or "const" in schema:
        return False
    kind = schema.get("type")
    if kind is not None and kind != "null" and "null" not in kind:
        return False
    if "enum" in schema:
        return None in schema["enum"]
    return "anyOf" not in schema or any(_takes_null(part) for part in schema["anyOf"])


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind is None or any(key in schema for key in ("$ref", "const", "anyOf")):
        branches = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        return {"anyOf": [*branches, {"type": "null"}]}
    kinds = kind if isinstance(kind, list) else [kind]
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"], **enum}
