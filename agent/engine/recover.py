"""Tool calls that stand in a text because the server's parser lost them.

Every syntax that a marker announces (`<tool_call>`, `<function=`, `<|tool_call_begin|>` …) is known whatever
the dialect, since models mix them. JSON without a marker counts on lines or in a fence of its own; anywhere,
and calls like `[f(x=1)]`, where the dialect says so. A call counts when its end is certain: half a call is
never returned, and one that follows a damaged one is still found.
"""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeAlias

from fastslow.agent.engine.syntaxes import (
    GAP,
    MINIMAX,
    NAME,
    SEPARATOR,
    SPACED,
    SUFFIX,
    Call,
    NotACallError,
    Read,
    after,
    calls_python,
    python_calls,
    read_elements,
    read_gemma,
    read_glm,
    read_parameters,
    read_typed,
)
from fastslow.tools.lenient import LenientError, read_value, read_whole, skip_space, without_surrogates

# Names of vLLM's tool parsers, each with what counts in it without a marker.
# https://docs.vllm.ai/en/stable/features/tool_calling/
DIALECTS: dict[str, str] = {
    **dict.fromkeys(("hermes", "qwen3_json", "ernie45", "longcat", "granite", "granite4", "granite-20b-fc"), ""),
    **dict.fromkeys(("qwen3_xml", "qwen3_coder", "seed_oss", "step3p5", "mimo", "glm45", "glm47", "ling3"), ""),
    **dict.fromkeys(("deepseek_v3", "deepseek_v31", "deepseek_v32", "deepseek_v4", "kimi_k2", "minimax_m2"), ""),
    **dict.fromkeys(("mistral", "jamba", "hunyuan_a13b", "phi4_mini_json", "internlm", "apertus", "gigachat3"), ""),
    **dict.fromkeys(("cohere_command3", "cohere_command4", "deepseek_v41", "dots", "minimax_m3", "minicpm5"), ""),
    **dict.fromkeys(("step3", "muse_glimmer", "poolside_v1", "hy_v3", "hy_v4", "k2_horizon"), ""),
    **dict.fromkeys(("gemma4", "functiongemma", "kimi_k3", "inkling", "plamo3", "openai", "minimax"), ""),
    "hf": "",  # whatever syntax the model's tokenizer describes
    **dict.fromkeys(("llama3_json", "llama4_json", "xlam"), "json"),
    **dict.fromkeys(("pythonic", "llama4_pythonic", "lfm2", "olmo3"), "pythonic"),
}

_STEPS = r"[^{}<>]{0,64}"  # what stands between the tags of a head
# The reader of each syntax is `_READERS[group]`. Every repetition is bounded, so a search takes linear time.
_OPENERS = {
    "fence": r"^[ \t]{0,64}```(?P<language>[\w+-]{0,32})[ \t]{0,64}$",
    "elements": rf"{MINIMAX}<invoke\s{{1,8}}name=[\"']?(?P<elements_name>{NAME})[\"']?>",
    "invoke": rf"<(?:(?:{SPACED})?invoke|function)\s{{1,8}}name{GAP}={GAP}[\"']?(?P<invoke_name>{NAME})[\"']?{GAP}>",
    "function": rf"<function{GAP}={GAP}[\"']?(?P<function_name>{NAME})[\"']?{GAP}>",
    "glm": rf"(?:<(?:ifm\|)?tool_call{SUFFIX}>{GAP}(?P<glm_name>{NAME}){GAP}(?:<tool_sep{SUFFIX}>{GAP})?"
    rf"(?=<(?:ifm\|)?arg_key{SUFFIX}>|</(?:ifm\|)?tool_call{SUFFIX}>)|^(?P<glm_bare>{NAME}){GAP}(?=<arg_key>))",
    "plain": rf"<tool_call>{GAP}(?P<plain_name>{NAME}){GAP}(?=\{{)",
    "deepseek": rf"<｜tool▁call▁begin｜>{GAP}(?:\w{{1,64}}<｜tool▁sep｜>)?(?P<deepseek_name>{NAME}){GAP}"
    rf"(?:<｜tool▁sep｜>{GAP})?(?:```json{GAP})?(?=\{{|<｜tool▁call▁end｜>)",
    "kimi": rf"(?:<\|tool_call_begin\|>{GAP}(?:functions\.)?|\bfunctions\.)(?P<kimi_name>[\w.-]{{1,128}})"
    rf"(?::\d{{1,9}})?{GAP}<\|tool_call_argument_begin\|>",
    "typed": r"<\|open\|>\s?call\s{1,8}tool=\"(?P<typed_name>[^\"\n]{1,128})\"[^<>\n]{0,64}<\|sep\|>",
    "mistral": rf"\[TOOL_CALLS\]{GAP}(?P<mistral_name>[\w.-]{{1,128}})(?:\[CALL_ID\][\w-]{{0,64}})?"
    rf"(?:\[ARGS\])?{GAP}(?=\{{)",
    "gemma": rf"(?:<\|tool_call>{GAP}(?:call)?:|<start_function_call>{GAP}call:){GAP}(?P<gemma_name>{NAME}){GAP}"
    r"(?=\{)",
    "harmony": rf"\bto=functions\.(?P<harmony_name>[\w.-]{{1,128}}){_STEPS}"
    rf"(?:<\|(?:channel|constrain)\|>{_STEPS}){{0,3}}<\|message\|>{GAP}(?=\{{)",
    "plamo": rf"<\|plamo:begin_tool_name:plamo\|>{GAP}(?P<plamo_name>{NAME}){GAP}<\|plamo:end_tool_name:plamo\|>"
    rf"(?:{GAP}<\|plamo:\w{{1,40}}(?::plamo)?\|>(?:json)?){{1,4}}{GAP}(?=\{{)",
    "python": r"<\|tool_call_start\|>|<\|python_start\|>|<function_calls>",
    "json": rf"<(?:ifm\|)?tool_call{SUFFIX}>|<\|tool_call\|>|<function_call>|<longcat_tool_call>|<seed:tool_call>"
    r"|<tool_calls>|<TOOLCALL>|<\|python_tag\|>|\[TOOL_CALLS\]|\bfunctools(?=\[)|<\|START_ACTION\|>"
    r"|<\|action_start\|>\s?<\|plugin\|>|<\|function_call\|>|\bfunction call<\|role_sep\|>"
    r"|<\|content_invoke_tool_json\|>",
    "keyed": r"<\|tools_prefix\|>",
    "line": r"^[ \t]{0,64}[{\[]",
}
_BEGINNING = r"[<\[\]{ft]|^"  # of any of them: most places of a text need no other look
_BARE_JSON = r"\{\s{0,64}[\"'](?:name|type|function|arguments|parameters)[\"']"
_UNMARKED = ("fence", "line", "bare")

_WRAPPER = re.compile(
    rf"(?:<(?:{SPACED}|longcat_)?tool_calls?{SUFFIX}>|<tools>|<function>|<｜tool▁calls▁begin｜>"
    r"|<\|tool_calls_section_begin\|>|<atem:function_calls>|<dots_function_call>|<｜tool_calls_begin｜>"
    r"|<｜tool_call_begin｜>function<｜tool_sep｜>|<｜DSML｜ ?(?:function_calls|toolcalls|calls|tool)>"
    r"|\]<\]minimax\[>\[<tool_call>|<\|open\|>\s?tools\s?<\|sep\|>|<\|message_model\|>"
    r"|(?:<\|start\|>assistant\s?)?<\|channel\|>commentary|<\|start\|>assistant"
    r"|<\|plamo:begin_tool_requests?:plamo\|>)\s*\Z"
)
_CLOSING = (
    rf"</(?:{SPACED})?(?:(?:longcat_)?tool_?calls?|TOOLCALL|calls|(?:dots_)?function(?:_calls?)?|invoke|tools?|s)"
    rf"{SUFFIX}>|{MINIMAX}</tool_call>|<tool_call\|>|<end_function_call>|<\|/tool_call\|>|<\|call\|>"
    r"|<\|plamo:end_\w{1,40}:plamo\|>|<\|close\|>\s?tools\s?<\|sep\|>|<\|(?:end_message|content_model_end_sampling)\|>"
    r"|<\|[\w./-]{1,40}_(?:end|suffix)\|>|<\|END_ACTION\|>|<｜[^<>｜\n]{1,40}[▁_]end｜>"
)
_CLOSER = re.compile(rf"[\s}}]{{0,64}}(?:{_CLOSING}|```)")
_TRAIL = re.compile(
    rf"(?:\s|{_CLOSING}|<\|(?:im_end|eot_id|eom_id|endoftext)\|>|<｜end▁of▁sentence｜>|\[\|endofturn\|\])*+"
)
_BARE_VALUE = re.compile(
    rf"\{{{GAP}\"name\"{GAP}:{GAP}\"({NAME})\"{GAP},{GAP}\"(?:arguments|parameters)\"{GAP}:{GAP}"
    rf"([^\"'{{}}\[\]<>\n]{{1,500}}?){GAP}\}}{GAP}(?=</tool_call>)"
)
_THOUGHTS_END = re.compile(r"</think>|\[/THINK\]|</seed:think>")
_LINE_END = re.compile(r"[ \t]*+(?:\n|\Z|[<\[,;{])")
_FENCE_OPEN = re.compile(r"\s{0,64}(?:```\w{0,32}\s{0,64})?")
_FENCE_CLOSE = re.compile(r"\s{0,64}```")
_FENCED = {"", "json", "jsonc", "tool_call", "tool_calls", "tool_code", "tool"}
# Of a call's object: what may stand beside the arguments, and what the arguments are called, where a marker says that
# this is a call.
_ENVELOPE = {"name", "tool_name", "function", "id", "tool_call_id", "type", "index"}
_KEYS = ("arguments", "parameters", "args", "input")
_SAID_NAME = re.compile(rf"[\"'](?:tool_)?name[\"']{GAP}:{GAP}[\"']({NAME})[\"']")


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
    search = _Search(text, DIALECTS[dialect])
    found = _without_thoughts(text, search.run())
    if not found and dialect == "olmo3":
        found = search.lines()
    if not found:
        return text, []
    return _rest(text, found), [call for _, _, calls in found for call in calls]


@dataclass(frozen=True, slots=True)
class LostCall:
    """A call that cannot be read. before: the text before it, without calls; earlier: how many calls those are. said:
    its own text."""

    before: str
    earlier: int
    name: str
    said: str


def lost_calls(text: str, dialect: str) -> list[LostCall]:
    """The calls in a text that a marker announces and that cannot be read; what lies between two others is one.

    Such a call is no answer: its text is for the error that the model is shown. One that does not say which tool it
    calls is none.

    >>> lost_calls('So: <tool_call>{"name": "f", "arguments": {"x": oops}}</tool_call>', "hermes")
    [LostCall(before='So:', earlier=0, name='f', said='{"name": "f", "arguments": {"x": oops}}</tool_call>')]
    """
    text = without_surrogates(text)
    search = _Search(text, DIALECTS[dialect])
    found = search.run()
    starts = [start for start, _, _ in found]
    lost: dict[int, LostCall] = {}
    for match, name, begin in search.announced():
        following = bisect_right(starts, match.start())
        if following in lost or (following and match.start() < found[following - 1][1]):
            continue  # told already, or it can be read
        before = [one for one in _without_thoughts(text, found) if one[0] < match.start()]
        end = starts[following] if following < len(starts) else len(text)
        rest = _rest(text, [*before, (match.start(), len(text), [])])
        earlier = sum(len(calls) for _, _, calls in before)
        lost[following] = LostCall(rest, earlier, name, text[begin:end].strip())
    return list(lost.values())


def is_announced(text: str, dialect: str) -> bool:
    """Whether a marker in a text announces a call that says which tool it calls, readable or not."""
    return next(_Search(text, DIALECTS[dialect]).announced(), None) is not None


Found: TypeAlias = list[tuple[int, int, list[Call]]]  # start, end, calls


class _Search:
    """One pass over a text, from opener to opener."""

    def __init__(self, text: str, unmarked: str) -> None:
        self.text = text
        self.pythonic = unmarked == "pythonic"
        openers = {**_OPENERS, **({"bare": _BARE_JSON} if unmarked == "json" else {})}
        each = "|".join(f"(?P<{name}>{regex})" for name, regex in openers.items())
        self.opener = re.compile(f"(?={_BEGINNING})(?:{each})", re.MULTILINE)
        self.fenced_until = 0

    def run(self) -> Found:
        found: Found = []
        position = wasted = 0
        while match := self.opener.search(self.text, position):
            try:
                calls, end = self._read(match)
            except NotACallError as error:
                position = match.end()
                wasted += max(error.read - position, 0)
                if error.skip:
                    position = max(position, error.read)
                if wasted > 4 * len(self.text) + 10_000:
                    break  # made to be read again and again; no model's text comes near
            else:
                position = after(_TRAIL, self.text, end)
                found.append((match.start(), position, calls))
        return found

    def announced(self) -> Iterator[tuple[re.Match[str], str, int]]:
        """The markers behind which a name follows, each with it, and where the call's own text begins."""
        openers = self.opener.finditer(self.text)
        marked = (match for match in openers if match.lastgroup not in _UNMARKED)
        for match, following in pairwise(chain(marked, [None])):
            assert match is not None  # noqa: S101 - only the last one is
            until = following.start() if following else len(self.text)
            name = match.groupdict().get(f"{match.lastgroup}_name") or match["glm_bare"]
            said = _SAID_NAME.search(self.text, match.end(), until)
            if name or said:
                yield match, name or (said[1] if said else ""), match.start() if name else match.end()

    def lines(self) -> Found:
        """The whole text, where it is calls in Python, one a line, and nothing else."""
        start = max((closing.end() for closing in _THOUGHTS_END.finditer(self.text)), default=0)
        try:
            calls, end = python_calls(self.text, skip_space(self.text, start))
        except (NotACallError, LenientError):
            return []
        return [(start, len(self.text), calls)] if after(_TRAIL, self.text, end) == len(self.text) else []

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
            raise NotACallError(error.position, skip=error.deep) from error

    def _fence(self, match: re.Match[str]) -> Read:
        """A code block that holds calls and nothing else; what lines any other block holds is no call."""
        if match.start() < self.fenced_until:
            raise NotACallError(match.end())
        closing = self.text.find("\n```", match.end())
        self.fenced_until = len(self.text) if closing < 0 else closing + 4
        if match["language"].lower() not in _FENCED:
            raise NotACallError(match.end())
        calls, end = self._unmarked(skip_space(self.text, match.end()))
        end = skip_space(self.text, end)
        if end < len(self.text) and not self.text.startswith("```", end):
            raise NotACallError(end)
        return calls, min(end + 3, len(self.text))

    def _line(self, match: re.Match[str]) -> Read:
        """Calls on lines of their own; a tag or another, damaged call may follow in the same line."""
        if match.start() < self.fenced_until:
            raise NotACallError(match.end())
        calls, end = self._unmarked(match.end() - 1)
        if not _LINE_END.match(self.text, end):
            raise NotACallError(end, skip=True)
        return calls, end

    def _unmarked(self, position: int) -> Read:
        if self.pythonic and calls_python(self.text, position):
            return python_calls(self.text, position)
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
                raise NotACallError(end, skip=True)
            end = last
            break
        calls += found
        position = after(SEPARATOR, text, end)
    if not calls:
        raise NotACallError(position, skip=True)
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
    keys = [key for key in (_KEYS[:2] if bare else _KEYS) if key in value]
    key = keys[0] if keys else None
    if not isinstance(name, str) or not re.fullmatch(NAME, name.strip()) or (bare and key is None):
        return []
    if any(value[other] != value[key] for other in keys) or not (key or value.keys() <= _ENVELOPE):
        return []  # two objects of arguments, or arguments that stand beside the name
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
    position = after(_FENCE_OPEN, text, match.end())
    if value := _BARE_VALUE.match(text, position):
        name, bare = value.groups()
        word = {"true": True, "false": False, "null": {}}.get(bare)
        if word is None:
            word = read_whole(bare) if re.fullmatch(r"-?\d{1,300}(?:\.\d{1,300})?", bare, re.ASCII) else bare
        return [(name, word)], value.end()
    if calls_python(text, position):
        return python_calls(text, position)
    calls, end = _json_calls(text, position)
    return calls, after(_FENCE_CLOSE, text, end)


def _read_keyed(text: str, match: re.Match[str]) -> Read:
    """`[{"f": {"x": 1}}, …]`: each object has one key, the tool's name."""
    position = skip_space(text, match.end())
    value, end = read_value(text, position)
    calls: list[Call] = []
    for item in value if isinstance(value, list) else []:
        [(name, arguments)] = item.items() if isinstance(item, dict) and len(item) == 1 else [("", None)]
        if re.fullmatch(NAME, name) and isinstance(arguments, dict):
            calls.append((name, arguments))
    if not calls:
        raise NotACallError(end)
    return calls, end


def _read_named(text: str, match: re.Match[str]) -> Read:
    """A name in the opener, and behind it the arguments' object, or the call's end where it has no arguments."""
    position = skip_space(text, match.end())
    if text.startswith(("<|tool_call_end|>", "<｜tool▁call▁end｜>"), position):
        return [(match[f"{match.lastgroup}_name"], {})], position
    value, end = _json_value(text, position)
    if not isinstance(value, dict):
        raise NotACallError(end)
    return [(match[f"{match.lastgroup}_name"], value)], after(_FENCE_CLOSE, text, end)


def _read_bare(text: str, match: re.Match[str]) -> Read:
    return _json_calls(text, match.start(), bare=True)


def _read_function(text: str, match: re.Match[str]) -> Read:
    """`<function=f><parameter=x>1</parameter></function>`, or with one JSON object in it; the same as `<invoke>`."""
    position = skip_space(text, match.end())
    arguments: dict[str, Any] = {}
    if text.startswith("{", position):
        arguments, position = _json_value(text, position)
        position = skip_space(text, position)
    arguments, end = read_parameters(text, position, arguments, lines=match.lastgroup == "function")
    return [(match[f"{match.lastgroup}_name"], arguments)], end


def _read_python(text: str, match: re.Match[str]) -> Read:
    """Behind a marker: calls in Python, or in JSON all the same."""
    position = skip_space(text, match.end())
    return python_calls(text, position) if calls_python(text, position) else _json_calls(text, position)


_READERS: dict[str, Callable[[str, re.Match[str]], Read]] = {
    "elements": read_elements,
    "invoke": _read_function,
    "function": _read_function,
    "glm": read_glm,
    "typed": read_typed,
    "gemma": read_gemma,
    **dict.fromkeys(("plain", "deepseek", "kimi", "mistral", "harmony", "plamo"), _read_named),
    "python": _read_python,
    "json": _read_json,
    "keyed": _read_keyed,
    "bare": _read_bare,
}


# --- the text around ---------------------------------------------------------------------------------


def _without_thoughts(text: str, found: Found) -> Found:
    """The calls that are meant: one in thoughts that ended, and were followed, was only considered."""
    split, position = 0, 0
    for start, end in [*((start, end) for start, end, _ in found), (len(text), len(text))]:
        for closing in _THOUGHTS_END.finditer(text, position, start):  # a tag inside of a call is its own text
            split = closing.end()
        position = end
    if after(_TRAIL, text, split) == len(text):
        return found
    return [one for one in found if one[0] >= split]


def _rest(text: str, found: Found) -> str:
    """The text without the calls and the tags around them."""
    pieces, position = [], 0
    for start, end, _ in found:
        piece = text[position:start].rstrip()
        while wrapper := _WRAPPER.search(piece, max(len(piece) - 100, 0)):
            piece = piece[: wrapper.start()].rstrip()
        pieces.append(piece)
        position = end
    pieces.append(text[position:])
    return "\n".join(piece.strip() for piece in pieces if piece.strip())
