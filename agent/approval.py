"""Who may run what: rules that allow a call, ask a person about it, or deny it.

Of all rules that match a call the strictest counts: deny before ask before allow. So their order does not matter, and
no rule opens what another one closed. What no rule names follows the tool's own word (`Tool.effect`): one that reaches
outside, or does not say what it changes, is asked about.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches, unified_diff
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fastslow.agent.errors import ConfigurationError
from fastslow.tools import Effect, Tool

Decide: TypeAlias = Literal["allow", "ask", "deny"]
STRICTEST: tuple[Decide, ...] = ("deny", "ask", "allow")
PATHS = {"path", "file", "filename", "folder", "directory", "dir", "source", "target", "destination"}
COMMAND = "command"
# A shell does nothing with such a text but run one command: no list, pipe, redirection, substitution, quote or glob.
_ONE_COMMAND = re.compile(r"[A-Za-z0-9 _./:=,@%+-]*")
_PARTS = re.compile(r"[;&|\n(){}`$<>!]+")
PREVIEW = 4000  # characters of a call that a person is shown


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Matches a call when all matches that it names. Patterns are those of the shell; `*` takes any text, `/` too.

    tool: its name. effect: `Tool.effect`. arguments: by name, the text of each (JSON where it is no string). A command
    (argument `command`) is allowed by its pattern only where a shell would run one command and nothing else of it; it
    is asked about or denied where any part of it matches. path: arguments that name a path, without `..` and links;
    allowed only where all match, asked about or denied where one does. attended: whether somebody can be asked.
    reason: told to people and to the model.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    decide: Decide
    tool: str = "*"
    effect: Effect | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    attended: bool | None = None
    reason: str = ""

    def matches(self, tool: Tool, arguments: Mapping[str, Any], attended: bool) -> bool:
        if not fnmatchcase(tool.name, self.tool) or self.attended not in (None, attended):
            return False
        if self.effect not in (None, tool.effect):
            return False
        named = all(name in arguments and self._fits(name, arguments[name]) for name in self.arguments)
        return named and (self.path is None or self._leads(self.path, arguments))

    def _fits(self, name: str, value: Any) -> bool:
        pattern = self.arguments[name]
        text = value if isinstance(value, str) else json.dumps(value)
        if name != COMMAND:
            return fnmatchcase(text, pattern)
        if self.decide == "allow":
            return _ONE_COMMAND.fullmatch(text) is not None and fnmatchcase(" ".join(text.split()), pattern)
        parts = (" ".join(part.split()) for part in (text, *_PARTS.split(text)))
        return any(fnmatchcase(part, pattern) for part in parts)

    def _leads(self, pattern: str, arguments: Mapping[str, Any]) -> bool:
        paths = [_normal(value) for name, value in arguments.items() if name in PATHS and isinstance(value, str)]
        fits = (fnmatchcase(path, pattern) for path in paths)
        return bool(paths) and (all(fits) if self.decide == "allow" else any(fits))


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say of a call. reason: of the rule that counted, in words."""

    decide: Decide
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """The rules of a run. Without any, calls are allowed that only read, or change nothing but the sandbox, and those
    of functions that were passed in without a word on their effect; what says that it reaches outside is asked about.

    >>> Approval((ApprovalRule("deny", tool="send_*", reason="no mail from tests"),))
    Approval(rules=(ApprovalRule(decide='deny', tool='send_*', ...),))
    """

    rules: tuple[ApprovalRule, ...] = ()

    def judge(self, tool: Tool, arguments: Mapping[str, Any], *, attended: bool) -> Decision:
        """Of a call that is about to begin. attended: whether somebody can be asked."""
        if matching := [rule for rule in self.rules if rule.matches(tool, arguments, attended)]:
            strictest = min(matching, key=lambda rule: STRICTEST.index(rule.decide))
            return Decision(strictest.decide, strictest.reason)
        return Decision("ask", f"{tool.name} may reach outside of the sandbox") if tool.effect == "outside" else ALLOWED

    @classmethod
    def load(cls, path: str | Path) -> Approval:
        """The rules of a TOML file, each a table `[[rule]]`. ConfigurationError names the file, rule and key."""
        try:
            told = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the rules in {path} cannot be read: {error}") from error
        rules = told.pop("rule", [])
        if told or not isinstance(rules, list):
            wrong = ", ".join(told) or f"rule = {rules!r:.40}"
            raise ConfigurationError(f"{path}: expected tables [[rule]] and nothing else, got {wrong}")
        return cls(tuple(_rule(path, number, table) for number, table in enumerate(rules, 1)))


ALLOWED = Decision("allow")


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked. preview: what is about to happen, as text of bounded length; hostile, as it is the
    model's. reason: why it is asked."""

    branch: str
    tool: str
    arguments: Mapping[str, Any]
    preview: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """always: for the rest of this run, of the very same call. note: what the model is told besides.

    `"stop"` ends the run, which can be resumed, and asks again then.
    """

    decide: Literal["allow", "deny", "stop"]
    always: bool = False
    note: str = ""


Ask: TypeAlias = Callable[[Question], Awaitable[Answer]]


def preview(arguments: Mapping[str, Any], before: str | None = None) -> str:
    """What a call would do: its command, the change of a file (before: what it holds now), or its arguments."""
    content, path = arguments.get("content"), arguments.get("path")
    if isinstance(arguments.get(COMMAND), str):
        text = f"$ {arguments[COMMAND]}"
    elif isinstance(content, str) and isinstance(path, str):
        old, new = (before or "").splitlines(), content.splitlines()
        text = "\n".join(unified_diff(old, new, f"{path} (now)", path, lineterm=""))
    else:
        text = "\n".join(f"{name} = {_shown(value)}" for name, value in arguments.items())
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW]}\n[… {len(text) - PREVIEW} more characters]"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _normal(path: str) -> str:
    """The path without `..` and `~`; of one that stands on the host's disk, without links as well."""
    path = os.path.expanduser(path)
    return os.path.realpath(path) if os.path.isabs(path) else os.path.normpath(path)


_RULE = TypeAdapter(ApprovalRule)


def _rule(path: str | Path, number: int, table: Any) -> ApprovalRule:
    try:
        return _RULE.validate_python(table)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_problems(path, number, error.errors()))) from error


def _problems(path: str | Path, number: int, problems: Iterable[Any]) -> Iterable[str]:
    known = [name for name in ApprovalRule.__dataclass_fields__ if not name.startswith("_")]
    for problem in problems:
        name = ".".join(str(part) for part in problem["loc"]) or "rule"
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if problem["type"] == "unexpected_keyword_argument" and near else ""
        yield f"{path}: rule {number}: {name}: {problem['msg']}, got {problem['input']!r:.80}{hint}"


assert set(get_args(Decide)) == set(STRICTEST)  # noqa: S101 - a decision without a rank would never count
