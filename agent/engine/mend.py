"""From what arrived to a `Reply`: thoughts where they belong, and lost or damaged calls found again.

vLLM's parsers, hermes above all, lose or cut calls in known cases; each mend leaves a note in the reply.
https://github.com/vllm-project/vllm/issues/10395, /21544, /28806, /32152, /39056
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable, Sequence

from fastslow.agent.engine.fenced import CLOSING_FENCE, CODE_TOOL, FILE_TOOL, STOP, fenced_tool, first_file
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.received import Received, ReceivedCall, as_count, as_mapping
from fastslow.agent.engine.recover import is_announced, lost_calls, recover_calls
from fastslow.agent.engine.types import NO_CALL, Reply, Request, Usage
from fastslow.agent.engine.wire import call_block, first_words, is_object
from fastslow.agent.transcript import ToolCall, ToolResult
from fastslow.tools.fenced import Block, first_block

# What ends a turn in a detokenized text: `<|im_end|>`, `[|endofturn|]`, `<|endoftext|>`. Looked for in its end alone.
_END = re.compile(r"(?:<\|[^<>]{0,60}\|>|\[\|[^\[\]]{0,60}\|\]|\s{1,60})\Z")
_FENCE = re.compile(r"^```[ \t]*(\w*)", re.MULTILINE)


def needs_raw(received: Received) -> bool:
    """Whether to read the answer again from its tokens: a call is no whole JSON, or no text came."""
    if any(not _is_whole(call) for call in received.calls):
        return True
    silent = not received.calls and not received.content.strip()
    return silent and received.finish != "length" and len(received.token_ids) > 1 + received.thinking_ids


def mend(received: Received, request: Request, profile: Profile, raw: str = "") -> Reply:
    """Turn what arrived into a reply. raw: the text before any parser, where `needs_raw` asked for it."""
    notes: list[str] = []
    cut = received.finish == "length"
    opened = first_words(request, profile)
    text = received.content + (CLOSING_FENCE if received.stop_string == STOP else "")
    if not request.mode.thinks:
        text = opened + text
    reasoning, content = _split(received.reasoning, text, request, profile, notes)
    calls, dropped = _mend_calls(received.calls, raw, request, profile, cut, notes)
    if fenced_tool(profile, request.tools) == CODE_TOOL:
        reasoning, content = _move_code_out_of_thoughts(reasoning, content)
    if not calls and request.schema is None:
        content, calls, lost = _find_calls(content, reasoning, request, profile, cut, notes)
        dropped += lost
    if not content and not calls and not cut:
        content = _visible_answer(raw, request, profile)
        if content:
            notes.append("The server gave no text; it was read again from the tokens.")
    if calls and calls[0].form == "native":
        content = content.removesuffix("\n") if content.strip() else ""
    return Reply(
        content=content,
        reasoning=(opened + reasoning).strip() if reasoning.strip() else "",
        calls=_with_unique_ids(calls, request),
        finish="length" if cut else "stop",
        dropped=tuple(name for name in dropped if name),
        notes=tuple(notes),
    )


def _split(reasoning: str, content: str, request: Request, profile: Profile, notes: list[str]) -> tuple[str, str]:
    """Thoughts and text, each where it belongs, whatever the server's reasoning parser did."""
    if not reasoning:
        reasoning, content = _split_tags(content, profile, request)
        if reasoning:
            notes.append("Thoughts stood in the content; the server needs --reasoning-parser.")
    elif not content.strip() and not request.mode.thinks:
        # https://github.com/vllm-project/vllm/issues/19222
        reasoning, content = "", reasoning
        notes.append("A fast answer stood in the reasoning; the server's --reasoning-parser does not fit the model.")
    if profile.switch == "template":  # the model never learned the tags and may drop one anywhere
        for tag in profile.tags:
            content = content.replace(tag, "")
    if reasoning:
        content = content.lstrip("\n")  # the blank line behind the closing tag; the template writes its own
    return reasoning, content


def _move_code_out_of_thoughts(reasoning: str, content: str) -> tuple[str, str]:
    """Code that was begun in the thoughts stands whole in the answer: they may end within a block, for their budget or
    for the stop string."""
    block, fence = first_block(reasoning), _FENCE.search(content)
    if not block or block.closed or not fence or fence.group(1):
        return reasoning, content
    begun = "" if content[: fence.start()].strip() else f"{block.code}\n"  # behind a budget it begins anew
    return reasoning[: block.start], f"```{CODE_TOOL}\n{begun}{content}"


def _split_tags(text: str, profile: Profile, request: Request) -> tuple[str, str]:
    """Cut `<think>...</think>` off the front of a text; the opening tag may have been part of the prompt."""
    opening, closing = profile.tags
    opened = text.lstrip().startswith(opening)
    if opened or (request.mode.thinks and closing in text):
        thoughts, closed, rest = text.partition(closing)
        thoughts = thoughts.strip().removeprefix(opening)
        return (thoughts, rest.lstrip("\n")) if closed else (thoughts, "")
    return "", text


def _visible_answer(raw: str, request: Request, profile: Profile) -> str:
    """The visible part of a generated text; a thinking turn that never closed its thoughts has none."""
    if request.mode.thinks and profile.tags[1] not in raw:
        return ""
    end = len(raw)
    while ending := _END.search(raw, max(end - 64, 0), end):
        end = ending.start()
    return _split_tags(raw[:end], profile, request)[1]


def _mend_calls(
    parsed: Sequence[ReceivedCall], raw: str, request: Request, profile: Profile, cut: bool, notes: list[str]
) -> tuple[list[ToolCall], list[str]]:
    """The calls that the server's parser gave, where those that it damaged are read again from the raw text; and the
    names of those that cannot be made."""
    names = {tool.name for tool in request.tools}
    whole = [call for call in parsed if _is_whole(call)]
    dropped = []
    if cut and len(whole) < len(parsed):  # half a call is no call, even where its JSON could be completed
        notes.append("The answer was cut off inside of a call, which was dropped.")
        dropped = [call.name for call in parsed if not _is_whole(call)]
    elif not cut and (len(whole) < len(parsed) or (raw and not parsed)):
        _, found = _recover(raw, request, profile)
        if found and len(found) >= len(whole):
            notes.append(
                f"{_count(found)} read again from the tokens, as the server's tool parser damaged or lost them."
            )
            return found, []
        # Nothing better is known: the arguments stay as they came, and the tool's error text tells the model.
        whole = [call for call in parsed if call.name]
        dropped = ["a call without a name"] * (len(whole) < len(parsed))
    return [ToolCall(call.id, _tool_name(call.name, names), call.arguments.strip() or "{}") for call in whole], dropped


def _tool_name(said: str, names: Collection[str]) -> str:
    """The tool that is meant: Kimi's parser leaves `functions.f:0` as it stands, others leave blanks."""
    bare = re.sub(r":\d{1,9}\Z", "", said.strip().removeprefix("functions."))
    return bare if bare in names and said not in names else said


def _is_whole(call: ReceivedCall) -> bool:
    return bool(call.name) and is_object(call.arguments)


def _find_calls(
    content: str, reasoning: str, request: Request, profile: Profile, cut: bool, notes: list[str]
) -> tuple[str, list[ToolCall], list[str]]:
    """Calls that stand in the text: as a code block, or in the call syntax, unseen by the server; the text without
    them; and the names of those that are not made: cut off, or code behind a call."""
    fenced = fenced_tool(profile, request.tools) if request.force != NO_CALL else ""  # an answer may show code
    if fenced == FILE_TOOL and (file := first_file(content)):
        given = {"path": file.path, "content": file.content} if file.path else {"content": file.content}
        return content[: file.end], [ToolCall("", FILE_TOOL, json.dumps(given, ensure_ascii=False), form="fenced")], []
    block = first_block(content) if fenced == CODE_TOOL else None
    if block and _is_json(block):
        block = None
    rest, found = _recover(content[: block.start] if block else content, request, profile)
    lost = [call.name for call in found if cut and not is_object(call.arguments)]
    if found := [call for call in found if not cut or is_object(call.arguments)]:
        if not call_block(profile, request):
            notes.append(f"{_count(found)} found again in the content.")
        return rest, found, [*lost, *([CODE_TOOL] if block else [])]
    if block and block.code.strip() and (block.closed or not cut):
        arguments = json.dumps({"code": block.code}, ensure_ascii=False)
        return content[: block.end], [ToolCall("", CODE_TOOL, arguments, form="fenced")], []
    if content.strip() or cut:
        return content, [], [*lost, *([CODE_TOOL] if block else [])]
    _, found = _recover(reasoning, request, profile)
    if found:
        notes.append(f"{_count(found)} found again in the reasoning.")
    return content, found, []


def _recover(text: str, request: Request, profile: Profile) -> tuple[str, list[ToolCall]]:
    """Calls in a text, and the text without them.

    One that no marker announces counts only where it names an offered tool. One that cannot be
    read is a call all the same, with its own text for arguments: it must not pass for the answer, and the error
    that it gets tells the model why.
    """
    names = {tool.name for tool in request.tools}
    if not names or not text:
        return text, []
    marked = is_announced(text, profile.dialect)
    lost = lost_calls(text, profile.dialect) if marked else []
    rest, found = recover_calls(text, profile.dialect)
    calls = [
        ToolCall("", name, json.dumps(arguments, ensure_ascii=False))
        for name, arguments in found
        if marked or name in names
    ]
    if not calls:
        rest = text
    for n, call in enumerate(lost):
        calls.insert(call.earlier + n, ToolCall("", call.name, call.said))
    if lost:
        rest = lost[0].before
    return rest, calls


def _is_json(block: Block) -> bool:
    """A call written into a nameless block, which is no code."""
    return is_object(block.code)


def _count(calls: list[ToolCall]) -> str:
    return "1 call was" if len(calls) == 1 else f"{len(calls)} calls were"


def _with_unique_ids(calls: Iterable[ToolCall], request: Request) -> tuple[ToolCall, ...]:
    """Every id once in the whole history, or results could not be told apart."""
    taken = {message.call_id for message in request.messages if isinstance(message, ToolResult)}
    unique = []
    for call in calls:
        id_ = call.id if call.id and call.id not in taken else f"call_{secrets.token_hex(6)}"
        taken.add(id_)
        unique.append(ToolCall(id_, call.name, call.arguments, call.form))
    return tuple(unique)


def count_usage(received: Received, thinking: int, seconds: float) -> Usage:
    """Tokens of one call. thinking: counted by the caller, for a server that counts none."""
    details = as_mapping(received.usage.get("completion_tokens_details"))
    answered = as_count(received.usage.get("completion_tokens")) or len(received.token_ids)
    thought = min(as_count(details.get("reasoning_tokens")) or thinking, answered)
    cached = as_count(as_mapping(received.usage.get("prompt_tokens_details")).get("cached_tokens"))
    return Usage(as_count(received.usage.get("prompt_tokens")), cached, thought, answered - thought, seconds)
