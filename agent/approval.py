"""Who may run what: rules that allow a call, ask a person about it, or deny it.

Of all rules that match a call the strictest counts: deny before ask before allow. So their order does not matter, and
no rule opens what another one closed. What no rule names follows the tool's own word (`Tool.effect`): one that reaches
outside, or does not say what it changes, is asked about.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.paths import CallPaths
from fastslow.agent.question import Line
from fastslow.agent.values import plain, texts
from fastslow.tools import Effect, Tool
from fastslow.tools.defaults import with_defaults

Decide: TypeAlias = Literal["allow", "ask", "deny"]
STRICTEST: tuple[Decide, ...] = ("deny", "ask", "allow")
COMMAND = "command"
# A shell does nothing with such a text but run one command: no list, pipe, redirection, substitution, quote or glob.
_ONE_COMMAND = re.compile(r"[A-Za-z0-9 _./:=,@%+-]*")
_PARTS = re.compile(r"[;&|\n(){}`$<>!]+")


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Matches a call when all matches that it names. Patterns are those of the shell; `*` takes any text, `/` too.

    tool: its name. effect: `Tool.effect`. arguments: by name, the text of each (JSON where it is no text); it is denied
    or asked about where a part of a list or an object matches, too. A command (argument `command`) is allowed by its
    pattern only where a shell would run one command and nothing else of it; it is asked about or denied where any part
    of it matches. path: where paths in the arguments lead, whatever their spelling (see `agent.paths`); allowed only
    where all match, asked about or denied where one does. path_names: patterns of arguments that name paths,
    besides the usual ones. attended: whether somebody can be asked. reason: told to people and to the model.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    decide: Decide
    tool: str = "*"
    effect: Effect | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    path_names: tuple[str, ...] = ()
    attended: bool | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.path_names and self.path is None:
            raise ConfigurationError("path_names says where `path` is looked for, and this rule has no path; add one")
        if self.path is not None and (not self.path.strip() or self.path.lstrip().lower().startswith("file:")):
            raise ConfigurationError(f"path is a pattern of paths, such as /etc/*, got {self.path!r:.80}")

    def matches(self, tool: Tool, told: Mapping[str, Any], paths: CallPaths, attended: bool) -> bool:
        """told: the arguments, as JSON can hold them. Raises ArgumentError for a path that leads nobody knows where."""
        if not fnmatchcase(tool.name, self.tool) or self.attended not in (None, attended):
            return False
        if self.effect not in (None, tool.effect):
            return False
        if not all(name in told and self._fits(name, told[name]) for name in self.arguments):
            return False
        return self.path is None or paths.fit(self.path, self.path_names, every=self.decide == "allow")

    def _fits(self, name: str, value: Any) -> bool:
        pattern = self.arguments[name]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if self.decide == "allow":
            if name != COMMAND:
                return fnmatchcase(text, pattern)
            return _ONE_COMMAND.fullmatch(text) is not None and fnmatchcase(" ".join(text.split()), pattern)
        within = [text, *texts(value)]
        if name == COMMAND:
            within += [" ".join(within[1:])]  # words of a list
            within = [" ".join(part.split()) for one in within for part in (one, *_PARTS.split(one))]
        return any(fnmatchcase(part, pattern) for part in within)


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
        """Of a call that is about to begin. arguments: what the tool's body is called with (`Tool.receive`); what is
        still missing then counts as the schema's default says. attended: whether somebody can be asked.

        Raises ArgumentError for arguments that no rule can judge, such as a path with a NUL.
        """
        if matching := self._matching(tool, arguments, attended):
            strictest = min(matching, key=lambda rule: STRICTEST.index(rule.decide))
            return Decision(strictest.decide, strictest.reason)
        return Decision("ask", f"{tool.name} may reach outside of the sandbox") if tool.effect == "outside" else ALLOWED

    def _matching(self, tool: Tool, arguments: Mapping[str, Any], attended: bool) -> list[ApprovalRule]:
        if not self.rules:
            return []
        filled = with_defaults(tool.parameters, arguments)
        told, paths = plain(filled), CallPaths(tool.place, filled)
        return [rule for rule in self.rules if rule.matches(tool, told, paths, attended)]

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
    """What a person is asked. arguments: what the tool's body would be called with, typed, defaults too. lines: all of
    it for people to read, the files that it names as well. reason: why it is asked."""

    branch: str
    tool: str
    arguments: Mapping[str, Any]
    lines: tuple[Line, ...]
    reason: str

    @property
    def preview(self) -> str:
        """The lines as text of bounded length that is safe to print; what the call holds stands in quotes or behind
        a bar, so no line of it can be taken for one of ours."""
        return "\n".join(row for line in self.lines for row in line.rows())


@dataclass(frozen=True, slots=True)
class Answer:
    """always: for the rest of this run, of the very same call. note: what the model is told besides.

    `"stop"` ends the run, which can be resumed, and asks again then.
    """

    decide: Literal["allow", "deny", "stop"]
    always: bool = False
    note: str = ""


Ask: TypeAlias = Callable[[Question], Awaitable[Answer]]


async def unattended(question: Question) -> Answer:
    """The `Ask` of where nobody is there, and where nothing is to be denied in silence: it ends the run at once, which
    is asked again when it is resumed with somebody. Rules judge as where nobody can be asked."""
    return Answer("stop")


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
