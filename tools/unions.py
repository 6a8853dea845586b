"""Which branch of a union (`anyOf`, `oneOf`) a value was meant for that fits none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import ValidationError

from fastslow.tools.lenient import MAX_DEPTH
from fastslow.tools.schema import resolve

_TIGHTER = {"minimum": max, "minLength": max, "minItems": max, "maximum": min, "maxLength": min, "maxItems": min}


@dataclass(frozen=True, slots=True)
class Meant:
    """A judgement over the branches of one union.

    distances: of each branch to the value: whether it takes other kinds of values only, whether its tag is another,
    how much else is wrong. tag: the property that tells the branches apart, if one does. tagged: its values in each.
    """

    distances: list[tuple[bool, bool, int]]
    tag: str | None
    tagged: list[list[Any]]

    @property
    def order(self) -> list[int]:
        """The branches by number, nearest first."""
        return sorted(range(len(self.distances)), key=self.distances.__getitem__)

    @property
    def possible(self) -> list[int]:
        """The branches that take values of this kind."""
        return [branch for branch in self.order if not self.distances[branch][0]]


def judged(
    root: Any, schema: Mapping[str, Any], key: str, value: Any, problems: Mapping[int, Sequence[ValidationError]]
) -> Meant:
    """How near a value comes to each branch of `schema[key]`. problems: what is wrong with it in each, if anything."""
    branches = [merged(root, branch) for branch in schema[key]]
    tag, tagged = _tag(root, schema, key, branches)
    written = value.get(tag) if tag and isinstance(value, dict) else None
    distances = []
    for number, branch in enumerate(branches):
        wrong = problems.get(number, ())
        of_other_tag = written is not None and not among(written, tagged[number])
        much = sum(_weight(root, error) for error in wrong) + (len(_strangers(branch, value)) if wrong else 0)
        distances.append((any(map(_of_other_kind, wrong)), of_other_tag, much))
    return Meant(distances, tag, tagged)


def grouped(errors: Iterable[ValidationError]) -> dict[int, list[ValidationError]]:
    """The errors inside of a union's error, by their branch."""
    groups: dict[int, list[ValidationError]] = {}
    for error in errors:
        groups.setdefault(int(error.schema_path[0]), []).append(error)
    return groups


def merged(root: Any, schema: Any, depth: int = 0) -> dict[str, Any]:
    """A schema with what it refers to, and the parts of its `allOf`, put into it."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return {}
    plain = {key: part for key, part in schema.items() if key not in ("$ref", "allOf")}
    parts = [resolve(root, schema["$ref"])] if "$ref" in schema else []
    for part in (*parts, *schema.get("allOf", ())):
        plain = both(merged(root, part, depth + 1), plain)
    return plain


def both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that asks for what two schemas without references ask for, as far as that can be put into one."""
    result = {**one, **other}
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if key == "properties":
            shared = {name: {"allOf": [a[name], b[name]]} for name in a.keys() & b.keys()}
            result[key] = {**a, **b, **shared}
        elif key == "required":
            result[key] = [*a, *(name for name in b if name not in a)]
        elif key == "enum":
            result[key] = [item for item in a if among(item, b)]
        elif key in _TIGHTER:
            result[key] = _TIGHTER[key](a, b)
    return result


def _tag(
    root: Any, schema: Mapping[str, Any], key: str, branches: Sequence[Mapping[str, Any]]
) -> tuple[str | None, list[Any]]:
    """The property with other values in each branch that is an object, and these values."""
    said = schema.get("discriminator")
    said = said if isinstance(said, Mapping) else {}
    objects = [_objects(root, branch) for branch in branches]
    first = next((inner[0] for inner in objects if inner), {})
    for name in [said["propertyName"]] if "propertyName" in said else first.get("properties", ()):
        tagged = [
            _allowed(inner, name) or _mapped(said, part) for inner, part in zip(objects, schema[key], strict=True)
        ]
        values = [json.dumps(value) for values in tagged for value in values]
        known = [values for values, inner in zip(tagged, objects, strict=True) if inner]
        if len(known) > 1 and all(known) and len(set(values)) == len(values):
            return name, tagged
    return None, [[] for _ in branches]


def _objects(root: Any, branch: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The branch, if it is an object with properties, or the branches of a union that it is."""
    inner = [merged(root, part) for key in ("anyOf", "oneOf") for part in branch.get(key, ())]
    return [one for one in (branch, *inner) if one.get("properties")]


def _allowed(objects: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    """The values of a tag in one branch; none if an object in it takes any."""
    tags: list[Any] = []
    for one in objects:
        part = one.get("properties", {}).get(name)
        part = merged({}, part) if isinstance(part, Mapping) and "$ref" not in part else {}
        allowed = [part["const"]] if "const" in part else part.get("enum", ())
        if not allowed:
            return []
        tags += [value for value in allowed if not among(value, tags)]
    return tags


def _mapped(discriminator: Mapping[str, Any], part: Any) -> list[Any]:
    """The tags of a branch as OpenAPI writes them beside the union."""
    reference = part.get("$ref") if isinstance(part, Mapping) else None
    return [value for value, target in (discriminator.get("mapping") or {}).items() if target == reference]


def among(value: Any, values: Iterable[Any]) -> bool:
    return json.dumps(value) in map(json.dumps, values)  # to Python 1 == True


def _of_other_kind(error: ValidationError) -> bool:
    """Whether the value cannot be meant for the branch: text where a number should be."""
    if error.path:
        return False
    if error.context:
        return all(any(map(_of_other_kind, group)) for group in grouped(error.context).values())
    if error.validator in ("const", "enum"):
        rule: Any = error.validator_value
        values = [rule] if error.validator == "const" else rule
        return all(type(value) is not type(error.instance) for value in values)
    return error.validator in ("type", None)  # None: the branch is `false`


def _weight(root: Any, error: ValidationError) -> int:
    rule: Any = error.validator
    if error.context and rule in ("anyOf", "oneOf"):
        schema: Any = error.schema
        return min(judged(root, schema, rule, error.instance, grouped(error.context)).distances)[2]
    if rule in ("additionalProperties", "unevaluatedProperties"):
        return 0  # each such property counts, whether a branch forbids it or not
    return 2 if rule in ("type", "const", "enum") else 1


def _strangers(branch: Mapping[str, Any], value: Any) -> list[str]:
    """The properties of the value that a branch says nothing of."""
    known = {*branch.get("properties", ()), *branch.get("required", ())}
    if not isinstance(value, dict) or not known or branch.get("additionalProperties") or "patternProperties" in branch:
        return []
    return [name for name in value if name not in known]
