"""The parameters of a flow's `main` as a command line: words in, values of the annotated types out."""

from __future__ import annotations

import collections.abc
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import docstring_parser
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from fastslow.agent.errors import ConfigurationError

MANY = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)


class WrongParameter(ConfigurationError):
    """A word of the command line does not fit the parameter that it is for."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """name: as in Python. many: it takes several words. item: the type of one of them; of one that does not, its own.
    help: from the docstring."""

    name: str
    annotation: Any
    default: Any
    many: bool
    item: Any
    help: str

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_flag(self) -> bool:
        return self.annotation is bool

    @property
    def metavar(self) -> str:
        if self.is_flag:
            return ""
        choices = _choices(self.item)
        return "|".join(choices) if choices else getattr(self.item, "__name__", str(self.item)).upper()


def parameters_of(main: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Those behind the workflow itself. ConfigurationError for one that no command line can give."""
    told = docstring_parser.parse(inspect.getdoc(main) or "")
    helps = {one.arg_name: " ".join((one.description or "").split()) for one in told.params}
    try:
        hints = typing.get_type_hints(main, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigurationError(f"the annotations of main cannot be read: {error}") from error
    _, *rest = inspect.signature(main).parameters.values()
    found = []
    for one in rest:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise ConfigurationError(f"main's parameter {one} has no name of its own; write each parameter out")
        if one.name not in hints:
            raise ConfigurationError(f"main's parameter {one.name!r} has no type; write one, such as {one.name}: str")
        many, item = _items(hints[one.name])
        try:
            TypeAdapter(hints[one.name])
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            why = " ".join(str(error).split())[:200]
            raise ConfigurationError(f"main's parameter {one.name!r} cannot come from a command line: {why}") from error
        found.append(Parameter(one.name, hints[one.name], one.default, many, item, helps.get(one.name, "")))
    return tuple(found)


def about(main: Callable[..., Any]) -> str:
    """What the docstring says beside the parameters."""
    told = docstring_parser.parse(inspect.getdoc(main) or "")
    return "\n\n".join(filter(None, [told.short_description, told.long_description]))


def words_of(parameters: Sequence[Parameter], words: Sequence[str]) -> dict[str, list[str]]:
    """The words for each parameter by its name, as they stand behind its option. WrongParameter."""
    known = {one.option: one for one in parameters}
    given: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, _, value = word.partition("=")
        flag = known.get(f"--{option.removeprefix('--no-')}") if option.startswith("--no-") else None
        one = known.get(option.replace("_", "-")) or (flag if flag and flag.is_flag else None)
        if one is None:
            names = ", ".join(known) or "none"
            raise WrongParameter(f"{word!r} is no parameter of this flow; it has {names}")
        behind = [value] if "=" in word else []
        if one.is_flag and not behind:
            behind = ["false" if one is flag else "true"]
        while rest and not rest[0].startswith("--") and (one.many or not behind) and not one.is_flag:
            behind.append(rest.pop(0))
        if not behind:
            raise WrongParameter(f"{one.option} needs a value: {one.option} {one.metavar}")
        if one.name in given and not one.many:
            raise WrongParameter(f"{one.option} is given twice, and takes one value")
        given.setdefault(one.name, []).extend(behind)
    if missing := [one.option for one in parameters if one.required and one.name not in given]:
        raise WrongParameter(f"{', '.join(missing)} must be given; `--help` behind the script says what each is")
    return given


def values_of(parameters: Sequence[Parameter], given: Mapping[str, Sequence[str]], folder: Path) -> dict[str, Any]:
    """The values for `main`. folder: where relative paths begin. WrongParameter."""
    return {one.name: _value(one, given[one.name], folder) for one in parameters if one.name in given}


def usage(parameters: Sequence[Parameter]) -> Iterator[tuple[str, str]]:
    """A row of help for each parameter."""
    for one in parameters:
        told = [one.help]
        if one.required:
            told.append("[required]")
        elif one.default not in (None, False, (), ""):
            told.append(f"[default: {one.default}]")
        again = " …" if one.many else ""
        yield f"{one.option} {one.metavar}{again}".strip(), " ".join(filter(None, told))


# --- types -----------------------------------------------------------------------------------------


def _items(annotation: Any) -> tuple[bool, Any]:
    """Whether a type takes several words, and the type of each."""
    inner = _without_none(annotation)
    origin = typing.get_origin(inner) or inner
    if origin in MANY:
        arguments = [one for one in typing.get_args(inner) if one is not Ellipsis]
        return True, arguments[0] if arguments else str
    return False, inner


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Annotated:
        return _without_none(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(annotation) if one is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _choices(item: Any) -> list[str]:
    if typing.get_origin(item) is typing.Literal:
        return [str(one) for one in typing.get_args(item)]
    members = getattr(item, "__members__", None)
    return [str(one.value) for one in members.values()] if members else []


def _value(one: Parameter, words: Sequence[str], folder: Path) -> Any:
    if one.item is Path:
        words = [path for word in words for path in _paths(one, word, folder)]
    if not one.many:
        return _read(one, one.annotation, words[0])
    items = [_read(one, one.item, word) for word in words]
    return _read(one, one.annotation, items)


def _paths(one: Parameter, word: str, folder: Path) -> list[str]:
    """A path, or those that a pattern stands for."""
    there = folder / Path(word).expanduser()
    if not one.many or not has_magic(word) or there.exists():
        return [str(there)]
    found = sorted(glob(str(there), recursive=True))
    if not found:
        raise WrongParameter(f"{one.option} {word!r} matches no file in {folder}")
    return found


def _read(one: Parameter, kind: Any, told: Any) -> Any:
    """A word as a value of a type, by what it says or as JSON; of a list its items."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_strings(told) if isinstance(told, str) else adapter.validate_python(told)
    except ValidationError as error:
        failed = error
    if isinstance(told, str):
        try:
            return adapter.validate_python(json.loads(told))
        except (ValidationError, ValueError):
            pass
    why = "; ".join(str(problem["msg"]) for problem in failed.errors()[:3])
    raise WrongParameter(f"{one.option} {_shown(told)}: {why}")


def _shown(told: Any) -> str:
    return repr(told) if isinstance(told, str) else f"of {len(told)} values"
