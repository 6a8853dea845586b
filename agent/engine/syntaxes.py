"""How the syntaxes with tags, and Python's, are read: from behind a call's opener to its certain end.

A reader returns calls and the index where the text goes on. It raises `NotACallError` or `LenientError` for what is
no call, or not surely a whole one. Every repetition in a pattern is bounded, so reading takes linear time.
"""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, TypeAlias

from fastslow.tools.lenient import MAX_DEPTH, LenientError, check_depth, read_value, read_whole, skip_space

Call: TypeAlias = tuple[str, Any]
Read: TypeAlias = tuple[list[Call], int]  # calls, and where the text goes on

NAME = r"[\w.:/-]{1,128}"
GAP = r"\s{0,64}"
SPACED = r"｜DSML｜ ?|ifm\||\w{1,16}:"  # before the name of a tag
SUFFIX = r"(?::\w{1,16})?"  # behind it, in Hunyuan's checkpoints
MINIMAX = r"\]<\]minimax\[>\["  # before each tag of MiniMax M3
SEPARATOR = re.compile(r"[\s,;]*+")

_PARAMETER = re.compile(
    rf"<(?:{SPACED})?param(?:eter)?(?:=|\s{{1,8}}name\s{{0,8}}=\s{{0,8}})[\"']?([^\"'<>\n]{{1,128}}?)[\"']?"
    r"(?:\s{1,8}string=\"(true|false)\")?\s{0,8}>"
)
# A value may hold its own closing tag: it ends where what follows can only be the call's next part.
_PARAMETER_END = re.compile(
    rf"</(?:{SPACED})?param(?:eter)?>(?=\s*</?(?:{SPACED})?(?:param|function|invoke|tool_call))"
    rf"|\n?(?=<(?:{SPACED})?param(?:eter)?(?:=|\s{{1,8}}name=)[^<>\n]{{1,128}}>)"
    r"|\n(?=</(?:function|invoke)>\s*(?:</|<tool_call>|<function=|<invoke|\Z))"
)
_FUNCTION_END = re.compile(rf"</(?:{SPACED})?(?:function|invoke)>|</(?:\w+:)?tool_call>")
_ARGUMENT = re.compile(
    rf"<(?:ifm\|)?arg_key{SUFFIX}>([^<>\n]{{1,128}})</(?:ifm\|)?arg_key{SUFFIX}>\s*"
    rf"(?:<ifm\|arg_type>[^<>\n]{{1,64}}</ifm\|arg_type>\s*)?<(?:ifm\|)?arg_value{SUFFIX}>"
)
_ARGUMENT_END = re.compile(
    rf"</(?:ifm\|)?arg_value{SUFFIX}>(?=\s*(?:<(?:ifm\|)?arg_key{SUFFIX}>|</?(?:ifm\|)?tool_call{SUFFIX}>))"
)
_ARGUMENTS_END = re.compile(rf"</?(?:ifm\|)?tool_call{SUFFIX}>")
_TYPED = re.compile(r"<\|open\|>\s?argument\s{1,8}key=\"([^\"\n]{1,128})\"\s{1,8}type=\"(\w{1,32})\"\s{0,8}<\|sep\|>")
_TYPED_END = re.compile(r"<\|close\|>\s?argument\s?<\|sep\|>(?=\s*<\|(?:open|close)\|>)")
_TYPED_CALL_END = re.compile(r"<\|close\|>\s?call\s?<\|sep\|>")
_ELEMENT = re.compile(rf"\s*{MINIMAX}<([\w.$-]{{1,128}})>")
_INVOKE_END = re.compile(rf"\s*{MINIMAX}</invoke>")
_GEMMA_KEY = re.compile(r"\s*+(?:<\|\"\|>|<escape>|\")?([\w.$ -]{1,128}?)(?:<\|\"\|>|<escape>|\")?\s{0,64}+:\s*")
_GEMMA_WORD = re.compile(r"[^,{}\[\]<>\"\n]{1,500}")
_GEMMA_QUOTES = ('<|"|>', "<escape>")
_PYTHON_CALL = re.compile(r"([A-Za-z_][\w.]{0,127})\(")
_PYTHON_KEY = re.compile(r"([A-Za-z_]\w{0,127})\s{0,8}=(?!=)")
_PYTHON_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+\'\'\''
    r'|"(?:[^"\\\n]|\\.)*+"|\'(?:[^\'\\\n]|\\.)*+\'|[^"\'()\[\]{}#]++|[()\[\]{}]',
    re.DOTALL,
)


class NotACallError(Exception):
    """What an opener opened is no call, or not surely a whole one.

    read: how far the text was read to see that. skip: there can be no call before that place.
    """

    def __init__(self, read: int, *, skip: bool = False) -> None:
        super().__init__()
        self.read = read
        self.skip = skip


# --- tags --------------------------------------------------------------------------------------------


def read_parameters(text: str, position: int, arguments: dict[str, Any], *, lines: bool) -> tuple[dict[str, Any], int]:
    """`<parameter=x>1</parameter></function>`, and the same as `<parameter name="x">` of an `<invoke>`.

    arguments: those that were written as JSON before. lines: each value stands on lines of its own.
    """
    while parameter := _PARAMETER.match(text, position):
        end = _PARAMETER_END.search(text, parameter.end())
        if end is None:
            raise NotACallError(len(text))
        key, string = parameter.groups()
        value: Any = text[parameter.end() : end.start()]
        if lines:
            value = value.removeprefix("\n").removesuffix("\n")  # the template writes them
        if string == "false":
            value = _value_of(value)
        if arguments.setdefault(key, value) != value:
            raise NotACallError(position)
        position = skip_space(text, end.end())
    closing = _FUNCTION_END.match(text, position)
    if closing is None:
        raise NotACallError(position)
    return arguments, closing.end()


def read_glm(text: str, match: re.Match[str]) -> Read:
    """`<tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>`."""
    arguments: dict[str, Any] = {}
    position = match.end()
    while key := _ARGUMENT.match(text, position):
        end = _ARGUMENT_END.search(text, key.end())
        if end is None:
            raise NotACallError(len(text))
        value = text[key.end() : end.start()]
        if arguments.setdefault(key[1].strip(), value) != value:
            raise NotACallError(position)
        position = skip_space(text, end.end())
    if not _ARGUMENTS_END.match(text, position):
        raise NotACallError(position)
    return [(match["glm_name"] or match["glm_bare"], arguments)], position


def read_typed(text: str, match: re.Match[str]) -> Read:
    """Kimi K3: `<|open|>argument key="x" type="number"<|sep|>1<|close|>argument<|sep|>` for each, in a `call`."""
    arguments: dict[str, Any] = {}
    position = skip_space(text, match.end())
    while argument := _TYPED.match(text, position):
        end = _TYPED_END.search(text, argument.end())
        if end is None:
            raise NotACallError(len(text))
        value: Any = text[argument.end() : end.start()]
        value = value if argument[2] == "string" else _value_of(value)
        if arguments.setdefault(argument[1], value) != value:
            raise NotACallError(position)
        position = skip_space(text, end.end())
    closing = _TYPED_CALL_END.match(text, position)
    if closing is None:
        raise NotACallError(position)
    return [(match["typed_name"], arguments)], closing.end()


def _value_of(text: str) -> Any:
    """A value that says of itself that it is no string; a bare word all the same, but never half an object."""
    try:
        return read_whole(text)
    except LenientError:
        if text.lstrip()[:1] in ("{", "[", '"', "'"):
            raise
        return text


def read_elements(text: str, match: re.Match[str]) -> Read:
    """MiniMax M3: each argument is an element that has its name; objects and lists have elements inside."""
    arguments, position = _elements(text, match.end(), 0)
    closing = _INVOKE_END.match(text, position)
    if closing is None:
        raise NotACallError(position)
    return [(match["elements_name"], dict(arguments))], closing.end()


def _elements(text: str, position: int, depth: int) -> tuple[list[tuple[str, Any]], int]:
    if depth > MAX_DEPTH:
        raise NotACallError(position)
    found: list[tuple[str, Any]] = []
    while element := _ELEMENT.match(text, position):
        name, closing = element[1], f"]<]minimax[>[</{element[1]}>"
        inner, position = _elements(text, element.end(), depth + 1)
        if inner:
            items = [value for _, value in inner]
            value: Any = items if {key for key, _ in inner} == {"item"} else dict(inner)
            if isinstance(value, dict) and len(value) < len(inner):
                raise NotACallError(position)  # one name twice
            position = skip_space(text, position)
            if not text.startswith(closing, position):
                raise NotACallError(position)
        else:
            end = text.find("]<]minimax[>[", element.end())
            if end < 0 or not text.startswith(closing, end):
                raise NotACallError(end if end >= 0 else len(text))
            value, position = text[element.end() : end], end
        found.append((name, value))
        position += len(closing)
    return found, position


def read_gemma(text: str, match: re.Match[str]) -> Read:
    """`call:f{x:<|"|>text<|"|>,y:[1,2]}`, with `<escape>` for the quotes in FunctionGemma."""
    value, end = _gemma_value(text, match.end(), 0)
    return [(match["gemma_name"], value)], end


def _gemma_value(text: str, position: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise NotACallError(position, skip=True)
    if quote := next((quote for quote in _GEMMA_QUOTES if text.startswith(quote, position)), ""):
        end = text.find(quote, position + len(quote))
        if end < 0:
            raise NotACallError(len(text))
        return text[position + len(quote) : end], end + len(quote)
    opening = text[position : position + 1]
    if opening == '"':
        return read_value(text, position)
    if opening not in ("{", "["):
        word = _GEMMA_WORD.match(text, position)
        if word is None or text[word.end() : word.end() + 1] not in (",", "}", "]"):
            raise NotACallError(word.end() if word else position)
        return _value_of(word.group().strip()), word.end()
    pairs: dict[str, Any] = {}
    items: list[Any] = []
    position = skip_space(text, position + 1)
    while not text.startswith("}" if opening == "{" else "]", position):
        name = ""
        if opening == "{":
            key = _GEMMA_KEY.match(text, position)
            if key is None or key[1] in pairs:
                raise NotACallError(position)
            name, position = key[1], key.end()
        value, position = _gemma_value(text, position, depth + 1)
        pairs[name] = value
        items.append(value)
        position = skip_space(text, position)
        if text.startswith(",", position):
            position = skip_space(text, position + 1)
        elif not text.startswith(("}", "]"), position):
            raise NotACallError(position)
    return (pairs if opening == "{" else items), position + 1


# --- Python ------------------------------------------------------------------------------------------


def calls_python(text: str, position: int) -> bool:
    """Whether a call in Python begins there, in a list or without."""
    return _PYTHON_CALL.match(text, position + text.startswith("[", position)) is not None


def python_calls(text: str, position: int) -> Read:
    """`[f(x=1), g(y="a")]`. Values are literals; nothing is evaluated."""
    calls: list[Call] = []
    end = position
    position += text.startswith("[", position)
    while call := _PYTHON_CALL.match(text, skip_space(text, position)):
        try:
            arguments, end = _python_arguments(text, call.end())
        except (LenientError, NotACallError):
            if calls:
                break
            raise
        calls.append((call[1], arguments))
        position = after(SEPARATOR, text, end)
    if not calls:
        raise NotACallError(position)
    return calls, position + 1 if text.startswith("]", position) else end


def _python_arguments(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The arguments of a call, with values as JSON or as Python writes them."""
    arguments: dict[str, Any] = {}
    position = skip_space(text, start)
    while not text.startswith(")", position):
        key = _PYTHON_KEY.match(text, position)
        if key is None or key[1] in arguments:
            raise NotACallError(position)
        try:
            value, position = read_value(text, key.end())
            position = skip_space(text, position)
            if not text.startswith((",", ")"), position):
                raise LenientError("more than one value", position)
        except LenientError as error:
            if error.cut or error.deep:
                raise
            value, position = _python_value(text, skip_space(text, key.end()))
        arguments[key[1]] = value
        if text.startswith(",", position):
            position = skip_space(text, position + 1)
        elif not text.startswith(")", position):
            raise NotACallError(position)
    return arguments, position + 1


def _python_value(text: str, start: int) -> tuple[Any, int]:
    """A literal that only Python writes: a tuple, `r"\\d"`, `'\\x1b'`, three quotes."""
    position, depth = start, 0
    while token := _PYTHON_TOKEN.match(text, position):
        first = token.group()[0]
        if depth == 0 and first == ")":
            break
        if depth == 0 and "," in token.group() and first not in "\"'":
            position += token.group().index(",")
            break
        depth += (first in "([{") - (first in ")]}")
        position = token.end()
    else:
        raise NotACallError(position)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # '\d' is what it says, though Python would have it written otherwise
            return _as_json(ast.literal_eval(text[start:position].strip())), position
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise NotACallError(position) from None


def _as_json(value: Any) -> Any:
    """A Python value as JSON has it. ValueError for what it has not: sets, bytes, complex and endless numbers."""
    check_depth(value)
    match value:
        case None | bool() | int() | str():
            return value
        case float() if abs(value) < float("inf"):
            return value
        case list() | tuple():
            return [_as_json(item) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _as_json(item) for key, item in value.items()}
    raise ValueError(f"JSON has no {type(value).__name__}")


def after(pattern: re.Pattern[str], text: str, position: int) -> int:
    """The end of what the pattern matches at the position, or the position."""
    match = pattern.match(text, position)
    return match.end() if match else position
