"""Validation errors as a model can use them: path, expected, got."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias, cast

from jsonschema import ValidationError
from jsonschema.protocols import Validator

from fastslow.tools.result import clip
from fastslow.tools.unions import Meant, among, grouped, judged, merged

_SHOWN = 80  # characters of a value in an error line
_MOST = 50  # errors looked at in one branch
_PHRASES = {
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minProperties": "at least {} properties",
    "maxProperties": "at most {} properties",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "pattern": "text that matches the pattern {}",
}

Location: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. text: `path: expected …, got …`. place: where, from the outermost value inwards."""

    text: str
    place: Location


def problems(validator: Validator, errors: Iterable[ValidationError]) -> list[Problem]:
    """What is wrong; of a value for a union, what it lacks for the branch that it was meant for."""
    found: dict[str, Problem] = {}
    for error in errors:
        for leaf, branch in _leaves(validator, error):
            place = tuple(leaf.absolute_path)
            text = f"{dotted(place)}: {f'for {branch} ' if branch else ''}{_said(validator.schema, leaf)}"
            found.setdefault(text, Problem(text, place))
    return list(found.values())


def dotted(place: Location) -> str:
    """A place as a path: `items[2].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return clip(text.lstrip("."), 200) or "arguments"


def _leaves(validator: Validator, error: ValidationError) -> list[tuple[ValidationError, str]]:
    """The errors inside of a union's error that are about the branch that was meant, with its name.

    The union's own error where no branch takes values of that kind. No name where only one does.
    """
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        return [(error, "")]
    groups, schema = grouped(error.context), cast("dict[str, Any]", error.schema)
    meant = judged(validator.schema, schema, error.validator, error.instance, groups)
    values_only = all(_names_values(groups[branch]) for branch in meant.possible)
    if not meant.possible or (values_only and len(meant.possible) > 1):
        return [(error, "")]
    if told := _about_tag(validator, error, meant):
        return [(told, "")]
    nearest = meant.possible[0]
    name = ""
    if len(meant.possible) > 1:
        tag = f"{meant.tag} {_json(meant.tagged[nearest][0])}" if meant.tagged[nearest] else ""
        name = _name(validator.schema, cast("list[Any]", error.validator_value)[nearest], tag)
    return [(leaf, inner or name) for one in groups[nearest][:_MOST] for leaf, inner in _leaves(validator, one)]


def _names_values(errors: Iterable[ValidationError]) -> bool:
    return all(error.validator in ("const", "enum") and not error.path for error in errors)


def _about_tag(validator: Validator, error: ValidationError, meant: Meant) -> ValidationError | None:
    """The error of a value whose tag is that of no branch, or of one that has none and is like no branch most."""
    value, tag = error.instance, meant.tag
    if tag is None or not isinstance(value, dict):
        return None
    values = [allowed for branch in sorted(meant.possible) for allowed in meant.tagged[branch]]
    if tag in value:
        if among(value[tag], values):
            return None
        return ValidationError(
            "", validator="enum", path=[tag], validator_value=values, instance=value[tag], parent=error
        )
    schema = cast("list[Any]", error.validator_value)[meant.possible[0]]
    if value.keys().isdisjoint(merged(validator.schema, schema).get("properties", {})):
        said = f"expected the property {tag!r}, one of {_listed(values)}, got {_properties(value)}"
        return ValidationError(said, instance=value, parent=error)
    return None


def _said(root: Any, error: ValidationError) -> str:
    """One error as `expected …, got …`."""
    rule: Any = error.validator_value
    value: Any = error.instance
    match error.validator:
        case "required":
            return _missing(rule, value)
        case "dependentRequired":
            return _missing([name for given, names in rule.items() if given in value for name in names], value)
        case "additionalProperties":
            return _unknown(error.schema, value)
        case "type":
            expected = _kinds(rule)
        case "enum":
            expected = f"one of {_listed(rule)}"
        case "const":
            expected = _json(rule)
        case "anyOf" | "oneOf" if error.context:
            expected = " or ".join(dict.fromkeys(_kind(merged(root, part)) for part in rule))
        case "oneOf":
            names = " or ".join(dict.fromkeys(_name(root, part) for part in rule))
            expected = f"either {names}, and not what fits several"
        case "uniqueItems":
            expected = "no item twice"
        case str(keyword) if keyword in _PHRASES:
            expected = _PHRASES[keyword].format(rule)
        case _:
            return clip(error.message, 200)
    return f"expected {expected}, got {_shown(value)}"


def _missing(names: Iterable[str], value: Any) -> str:
    missing = list(dict.fromkeys(name for name in names if name not in value))
    noun = "property" if len(missing) == 1 else "properties"
    return f"expected the {noun} {clip(', '.join(map(repr, missing)), 400)}, got {_properties(value)}"


def _properties(value: Any) -> str:
    return _shown(sorted(value)) if value else "none"


def _unknown(schema: Any, value: Any) -> str:
    """What to say of a property that is none: which, and the nearest one that is."""
    known = [str(name) for name in schema.get("properties", {})]
    patterns = schema.get("patternProperties", {})
    strangers = (name for name in value if name not in known and not any(re.search(one, name) for one in patterns))
    extra = next(strangers, "")
    near = get_close_matches(extra[:64].casefold(), [name for name in known if name not in value], n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else ""
    listed = clip(", ".join(known), 400) or "none"
    return f"there is no property {extra[:64]!r}{hint or ';'} the properties are: {listed}"


def _name(root: Any, schema: Any, tag: str = "") -> str:
    """What a model can tell a branch of a union by: its name, its tag, or its properties."""
    reference = schema.get("$ref", "") if isinstance(schema, dict) else ""
    plain = merged(root, schema)
    if reference.startswith(("#/$defs/", "#/definitions/")):
        return str(reference.rpartition("/")[2])
    if isinstance(plain.get("title"), str):
        return str(plain["title"])
    if tag:
        return tag
    if plain.get("type") == "array" and isinstance(plain.get("items"), dict):
        return f"an array of {_name(root, plain['items'])}"
    names = list(plain.get("properties", ())) or list(plain.get("required", ()))
    return f"an object with {clip(', '.join(map(str, names)), 80)}" if names else _kind(plain)


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


def _listed(values: Iterable[Any]) -> str:
    return clip(", ".join(map(_json, values)), 400)


def _shown(value: Any) -> str:
    return clip(_json(value), _SHOWN)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
