"""YAML that people edit: read with care, and wrong parts told with their line.

Nothing is guessed of what was written: `no`, `1.10` and dates stay texts, unless the reader asks for JSON values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fastslow.agent.errors import ConfigurationError

LARGEST = 256 << 10  # bytes of a file
PARTS, DEEPEST = 5000, 20  # values in it, and levels

M = TypeVar("M", bound=BaseModel)
_JSON = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class FileWrong(ConfigurationError):
    """A file that a person wrote cannot be used. The message has a line for each thing that is wrong in it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A mapping as it was written. name: of its file, for errors. node: what YAML read. first: lines above it."""

    name: str
    node: yaml.MappingNode
    first: int = 0

    def texts(self) -> dict[str, Any]:
        """Its values: texts, lists and dicts."""
        return {key.value: _value(value, typed=False) for key, value in self.node.value}

    def typed(self, field: str) -> Any:
        """The value of one field with JSON's types: `1`, `true` and `null` without quotes are no texts."""
        return _value(self._at((field,)), typed=True)

    def wrong(self, path: Sequence[str | int], what: str) -> FileWrong:
        """The error that something is wrong at a path."""
        return FileWrong(self.told(path, what))

    def told(self, path: Sequence[str | int], what: str) -> str:
        line = self._at(path).start_mark.line + 1 + self.first
        field = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        return f"{self.name}, line {line}{', ' if field else ''}{field}: {what}"

    def read(self, model: type[M], texts: dict[str, Any]) -> M:
        """The model of some values of the file. FileWrong with a sentence for each that does not fit."""
        try:
            return model.model_validate(texts)
        except ValidationError as error:
            raise FileWrong("\n".join(self.told(one["loc"], _said(one, model)) for one in error.errors())) from error

    def _at(self, path: Sequence[str | int]) -> yaml.Node:
        """What stands at a path, or the last of it that is there: pydantic names keys that are missing."""
        node: yaml.Node = self.node
        for part in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
            elif isinstance(node, yaml.MappingNode):
                found = [value for key, value in node.value if key.value == part]
                node = found[0] if found else node
        return node


def read_text(path: Path) -> str:
    """The text of a file that a person wrote. FileWrong for what is too large or no text; OSError."""
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise FileWrong(f"{path} is larger than {LARGEST >> 10} KiB, and was hardly written by a person")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FileWrong(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def parse(text: str, name: str, first: int = 0) -> Written:
    """The mapping that a text is. FileWrong, with the line, for what is none, and for YAML that no person needs:
    anchors, tags, keys twice."""
    try:
        _bounded(text, name, first)
        node = yaml.compose(text, yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 + first if mark else 1
        raise FileWrong(f"{name}, line {line}: this is no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FileWrong(f"{name} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise FileWrong(f"{name}, line {1 + first}: expected fields, such as `task: …`")
    written = Written(name, node, first)
    _check_keys(written, node)
    return written


def _bounded(text: str, name: str, first: int) -> None:
    """Before anything is made of it: an alias may stand for a million values, and levels are levels of our stack."""
    depth = parts = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        parts += isinstance(event, yaml.NodeEvent)
        marked = isinstance(event, yaml.NodeEvent) and (event.anchor or getattr(event, "tag", None))
        if marked or depth > DEEPEST or parts > PARTS:
            what = f"anchors, aliases, tags, over {PARTS} values or over {DEEPEST} levels are not read"
            line = event.start_mark.line if event.start_mark else 0
            raise FileWrong(f"{name}, line {line + 1 + first}: {what}")


def _check_keys(written: Written, node: yaml.Node) -> None:
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_keys(written, each)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1 + written.first
            if not isinstance(key, yaml.ScalarNode):
                what = "expected a name before the colon; put quotes around a text with braces"
                raise FileWrong(f"{written.name}, line {line}: {what}")
            if key.value in seen:
                raise FileWrong(f"{written.name}, line {line}: {key.value!r} stands twice")
            seen.add(key.value)
            _check_keys(written, value)


def _value(node: yaml.Node, *, typed: bool) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _value(value, typed=typed) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, typed=typed) for each in node.value]
    is_json = typed and isinstance(node, yaml.ScalarNode) and node.style is None and _JSON.fullmatch(node.value)
    return json.loads(node.value) if is_json else node.value


def _said(error: Any, model: type[BaseModel]) -> str:
    """One error of pydantic's as a sentence."""
    match error["type"]:
        case "extra_forbidden":
            known = f"; known are {', '.join(model.model_fields)}" if len(error["loc"]) == 1 else ""
            return f"there is no such field{known}"
        case "missing":
            return "this is missing"
        case _:
            return f"{str(error['msg']).removeprefix('Value error, ')}, got {error['input']!r:.80}"
