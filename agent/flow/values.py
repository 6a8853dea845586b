"""What a step gives back, on its way into the journal and out of it: the same in its first life as in later ones."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.tree.select import select
from fastslow.agent.tree.tree import Tree

JSON: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class Kept:
    """adapter: of the value's type; None for what JSON itself can hold."""

    adapter: TypeAdapter[Any] | None = None

    def told(self, value: Any) -> Any:
        """The value as JSON. ConfigurationError for what would not come back."""
        try:
            if self.adapter is None:
                return json.loads(json.dumps(value, allow_nan=False))
            told = json.loads(self.adapter.dump_json(value, by_alias=True, warnings="error"))
            self.adapter.validate_json(json.dumps(told))
        except (PydanticSerializationError, ValidationError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"a step gave a {type(value).__name__} that cannot be remembered: {_said(error)}; "
                "say its type as the function's return annotation, or return what JSON can hold"
            ) from error
        return told

    def value(self, told: Any) -> Any:
        """ConfigurationError where the type has changed meanwhile, so that it does not fit any more."""
        if self.adapter is None:
            return told
        try:
            return self.adapter.validate_json(json.dumps(told))
        except ValidationError as error:
            why = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"what was remembered does not fit its type any more: {why}; use --fresh"
            ) from error

    def fits(self, told: Any) -> bool:
        """Whether it can be the value of the type; of none everything can."""
        try:
            self.value(told)
        except ConfigurationError:
            return False
        return True

    @staticmethod
    def folder(tree: Tree) -> Any:
        """A folder that a run works on, by the content of the files that go in, and how the work is proven."""
        root = select(tree)
        files = [[entry.path, sha256((root.root / entry.path).read_bytes()).hexdigest()] for entry in root.files]
        return [files, tree.test, tree.protect]


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def returned(function: Callable[..., Any]) -> Kept:
    """How the value of a function is kept. ConfigurationError for an annotation that pydantic cannot read."""
    name = getattr(function, "__qualname__", repr(function))
    try:
        annotation = typing.get_type_hints(inspect.unwrap(getattr(function, "func", function))).get("return", JSON)
    except (NameError, TypeError) as error:
        raise ConfigurationError(f"the annotations of {name} cannot be read: {error}") from error
    if annotation is JSON or annotation is Any:
        return Kept()
    try:
        return Kept(TypeAdapter(annotation))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ConfigurationError(f"{name} returns a {annotation!r}, which cannot be remembered: {error}") from error
