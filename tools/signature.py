"""What a function says of itself, wherever it says it: its name, its docstring, its parameters."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from docstring_parser import Docstring, ParseError, epydoc
from docstring_parser import numpydoc as numpy
from docstring_parser import rest as sphinx
from docstring_parser.google import DEFAULT_SECTIONS, GoogleParser, Section, SectionType
from pydantic import AliasPath, Field
from pydantic.fields import FieldInfo

from fastslow.tools.errors import ToolDefinitionError

_PARAMETERS = [section for section in DEFAULT_SECTIONS if section.key == "param"]
_PARAMETERS += [Section(f"Keyword {title}", "param", SectionType.MULTIPLE) for title in ("Args", "Arguments")]
# The second Google reader looks at parameters only: of a `Raises:` that names no error the first makes nothing at all.
_READERS = (
    GoogleParser([*DEFAULT_SECTIONS, *_PARAMETERS]).parse,
    GoogleParser(_PARAMETERS).parse,
    numpy.parse,
    sphinx.parse,
    epydoc.parse,
)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a model is told of it.

    text: its summary and what follows, without the parameters. fields: each parameter's name, and its type with
    description, constraints and default in one `Annotated`.
    """

    name: str
    text: str
    fields: tuple[tuple[str, Any], ...]


def signature_of(function: Callable[..., Any]) -> Signature:
    """Raises ToolDefinitionError for what a model would miss, or could not send."""
    try:
        parameters = inspect.signature(function).parameters.values()
        layers = list(_layers(function))
        known = {name for layer in layers for name in inspect.signature(layer).parameters}
    except (ValueError, TypeError, NameError) as error:
        raise wrong(function, f"has no signature that can be read: {error}") from error
    docstring = _docstring(layers)
    if not docstring.short_description:
        raise wrong(function, "has no docstring; its first line must tell the model what it does")
    descriptions = dict(_descriptions(docstring))
    if unknown := descriptions.keys() - known:
        raise wrong(function, "is described in the docstring and is no parameter", min(unknown))
    bound = {name for layer in layers if isinstance(layer, partial) for name in layer.keywords}
    names = _names(layers[-1])
    fields = [
        (one.name, _field(function, one, names, descriptions.get(one.name)))
        for one in parameters
        if one.name not in bound
    ]
    text = "\n".join(filter(None, [docstring.short_description, docstring.long_description]))
    return Signature(_name(layers), text, tuple(fields))


def texts_of(hint: Any) -> list[str]:
    """What an `Annotated` says of a value in plain text, or as a `Doc`."""
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired, typing.Final):
        (hint,) = typing.get_args(hint)
    texts = (one if isinstance(one, str) else getattr(one, "documentation", "") for one in _metadata(hint))
    return [text for text in texts if text]


def _metadata(hint: Any) -> tuple[Any, ...]:
    return tuple(hint.__metadata__) if typing.get_origin(hint) is Annotated else ()


def wrong(function: Callable[..., Any], what: str, parameter: str | None = None) -> ToolDefinitionError:
    """The error, beginning with where it is: `file:line: function f, parameter x: …`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
    name = getattr(function, "__qualname__", repr(function))
    return ToolDefinitionError(f"{where}function {name}{f', parameter {parameter!r}' if parameter else ''}: {what}")


def _layers(function: Any) -> Iterator[Any]:
    """The function and, one after another, what it calls: below `partial` and decorators, `__call__` of an object."""
    while True:
        yield function
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not inspect.isroutine(function):
            function = function.__call__
        else:
            return


def _name(layers: Sequence[Any]) -> str:
    first = next(layer for layer in layers if not isinstance(layer, partial))
    return str(getattr(layers[0], "__name__", getattr(first, "__name__", type(first).__name__)))


def _docstring(layers: Sequence[Any]) -> Docstring:
    """The outermost docstring that is the function's own, else that of an object's class; read in the style in which
    it describes most."""
    own = [inspect.getdoc(layer) for layer in layers if layer.__doc__ not in (partial.__doc__, type(layer).__doc__)]
    objects = [layer for layer in layers[:-1] if not isinstance(layer, partial) and not hasattr(layer, "__wrapped__")]
    text = next(filter(None, [*own, *(inspect.getdoc(type(one)) for one in objects)]), "")
    read = []
    for reader in _READERS:
        try:
            read.append(reader(text))
        except ParseError:
            continue
    return max(read, key=lambda one: len(dict(_descriptions(one))), default=Docstring())


def _descriptions(docstring: Docstring) -> Iterator[tuple[str, str]]:
    """Parameters, and what is said of them."""
    for param in docstring.params:
        if param.args[0] != "attribute":
            for name in param.arg_name.split(","):
                yield name.strip("*`- "), (param.description or "").strip()


def _names(called: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What hints may name, global and local: type parameters, and the variables of functions around that still run."""
    names = {one.__name__: one for one in getattr(called, "__type_params__", ())}
    where, names_of_module = getattr(called, "__qualname__", ""), getattr(called, "__globals__", {})
    frame = inspect.currentframe()
    while frame:
        if frame.f_globals is names_of_module and where.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names_of_module, names


def _field(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    names: tuple[dict[str, Any], Mapping[str, Any]],
    documented: str | None,
) -> Any:
    """The type of a parameter with all that is said of it: in the docstring, in `Annotated`, by its default.

    What comes later counts more.
    """
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise wrong(function, "must be passable by name; write it as a plain parameter", parameter.name)
    hint = _hint(function, parameter, names)
    said = _metadata(hint)
    origin = hint.__origin__ if said else hint
    texts = [documented, *texts_of(hint)]
    given = parameter.default
    default = given if isinstance(given, FieldInfo) else Field() if given is parameter.empty else Field(default=given)
    parts = (*(Field(description=text) for text in texts if text), *said, default)
    if any(isinstance(part, FieldInfo) and isinstance(part.validation_alias, AliasPath) for part in parts):
        raise wrong(function, "is a part of another one, by its AliasPath; give it a name of its own", parameter.name)
    try:
        return Annotated[(origin, *parts)]
    except (TypeError, AttributeError) as error:
        raise wrong(function, f"has a type hint that is no type: {hint!r}", parameter.name) from error


def _hint(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    names: tuple[dict[str, Any], Mapping[str, Any]],
) -> Any:
    """The type of a parameter. Each is read alone: a type that is returned may be one that nobody can read here."""
    if parameter.annotation is parameter.empty:
        bind = "; make the tool of an object's method: tool(thing.method)" if parameter.name in ("self", "cls") else ""
        raise wrong(function, f"has no type hint{bind}", parameter.name)

    def alone() -> None: ...

    alone.__annotations__ = {parameter.name: parameter.annotation}
    try:
        return typing.get_type_hints(alone, *names, include_extras=True)[parameter.name]
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        said = f"has type hints that cannot be read: {error}; import or define the type where the module runs"
        raise wrong(function, said, parameter.name) from error
