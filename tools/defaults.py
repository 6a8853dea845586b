"""The defaults of a schema: what stands for arguments that a model left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastslow.tools.lenient import MAX_DEPTH
from fastslow.tools.schema import resolve


def with_defaults(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, and the schema's default for each that is missing, also within objects and lists.

    >>> with_defaults({"properties": {"to": {"default": "me"}, "text": {}}}, {"text": "hi"})
    {'text': 'hi', 'to': 'me'}
    """
    filled: dict[str, Any] = _filled(schema, schema, arguments, 0)
    return filled


def _filled(schema: Any, root: Mapping[str, Any], value: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return value
    if isinstance(reference := schema.get("$ref"), str):
        value = _filled(resolve(root, reference), root, value, depth + 1)
    if isinstance(value, list):
        return [_filled(schema.get("items"), root, item, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    properties = schema.get("properties", {})
    filled = {name: _filled(properties.get(name), root, part, depth + 1) for name, part in value.items()}
    missing = (name for name, part in properties.items() if name not in filled and isinstance(part, Mapping))
    return filled | {name: properties[name]["default"] for name in missing if "default" in properties[name]}
