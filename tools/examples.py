"""The smallest value that fits a schema, as like as can be to one that was sent: what a model is shown to follow."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator

from fastslow.tools.matching import matching
from fastslow.tools.schema import compiled, resolve
from fastslow.tools.teaching import Location
from fastslow.tools.unions import both, grouped, judged

ABSENT = object()  # nothing was sent here
_STEPS = 5000  # of the search for one example: some schemas have more ways than anyone can try
_ITEMS = 50  # of a list that was sent
_CHOICES = 60  # values looked at for one place in it
_COMBINED = ("$ref", "allOf", "anyOf", "oneOf", "if", "then", "else")
_FORMATS = {
    "base64": "aGVsbG8=",
    "base64url": "aGVsbG8=",
    "color": "red",
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "name@example.com",
    "fraction": "1/2",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv4interface": "192.0.2.1/24",
    "ipv4network": "192.0.2.0/24",
    "ipv6": "2001:db8::1",
    "ipv6interface": "2001:db8::1/64",
    "ipv6network": "2001:db8::/64",
    "ipvanyaddress": "192.0.2.1",
    "ipvanyinterface": "192.0.2.1/24",
    "ipvanynetwork": "192.0.2.0/24",
    "path": "file.txt",
    "regex": "[a-z]+",
    "time": "12:00:00Z",
    "uri": "https://example.com",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "uuid4": "123e4567-e89b-42d3-a456-426614174000",
    "zoneinfo": "UTC",
}


def example_of(schema: Mapping[str, Any], sent: Any = ABSENT, places: Collection[Location] = ()) -> str:
    """A smallest object that is valid under the schema, as JSON; "" where none is found.

    sent: what it is to be like where the schema leaves a choice, as among the branches of a union. places: those in
    `sent` that it has to show although they could be left out.
    """
    try:
        validator = compiled(schema)
        value = Examples(validator).value(validator.schema, _head(sent), places)
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else ""
    except (NoneFoundError, RecursionError, SchemaError, ValueError, TypeError, OverflowError):
        return ""  # a schema too odd to make an example for


class NoneFoundError(Exception):
    """There is no example, or none that is found."""


class Examples:
    """Makes examples for the parts of one schema."""

    def __init__(self, validator: Validator) -> None:
        self.validator = validator
        self.steps = _STEPS

    def value(
        self, schema: Any, sent: Any = ABSENT, places: Collection[Location] = (), refs: frozenset[str] = frozenset()
    ) -> Any:
        """The first value that is valid under a part of the schema. Raises NoneFoundError.

        refs: the references on the way here, as a smallest value holds none of them within itself; where there is a
        place to show, it may.
        """
        for value in islice(self._values(schema, sent, places, refs), _CHOICES):
            if self.fits(schema, value):
                return value
        raise NoneFoundError

    def fits(self, schema: Any, value: Any) -> bool:
        self._step()
        return bool(self.validator.evolve(schema=schema).is_valid(value))

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise RecursionError

    def _values(self, schema: Any, sent: Any, places: Collection[Location], refs: frozenset[str]) -> Iterator[Any]:
        """Values that are likely to fit."""
        wrong_here, places = () in places, [place for place in places if place]
        for plain, met in self.readings(schema, sent, refs):
            known = _known(plain, sent)
            made = self._made(plain, sent, places, met)
            if wrong_here:  # the branch that was meant is shown, though it be larger than another
                made = chain(made, self._made(plain, sent, places, frozenset()))
            yield from chain(made, known) if places else chain(known, made)
        if sent is not ABSENT:
            yield sent  # a pattern or a format that we know no example for

    def readings(
        self, schema: Any, sent: Any = ABSENT, refs: frozenset[str] = frozenset()
    ) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
        """The schema without references, unions and conditions, and the references met: once for each choice."""
        self._step()
        if schema is False:
            return
        schema = schema if isinstance(schema, Mapping) else {}
        reference = schema.get("$ref")
        if reference in refs:
            return
        chain = refs | {reference} if reference else refs
        choices = [[resolve(self.validator.schema, reference)]] if reference else []
        choices += [[part] for part in schema.get("allOf", ())]
        choices += [self._nearest_first(schema, key, sent) for key in ("anyOf", "oneOf") if schema.get(key)]
        if "if" in schema:
            yes, no = {"allOf": [schema["if"], schema.get("then", {})]}, schema.get("else", {})
            choices.append([yes, no] if sent is not ABSENT and self.fits(schema["if"], sent) else [no, yes])
        plain = {key: value for key, value in schema.items() if key not in _COMBINED}
        yield from self._combined(plain, choices, sent, chain, chain)

    def _combined(
        self, plain: dict[str, Any], choices: list[list[Any]], sent: Any, chain: frozenset[str], met: frozenset[str]
    ) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
        if not choices:
            yield plain, met
            return
        for choice in choices[0]:
            for reading, more in self.readings(choice, sent, chain):
                yield from self._combined(both(plain, reading), choices[1:], sent, chain, met | more)

    def _nearest_first(self, schema: Mapping[str, Any], key: str, sent: Any) -> list[Any]:
        """The branches of a union, the one that was meant first, each with its own tag."""
        part = self.validator.evolve(schema={key: schema[key]})
        error = next(part.iter_errors(sent), None) if sent is not ABSENT else None
        problems = grouped(error.context) if error and error.context else {}
        meant = judged(self.validator.schema, schema, key, sent, problems)
        branches = []
        for number in meant.order:
            tag = {"properties": {meant.tag: {"enum": meant.tagged[number]}}} if meant.tagged[number] else {}
            branches.append({"allOf": [schema[key][number], tag]})
        return branches

    def _made(
        self, plain: dict[str, Any], sent: Any, places: Collection[Location], refs: frozenset[str]
    ) -> Iterator[Any]:
        """Values of the kinds that a schema without unions allows."""
        kinds = plain.get("type", _kind_of(plain))
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            match kind:
                case "object":
                    yield from self._objects(plain, sent, places, refs)
                case "array":
                    yield from self._arrays(plain, sent, places, refs)
                case "integer" | "number":
                    yield from _numbers(plain)
                case "boolean":
                    yield from (True, False)
                case "null":
                    yield None
                case _:
                    yield from _texts(plain)

    def _objects(
        self, plain: dict[str, Any], sent: Any, places: Collection[Location], refs: frozenset[str]
    ) -> Iterator[dict[str, Any]]:
        """With the properties that must be there and those that are to be shown; else with one more."""
        properties, fewest = plain.get("properties", {}), plain.get("minProperties", 0)
        wanted = dict.fromkeys([*plain.get("required", ()), *_dependent(plain)])
        shown = [place[0] for place in places if isinstance(place[0], str)]
        names = [*wanted, *(name for name in properties if name in shown and name not in wanted)]
        keys = [name for name in shown if name not in properties]  # of an object that is free to have any
        invented = (*_names(plain), *(f"key{number}" for number in range(1, min(fewest, 20) + 1)))
        spare = [name for name in dict.fromkeys((*properties, *invented)) if name not in names]
        enough = [*names, *spare[: max(fewest - len(names), 0)]]
        for tried in ([*names, *keys], enough, *([*enough, name] for name in spare), wanted):
            try:
                yield {
                    name: self._child(_property(plain, name), sent, name, places, refs) for name in dict.fromkeys(tried)
                }
            except NoneFoundError:
                continue

    def _arrays(
        self, plain: dict[str, Any], sent: Any, places: Collection[Location], refs: frozenset[str]
    ) -> Iterator[list[Any]]:
        """As few items as may be, but one where one may be."""
        items, head = plain.get("items", {}), plain.get("prefixItems", ())
        if isinstance(items, list):  # as drafts before 2020-12 write `prefixItems`
            items, head = plain.get("additionalItems", {}), items
        if "contains" in plain:
            items = {"allOf": [items, plain["contains"]]}
        at = next((place[0] for place in places if isinstance(place[0], int)), 0)
        count = min(max(plain.get("minItems", 0), len(head), 1), plain.get("maxItems", 100), 100)
        made: list[Any] = []
        try:
            for index in range(count):
                schema = head[index] if index < len(head) else items
                if plain.get("uniqueItems") and index >= max(len(head), 1):
                    made.append(self._another(schema, made, refs))
                else:
                    made.append(self._child(schema, sent, index if index < len(head) else at, places, refs))
            yield made
        except NoneFoundError:
            pass
        yield []

    def _child(self, schema: Any, sent: Any, key: str | int, places: Collection[Location], refs: frozenset[str]) -> Any:
        """The value at one key or index of an object or array."""
        inner = [place[1:] for place in places if place[:1] == (key,)]
        return self.value(schema, _at(sent, key), inner, frozenset() if inner else refs)

    def _another(self, schema: Any, taken: list[Any], refs: frozenset[str]) -> Any:
        """A valid value that is not taken."""
        written = {json.dumps(value, sort_keys=True) for value in taken}
        for value in islice(self._values(schema, ABSENT, (), refs), _CHOICES):
            for varied in _varied(value, len(taken)):
                if json.dumps(varied, sort_keys=True) not in written and self.fits(schema, varied):
                    return varied
        raise NoneFoundError


def _head(sent: Any) -> Any:
    """What was sent, with the first items only of a long list: they are looked at again for each union around them."""
    if isinstance(sent, dict):
        return {key: _head(value) for key, value in sent.items()}
    return [_head(item) for item in sent[:_ITEMS]] if isinstance(sent, list) else sent


def _at(sent: Any, key: str | int) -> Any:
    if isinstance(sent, dict):
        return sent.get(key, ABSENT)
    return sent[key] if isinstance(sent, list) and isinstance(key, int) and key < len(sent) else ABSENT


def _known(plain: Mapping[str, Any], sent: Any) -> Iterator[Any]:
    """The values that a schema itself names."""
    if "const" in plain:
        yield plain["const"]
    if sent in plain.get("enum", ()):
        yield sent
    yield from plain.get("examples", ())
    yield from plain.get("enum", ())
    if plain.get("default") is not None:
        yield plain["default"]


def _kind_of(plain: Mapping[str, Any]) -> str:
    """The kind of value that a schema is about which does not say so."""
    if not plain.keys().isdisjoint(("properties", "required", "additionalProperties", "minProperties")):
        return "object"
    if not plain.keys().isdisjoint(("items", "prefixItems", "minItems", "contains")):
        return "array"
    if not plain.keys().isdisjoint(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")):
        return "number"
    return "string"


def _dependent(plain: Mapping[str, Any]) -> list[str]:
    """The properties that must come with those that must be there."""
    names = list(plain.get("required", ()))
    for name in names:
        names += [other for other in plain.get("dependentRequired", {}).get(name, ()) if other not in names]
    return names


def _names(plain: Mapping[str, Any]) -> list[str]:
    """Names that a free object may give its properties."""
    names = plain.get("propertyNames")
    return [str(name) for name in (*_known(names, ABSENT), *_texts(names))] if isinstance(names, Mapping) else []


def _property(plain: Mapping[str, Any], name: str) -> Any:
    """What a schema says of one property of its objects."""
    if name in plain.get("properties", {}):
        return plain["properties"][name]
    for pattern, part in plain.get("patternProperties", {}).items():
        if re.search(pattern, name):  # a risky one is refused when the schema is compiled
            return part
    return plain.get("additionalProperties", {})


def _numbers(plain: Mapping[str, Any]) -> Iterator[Any]:
    step = plain.get("multipleOf", 1)
    low, high = (plain.get(f"{end}imum", plain.get(f"exclusive{end.title()}imum")) for end in ("min", "max"))
    if low is None:
        low = step if high is None else min(step, high)
    yield low
    multiple = -(-low // step) * step  # of a float and of the hugest int
    yield from (round(number, 12) for number in (multiple, multiple + step))
    if high is not None:
        yield from (high, high - step, (low + high) / 2)
    yield low + step / 2


def _texts(plain: Mapping[str, Any]) -> Iterator[str]:
    if "contentSchema" in plain or plain.get("contentMediaType") == "application/json":
        yield from ("[]", "{}", "null", "1")
    if isinstance(plain.get("pattern"), str):
        yield matching(plain["pattern"])
    text = _FORMATS.get(plain.get("format", ""), "...")
    yield text.ljust(min(plain.get("minLength", 0), 1000), ".")[: plain.get("maxLength")]
    if "pattern" in plain:
        yield matching(plain["pattern"]).ljust(min(plain.get("minLength", 0), 1000), "a")


def _varied(value: Any, number: int) -> tuple[Any, ...]:
    """A value and one like it."""
    if isinstance(value, str):
        return value, f"{value}{number}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value + number
    return (value,)
