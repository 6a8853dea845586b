"""Tool calls that stand in a text because the server's parser lost them.

Every syntax that a marker announces (`<tool_call>`, `<function=`, `<|tool_call_begin|>` …) is known whatever
the dialect, since models mix them. JSON without a marker counts on lines or in a fence of its own; anywhere,
and calls like `[f(x=1)]`, where the dialect says so. A call counts when its end is certain: half a call is
never returned, and one that follows a damaged one is still found.
"""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from tools.lenient import LenientError, read_value, read_whole, skip_space, without_surrogates

Call: TypeAlias = tuple[str, Any]

# Names of vLLM's tool parsers, each with what counts in it without a marker.
# https://docs.vllm.ai/en/stable/features/tool_calling/
DIALECTS: dict[str, str] = {
    **dict.fromkeys(("hermes", "qwen3_json", "ernie45", "longcat", "granite", "granite4", "granite-20b-fc"), ""),
    **dict.fromkeys(("qwen3_xml", "qwen3_coder", "seed_oss", "step3p5", "mimo", "glm45", "glm47", "ling3"), ""),
    **dict.fromkeys(("deepseek_v3", "deepseek_v31", "deepseek_v32", "deepseek_v4", "kimi_k2", "minimax_m2"), ""),
    **dict.fromkeys(("mistral", "jamba", "hunyuan_a13b", "phi4_mini_json", "internlm", "apertus", "gigachat3"), ""),
    **dict.fromkeys(("cohere_command3", "cohere_command4", "deepseek_v41", "dots", "minimax_m3", "minicpm5"), ""),
    **dict.fromkeys(("step3", "muse_glimmer", "poolside_v1", "hy_v3", "hy_v4", "k2_horizon"), ""),
    # Syntaxes of their own, which are not known here: what others write into such a text is still found.
    **dict.fromkeys(("gemma4", "functiongemma", "kimi_k3", "inkling", "plamo3", "openai", "hf"), ""),
    **dict.fromkeys(("llama3_json", "llama4_json", "xlam"), "json"),
    **dict.fromkeys(("pythonic", "llama4_pythonic", "lfm2", "olmo3"), "pythonic"),
}

_NAME = r"[\w.:/-]{1,128}"
_GAP = r"\s{0,64}"
_SPACED = r"｜DSML｜|\w{1,16}:"  # before the name of a tag
# The reader of each syntax is `_read_<group>`. Every repetition is bounded, so a search takes linear time.
_OPENERS = {
    "fence": r"^[ \t]{0,64}```(?P<language>[\w+-]{0,32})[ \t]{0,64}$",
    "invoke": rf"<(?:(?:{_SPACED})?invoke|function)\s{{1,8}}name{_GAP}={_GAP}[\"']?(?P<invoke_name>{_NAME})[\"']?"
    rf"{_GAP}>",
    "function": rf"<function{_GAP}={_GAP}(?P<function_name>{_NAME}){_GAP}>",
    "glm": rf"(?:<tool_call>{_GAP}(?P<glm_name>{_NAME}){_GAP}(?=<arg_key>|</tool_call>)|"
    rf"^(?P<glm_bare>{_NAME}){_GAP}(?=<arg_key>))",
    "deepseek": rf"<｜tool▁call▁begin｜>{_GAP}(?:\w{{1,64}}<｜tool▁sep｜>)?(?P<deepseek_name>{_NAME}){_GAP}"
    rf"(?:<｜tool▁sep｜>{_GAP})?(?:```json{_GAP})?(?=\{{)",
    "kimi": rf"<\|tool_call_begin\|>{_GAP}(?:functions\.)?(?P<kimi_name>[\w.-]{{1,128}})(?::\d{{1,9}})?{_GAP}"
    r"<\|tool_call_argument_begin\|>",
    "mistral": rf"\[TOOL_CALLS\]{_GAP}(?P<mistral_name>[\w.-]{{1,128}})(?:\[CALL_ID\][\w-]{{0,64}})?"
    rf"(?:\[ARGS\])?{_GAP}(?=\{{)",
    "python": r"<\|tool_call_start\|>|<\|python_start\|>|<function_calls>",
    "json": r"<tool_call>|<\|tool_call\|>|<function_call>|<longcat_tool_call>|<seed:tool_call>|<tool_calls>|"
    r"<\|python_tag\|>|\[TOOL_CALLS\]|\bfunctools(?=\[)|<\|START_ACTION\|>|<\|action_start\|>\s?<\|plugin\|>|"
    r"<\|function_call\|>|\bfunction call<\|role_sep\|>",
    "keyed": r"<\|tools_prefix\|>",
    "line": r"^[ \t]{0,64}[{\[]",
}
_BARE_JSON = r"\{\s{0,64}[\"'](?:name|type|function|arguments|parameters)[\"']"

_WRAPPERS = (
    "<tool_call>",
    "<minimax:tool_call>",
    "<seed:tool_call>",
    "<｜tool▁calls▁begin｜>",
    "<|tool_calls_section_begin|>",
    "<atem:function_calls>",
    "<dots_function_call>",
    "<｜tool_call_begin｜>function<｜tool_sep｜>",
    "<｜tool_calls_begin｜>",
    "<｜DSML｜function_calls>",
    "<｜DSML｜tool_calls>",
)
_CLOSING = (
    r"</(?:｜DSML｜|\w{1,16}:)?(?:(?:longcat_)?tool_calls?|(?:dots_)?function(?:_calls?)?|invoke|tools?|s)>"
    r"|<\|[\w./-]{1,40}_(?:end|suffix)\|>|<\|END_ACTION\|>|<｜[^<>｜\n]{1,40}[▁_]end｜>"
)
_CLOSER = re.compile(rf"[\s}}]{{0,64}}(?:{_CLOSING})")
_TRAIL = re.compile(
    rf"(?:\s|{_CLOSING}|<\|(?:im_end|eot_id|eom_id|endoftext)\|>|<｜end▁of▁sentence｜>|\[\|endofturn\|\])*+"
)
_SEPARATOR = re.compile(r"[\s,;]*+")
_BARE_VALUE = re.compile(
    rf"\{{{_GAP}\"name\"{_GAP}:{_GAP}\"({_NAME})\"{_GAP},{_GAP}\"(?:arguments|parameters)\"{_GAP}:{_GAP}"
    rf"([^\"'{{}}\[\]<>\n]{{1,500}}?){_GAP}\}}{_GAP}(?=</tool_call>)"
)
_PARAMETER = re.compile(
    rf"<(?:{_SPACED})?param(?:eter)?(?:=|\s{{1,8}}name\s{{0,8}}=\s{{0,8}})[\"']?([^\"'<>\n]{{1,128}}?)[\"']?"
    r"(?:\s{1,8}string=\"(true|false)\")?\s{0,8}>"
)
# A value may hold its own closing tag: it ends where what follows can only be the call's next part.
_PARAMETER_END = re.compile(
    rf"</(?:{_SPACED})?param(?:eter)?>(?=\s*</?(?:{_SPACED})?(?:param|function|invoke|tool_call))"
    rf"|\n?(?=<(?:{_SPACED})?param(?:eter)?(?:=|\s{{1,8}}name=)[^<>\n]{{1,128}}>)"
    r"|\n(?=</(?:function|invoke)>\s*(?:</|<tool_call>|<function=|<invoke|\Z))"
)
_FUNCTION_END = re.compile(rf"</(?:{_SPACED})?(?:function|invoke)>|</(?:\w+:)?tool_call>")
_ARGUMENT = re.compile(r"<arg_key>([^<>\n]{1,128})</arg_key>\s*<arg_value>")
_ARGUMENT_END = re.compile(r"</arg_value>(?=\s*(?:<arg_key>|</?tool_call>))")
_PYTHON_CALL = re.compile(r"([A-Za-z_][\w.]{0,127})\(")
_PYTHON_KEY = re.compile(r"([A-Za-z_]\w{0,127})\s{0,8}=(?!=)")
_THOUGHTS_END = re.compile(r"</think>|\[/THINK\]|</seed:think>")
_LINE_END = re.compile(r"[ \t]*+(?:\n|\Z|[<\[,;{])")
_FENCE_OPEN = re.compile(r"\s{0,64}(?:```\w{0,32}\s{0,64})?")
_FENCE_CLOSE = re.compile(r"\s{0,64}```")
_FENCED = {"", "json", "jsonc", "tool_call", "tool_calls", "tool_code", "tool"}


class _NotACallError(Exception):
    """What an opener opened is no call, or not surely a whole one.

    read: how far the text was read to see that. skip: there can be no call before that place.
    """

    def __init__(self, read: int, *, skip: bool = False) -> None:
        super().__init__()
        self.read = read
        self.skip = skip


Read: TypeAlias = tuple[list[Call], int]  # calls, and where the text goes on


def recover_calls(text: str, dialect: str) -> tuple[str, list[Call]]:
    """Find the tool calls in a text: `(the text without them, [(name, arguments), …])`.

    dialect: name of a vLLM tool parser, see `DIALECTS`. arguments: a dict as a rule; the bare value where the
    model wrote just that, as EXAONE 4.0 may for a tool with one parameter. Values of XML syntaxes are
    strings, since only the tool's schema says whether `007` is a number. Calls in thoughts count only when
    nothing follows the thoughts.
    Raises ValueError for an unknown dialect, and nothing else. Takes linear time.

    >>> recover_calls('Let me look. <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>', "hermes")
    ('Let me look.', [('f', {'x': 1})])
    """
    if dialect not in DIALECTS:
        raise ValueError(f"unknown dialect {dialect!r}; known are: {', '.join(sorted(DIALECTS))}")
    text = without_surrogates(text)
    found = _without_thoughts(text, _Search(text, DIALECTS[dialect]).run())
    if not found:
        return text, []
    return _rest(text, found), [call for _, _, calls in found for call in calls]


Found: TypeAlias = list[tuple[int, int, list[Call]]]  # start, end, calls


class _Search:
    """One pass over a text, from opener to opener."""

    def __init__(self, text: str, unmarked: str) -> None:
        self.text = text
        self.pythonic = unmarked == "pythonic"
        openers = {**_OPENERS, **({"bare": _BARE_JSON} if unmarked == "json" else {})}
        self.opener = re.compile("|".join(f"(?P<{name}>{regex})" for name, regex in openers.items()), re.MULTILINE)
        self.fenced_until = 0

    def run(self) -> Found:
        found: Found = []
        position = wasted = 0
        while match := self.opener.search(self.text, position):
            try:
                calls, end = self._read(match)
            except _NotACallError as error:
                position = match.end()
                wasted += max(error.read - position, 0)
                if error.skip:
                    position = max(position, error.read)
                if wasted > 4 * len(self.text) + 10_000:
                    break  # made to be read again and again; no model's text comes near
            else:
                position = _after(_TRAIL, self.text, end)
                found.append((match.start(), position, calls))
        return found

    def _read(self, match: re.Match[str]) -> Read:
        try:
            match match.lastgroup:
                case "fence":
                    return self._fence(match)
                case "line":
                    return self._line(match)
                case syntax:
                    return _READERS[syntax or ""](self.text, match)
        except LenientError as error:
            raise _NotACallError(error.position, skip=error.deep) from error

    def _fence(self, match: re.Match[str]) -> Read:
        """A code block that holds calls and nothing else; what lines any other block holds is no call."""
        if match.start() < self.fenced_until:
            raise _NotACallError(match.end())
        closing = self.text.find("\n```", match.end())
        self.fenced_until = len(self.text) if closing < 0 else closing + 4
        if match["language"].lower() not in _FENCED:
            raise _NotACallError(match.end())
        calls, end = self._unmarked(skip_space(self.text, match.end()))
        end = skip_space(self.text, end)
        if end < len(self.text) and not self.text.startswith("```", end):
            raise _NotACallError(end)
        return calls, min(end + 3, len(self.text))

    def _line(self, match: re.Match[str]) -> Read:
        """Calls on lines of their own; a tag or another, damaged call may follow in the same line."""
        if match.start() < self.fenced_until:
            raise _NotACallError(match.end())
        calls, end = self._unmarked(match.end() - 1)
        if not _LINE_END.match(self.text, end):
            raise _NotACallError(end, skip=True)
        return calls, end

    def _unmarked(self, position: int) -> Read:
        if self.pythonic and self.text.startswith("[", position) and _PYTHON_CALL.match(self.text, position + 1):
            return _python_calls(self.text, position)
        return _json_calls(self.text, position, bare=True)


# --- JSON --------------------------------------------------------------------------------------------


def _json_calls(text: str, position: int, *, bare: bool = False) -> Read:
    """The calls in JSON values that follow each other, or in an array. One damaged call costs no other.

    bare: no marker says that these are calls, so each must have both a name and an object of arguments.
    """
    position = skip_space(text, position)
    calls: list[Call] = []
    array = text.startswith("[", position)
    end = position = skip_space(text, position + array)
    while text.startswith("{", position):
        last = end
        try:
            value, end = _json_value(text, position)
        except LenientError:
            if calls:
                break
            raise
        found = _calls_of(value, bare)
        if bare and not found:
            if not calls:
                raise _NotACallError(end, skip=True)
            end = last
            break
        calls += found
        position = _after(_SEPARATOR, text, end)
    if not calls:
        raise _NotACallError(position, skip=True)
    if array and text.startswith("]", position):
        end = position + 1
    return calls, end


def _json_value(text: str, position: int) -> tuple[Any, int]:
    """One JSON object. Its last brace may lack where a closing tag or the arguments' brace is there."""
    try:
        value, end = read_value(text, position)
    except LenientError as error:
        if error.cut and text.rstrip().endswith("}"):
            return read_value(text + "}", position)[0], len(text)
        if error.cut or not _CLOSER.match(text, error.position):
            raise
        value, end = read_value(text, position, error.position, close=True)
        if skip_space(text, end) < error.position:
            raise error from None
    closer = _CLOSER.match(text, end)
    if closer and "}" in closer.group():  # a brace too many
        end += closer.group().rindex("}") + 1
    return value, end


def _calls_of(value: Any, bare: bool) -> list[Call]:
    """The calls that an object stands for: `{"name", "arguments"}` in its known variants."""
    if not isinstance(value, dict):
        return []
    if isinstance(listed := value.get("tool_calls"), list):
        return [call for item in listed for call in _calls_of(item, bare)]
    function = value.get("function")
    if isinstance(function, dict):
        value = function
    name = value.get("name", value.get("tool_name", function))
    key = next((key for key in ("arguments", "parameters") if key in value), None)
    if not isinstance(name, str) or not re.fullmatch(_NAME, name.strip()) or (bare and key is None):
        return []
    try:
        arguments = _arguments(value.get(key or ""))
    except LenientError:
        return []
    if bare and not isinstance(arguments, dict):
        return []
    return [(name.strip().removeprefix("functions."), arguments)]


def _arguments(value: Any) -> Any:
    """Arguments as an object, also when they were written as a string; any other value stays as it is."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if isinstance(value, str) and value.lstrip()[0] in "{[":
        return read_whole(value.strip())
    return value


def _read_json(text: str, match: re.Match[str]) -> Read:
    """Behind a marker: JSON, perhaps in a fence; or what EXAONE 4.0 is told it may write, a bare value."""
    position = _after(_FENCE_OPEN, text, match.end())
    if value := _BARE_VALUE.match(text, position):
        name, bare = value.groups()
        word = {"true": True, "false": False, "null": {}}.get(bare)
        if word is None:
            word = read_whole(bare) if re.fullmatch(r"-?\d{1,300}(?:\.\d{1,300})?", bare, re.ASCII) else bare
        return [(name, word)], value.end()
    calls, end = _json_calls(text, position)
    return calls, _after(_FENCE_CLOSE, text, end)


def _read_keyed(text: str, match: re.Match[str]) -> Read:
    """`[{"f": {"x": 1}}, …]`: each object has one key, the tool's name."""
    position = skip_space(text, match.end())
    value, end = read_value(text, position)
    calls: list[Call] = []
    for item in value if isinstance(value, list) else []:
        [(name, arguments)] = item.items() if isinstance(item, dict) and len(item) == 1 else [("", None)]
        if re.fullmatch(_NAME, name) and isinstance(arguments, dict):
            calls.append((name, arguments))
    if not calls:
        raise _NotACallError(end)
    return calls, end


def _read_named(text: str, match: re.Match[str]) -> Read:
    """A name in the opener, and the arguments' object behind it."""
    value, end = _json_value(text, skip_space(text, match.end()))
    if not isinstance(value, dict):
        raise _NotACallError(end)
    return [(match[f"{match.lastgroup}_name"], value)], _after(_FENCE_CLOSE, text, end)


def _read_bare(text: str, match: re.Match[str]) -> Read:
    return _json_calls(text, match.start(), bare=True)


# --- XML ---------------------------------------------------------------------------------------------


def _read_function(text: str, match: re.Match[str]) -> Read:
    """`<function=f><parameter=x>1</parameter></function>`, and the same as `<invoke name="f">`."""
    name = match[f"{match.lastgroup}_name"]
    arguments: dict[str, Any] = {}
    position = skip_space(text, match.end())
    if text.startswith("{", position):
        arguments, position = _json_value(text, position)
        position = skip_space(text, position)
    while parameter := _PARAMETER.match(text, position):
        end = _PARAMETER_END.search(text, parameter.end())
        if end is None:
            raise _NotACallError(len(text))
        key, string = parameter.groups()
        value: Any = text[parameter.end() : end.start()]
        if match.lastgroup == "function":
            value = value.removeprefix("\n").removesuffix("\n")  # the template writes them
        if string == "false":
            value = read_whole(value)
        if arguments.setdefault(key, value) != value:
            raise _NotACallError(position)
        position = skip_space(text, end.end())
    closing = _FUNCTION_END.match(text, position)
    if closing is None:
        raise _NotACallError(position)
    return [(name, arguments)], closing.end()


def _read_glm(text: str, match: re.Match[str]) -> Read:
    """`<tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>`."""
    arguments: dict[str, Any] = {}
    position = match.end()
    while key := _ARGUMENT.match(text, position):
        end = _ARGUMENT_END.search(text, key.end())
        if end is None:
            raise _NotACallError(len(text))
        value = text[key.end() : end.start()]
        if arguments.setdefault(key[1].strip(), value) != value:
            raise _NotACallError(position)
        position = skip_space(text, end.end())
    if not text.startswith(("</tool_call>", "<tool_call>"), position):
        raise _NotACallError(position)
    return [(match["glm_name"] or match["glm_bare"], arguments)], position


# --- Python ------------------------------------------------------------------------------------------


def _read_python(text: str, match: re.Match[str]) -> Read:
    return _python_calls(text, skip_space(text, match.end()))


def _python_calls(text: str, position: int) -> Read:
    """`[f(x=1), g(y="a")]`. Values are literals; nothing is evaluated."""
    calls: list[Call] = []
    end = position
    position += text.startswith("[", position)
    while call := _PYTHON_CALL.match(text, skip_space(text, position)):
        try:
            arguments, end = _python_arguments(text, call.end())
        except (LenientError, _NotACallError):
            if calls:
                break
            raise
        calls.append((call[1], arguments))
        position = _after(_SEPARATOR, text, end)
    if not calls:
        raise _NotACallError(position)
    return calls, position + 1 if text.startswith("]", position) else end


def _python_arguments(text: str, position: int) -> tuple[dict[str, Any], int]:
    arguments: dict[str, Any] = {}
    position = skip_space(text, position)
    while not text.startswith(")", position):
        key = _PYTHON_KEY.match(text, position)
        if key is None:
            raise _NotACallError(position)
        value, position = read_value(text, key.end())
        if arguments.setdefault(key[1], value) != value:
            raise _NotACallError(position)
        position = skip_space(text, position)
        if text.startswith(",", position):
            position = skip_space(text, position + 1)
        elif not text.startswith(")", position):
            raise _NotACallError(position)
    return arguments, position + 1


_READERS: dict[str, Callable[[str, re.Match[str]], Read]] = {
    "invoke": _read_function,
    "function": _read_function,
    "glm": _read_glm,
    "deepseek": _read_named,
    "kimi": _read_named,
    "mistral": _read_named,
    "python": _read_python,
    "json": _read_json,
    "keyed": _read_keyed,
    "bare": _read_bare,
}


# --- the text around ---------------------------------------------------------------------------------


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    """The end of what the pattern matches at the position, or the position."""
    match = pattern.match(text, position)
    return match.end() if match else position


def _without_thoughts(text: str, found: Found) -> Found:
    """The calls that are meant: one in thoughts that ended, and were followed, was only considered."""
    split, position = 0, 0
    for start, end in [*((start, end) for start, end, _ in found), (len(text), len(text))]:
        for closing in _THOUGHTS_END.finditer(text, position, start):  # a tag inside of a call is its own text
            split = closing.end()
        position = end
    if _after(_TRAIL, text, split) == len(text):
        return found
    return [one for one in found if one[0] >= split]


def _rest(text: str, found: Found) -> str:
    """The text without the calls and the tags around them."""
    pieces, position = [], 0
    for start, end, _ in found:
        piece = text[position:start].rstrip()
        while wrapper := next((tag for tag in _WRAPPERS if piece.endswith(tag)), ""):
            piece = piece.removesuffix(wrapper).rstrip()
        pieces.append(piece)
        position = end
    pieces.append(text[position:])
    return "\n".join(piece.strip() for piece in pieces if piece.strip())
