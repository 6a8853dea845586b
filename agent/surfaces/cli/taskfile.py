"""`@triage.md`: a task as Markdown, with its inputs and what it needs in a head of YAML. It grants no rights."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias

import typer
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fastslow.agent.flow.beside import beside, named
from fastslow.agent.flow.places import filled, names
from fastslow.agent.flow.yamlfile import FileWrong, Written, parse, read_text
from fastslow.agent.modes import Think
from fastslow.agent.output import Form
from fastslow.agent.surfaces.cli.options import parse_budget, parse_think

Kind: TypeAlias = Literal["string", "number", "integer", "boolean", "choice", "file", "date"]

_HEAD = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_INPUT = re.compile(r"[a-z][a-z0-9_]*")


class Input(BaseModel):
    """A value that the user gives. default: as it would be given; None where it must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Kind = "string"
    description: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _choices_are_of_a_choice(self) -> Input:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError("`choices: […]` belongs to `type: choice`, and to no other")
        return self

    def read(self, text: str) -> str:
        """A value as the prompt shows it. ValueError for one that is none of this type."""
        match self.type:
            case "number":
                value = _number(text)
                return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
            case "integer" if not re.fullmatch(r"[+-]?\d{1,30}", text):
                raise ValueError(f"expected a whole number, got {text!r:.80}")
            case "boolean" if text not in ("true", "false"):
                raise ValueError(f"expected true or false, got {text!r:.80}")
            case "boolean":
                return "yes" if text == "true" else "no"
            case "choice" if text not in self.choices:
                raise ValueError(f"expected {', '.join(self.choices)}, got {text!r:.80}")
            case "date":
                return _date(text)
        return text


class Head(BaseModel):
    """The fields of the head. output is read on its own: it may be a JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    inputs: dict[str, Input] = Field(default_factory=dict)
    output: Any = None
    files: tuple[str, ...] = ()
    check: str = ""
    budget: str = ""
    think: str = "auto"
    allow: tuple[str, ...] = ()

    @field_validator("inputs", mode="before")
    @classmethod
    def _bare_inputs(cls, inputs: Any) -> Any:
        """`text:` with nothing behind it is a text that must be given."""
        return {name: each or {} for name, each in inputs.items()} if isinstance(inputs, dict) else inputs or {}


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A task file. prompt: with `{name}` for each input. schema: of the output. files: beside it. allow: hosts that it
    needs, for which the user has to say so. budget: as `--budget` names limits."""

    path: Path
    description: str
    prompt: str
    inputs: Mapping[str, Input]
    schema: Mapping[str, Any] | None = None
    files: tuple[Path, ...] = ()
    check: str = ""
    budget: Mapping[str, float] = field(default_factory=dict)
    think: Think = "auto"
    allow: tuple[str, ...] = ()

    def filled(self, given: Mapping[str, str]) -> tuple[str, tuple[Path, ...]]:
        """The task in words, and its files, for values that were read; those of files are their paths."""
        words, files = dict(given), list(self.files)
        for name, value in given.items():
            if self.inputs[name].type == "file":
                words[name] = Path(value).name
                files.append(Path(value))
        return filled(self.prompt, words), tuple(dict.fromkeys(files))


def load(path: Path, taken: set[str]) -> TaskFile:
    """Read a task file. taken: options that inputs cannot be called. FileWrong with lines; OSError."""
    text = read_text(path)
    head = _HEAD.match(text)
    if not head:
        raise FileWrong(f"{path}, line 1: expected a head of fields between two lines `---`, and the task behind it")
    written = parse(head[1] or "{}", str(path), first=1)
    fields = written.read(Head, written.texts())
    prompt = text[head.end() :].strip()
    if not prompt:
        raise FileWrong(f"{path}: expected the task in words behind the head, got nothing")
    _check_inputs(written, fields.inputs, prompt, taken)
    folder = path.parent
    return TaskFile(
        path,
        fields.description,
        prompt,
        {name: _with_default(written, folder, name, each) for name, each in fields.inputs.items()},
        schema=_schema(written, folder) if fields.output is not None else None,
        files=tuple(
            file
            for number, pattern in enumerate(fields.files)
            for file in _told(written, ("files", number), lambda: beside(folder, pattern))  # noqa: B023 - called here
        ),
        check=fields.check,
        budget=_told(written, ("budget",), lambda: parse_budget(fields.budget)) if fields.budget else {},
        think=_told(written, ("think",), lambda: parse_think(fields.think)),
        allow=fields.allow,
    )


def _check_inputs(written: Written, inputs: Mapping[str, Input], prompt: str, taken: set[str]) -> None:
    used = set(names(prompt))
    if missing := used - set(inputs):
        what = f"the task has {{{min(missing)}}}, which is no input; double the braces where they are text"
        raise written.wrong(("inputs",), what)
    for name in inputs:
        if not _INPUT.fullmatch(name):
            raise written.wrong(("inputs", name), "expected a name of small letters, digits and _")
        if f"--{name.replace('_', '-')}" in taken:
            raise written.wrong(("inputs", name), "`fastslow run` has an option of that name; take another one")
        if name not in used:
            raise written.wrong(("inputs", name), f"the task does not use it: write {{{name}}} where it belongs")


def _with_default(written: Written, folder: Path, name: str, each: Input) -> Input:
    """The input with a default that was looked at, as it would be given from here."""
    if each.default is None:
        return each
    default = each.default
    if each.type == "file":
        default = str(_told(written, ("inputs", name, "default"), lambda: named(folder, default)))
    else:
        _told(written, ("inputs", name, "default"), lambda: each.read(default))
    return each.model_copy(update={"default": default})


def _schema(written: Written, folder: Path) -> Mapping[str, Any]:
    """The JSON schema of the output: in the head, or in a file beside this one."""

    def read() -> Mapping[str, Any]:
        schema = written.typed("output")
        if isinstance(schema, str):
            schema = json.loads(read_text(named(folder, schema)))
        if not isinstance(schema, Mapping):
            raise ValueError("expected a JSON schema, or the name of a file that has one")
        Form.of(schema)
        return schema

    schema: Mapping[str, Any] = _told(written, ("output",), read)
    return schema


def _told(written: Written, path: tuple[str | int, ...], read: Callable[[], Any]) -> Any:
    """What `read` gives; what it refuses is told with the line."""
    try:
        return read()
    except typer.BadParameter as error:
        raise written.wrong(path, error.message) from error
    except (ValueError, OSError) as error:
        raise written.wrong(path, str(error)) from error


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number, got {text!r:.80}")
    return value


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ValueError(f"expected a date such as 2026-10-31, got {text!r:.80}") from error
