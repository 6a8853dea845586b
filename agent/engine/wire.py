"""What goes over the wire to `/v1/chat/completions`: messages, tools and every setting of a turn.

Field names and traps: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/ . vLLM accepts unknown
fields in silence, so a misspelt one does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from fastslow.agent.engine.fenced import CODE_TOOL, FILE_TOOL, OPENING_FENCE, STOP, fenced_tool
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.types import ANY, NO_CALL, Request
from fastslow.agent.errors import ContextOverflow
from fastslow.agent.modes import Mode
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User
from fastslow.tools import Tool

# The server ends an answer that goes round in circles: 8 times the same 32 to 64 tokens. Each shorter circle is one of
# these, too, as some multiple of it is 32 to 64 long; so 256 tokens of one word, or 512 of a long sentence, are enough.
# Code and data repeat less than that. A check costs the server 10 microseconds a token (vLLM's `check_stop`, measured).
REPETITION = {"min_pattern_size": 32, "max_pattern_size": 64, "min_count": 8}
CACHED = 4096  # messages: the histories of 256 runs; each holds its text for as long
TEMPLATE_TOKENS = 1024  # what a chat template adds of its own, generously
CALL = '{"name": "'  # how a call begins in a block
END_OF_TEXT = "<|endoftext|>"  # of ChatML models; no stop token beside the one that ends a turn
LEAST_ANSWER = 32  # tokens; with less room than this a turn is not worth sending


def encode_history(history: Sequence[Message], profile: Profile) -> list[dict[str, Any]]:
    """Messages as the server wants them. The dicts are shared between calls: do not change them."""
    users = [n for n, message in enumerate(history) if isinstance(message, User)] if profile.replay else []
    last_user = max(users, default=-1)
    return [
        encoded
        for n, message in enumerate(history)
        if (encoded := _encode(message, profile.renders_calls, profile.replay and n > last_user))
    ]


@lru_cache(maxsize=CACHED)
def _encode(message: Message, renders_calls: bool, replay: bool) -> dict[str, Any] | None:
    match message:
        case System(content):
            return {"role": "system", "content": content}
        case User(content):
            return {"role": "user", "content": content}
        case ToolResult(call_id, name, content):
            return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}
        case Assistant():
            return _encode_assistant(message, renders_calls, replay)


@lru_cache(maxsize=CACHED)
def size(message: Message) -> int:
    """A message's texts in bytes of UTF-8, with something for the template around it."""
    text = message.content
    if isinstance(message, Assistant):
        text += message.reasoning + "".join(call.name + call.arguments for call in message.calls)
    return len(text.encode("utf-8", "replace")) + 64


def most_tokens(request: Request) -> int:
    """A bound of the prompt's tokens, for nothing: no tokenizer makes more tokens than a text has bytes."""
    return TEMPLATE_TOKENS + sum([tool.size for tool in request.tools]) + sum(map(size, request.messages))


def _encode_assistant(message: Assistant, renders_calls: bool, replay: bool) -> dict[str, Any] | None:
    """A past turn. None for an empty one: EXAONE 4.0's template would drop its think tags."""
    calls = [call for call in message.calls if call.form == "native"]  # a fenced call's text is in the content
    content = message.content
    if calls and not renders_calls:
        content = "\n".join([*([content] if content else []), *map(_call_text, calls)])
        calls = []
    if not content.strip() and not calls:
        return None
    encoded: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        encoded["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _valid_arguments(call)}}
            for call in calls
        ]
    if replay and message.reasoning:
        encoded["reasoning"] = message.reasoning
    return encoded


def _valid_arguments(call: ToolCall) -> str:
    """Arguments as the model wrote them, or `{}`: bad ones make servers answer 400 for ever.

    vLLM shows the model `{}` in their place anyway, so the error text of the tool result must quote them.
    https://github.com/huggingface/physics-intern/issues/14
    """
    return call.arguments if is_object(call.arguments) else "{}"


def _call_text(call: ToolCall) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {_valid_arguments(call)}}}\n</tool_call>'


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON, and templates and servers fail on it")


def is_object(text: str) -> bool:
    """Whether a text is one whole JSON object."""
    try:
        return isinstance(json.loads(text, parse_constant=_no_json), dict)
    except (ValueError, RecursionError):
        return False


def template_kwargs(profile: Profile, mode: Mode, opening: str = "") -> dict[str, Any]:
    """The mode switch, sent on every request: the server's parsers read it too, and defaults differ."""
    switch = {} if profile.switch == "none" else {profile.kwarg: mode.thinks}
    opened = {"opening": opening} if opening else {}
    return {**switch, **opened, **profile.extra_kwargs}


def encode_request(
    request: Request, profile: Profile, model: str, left: int, budgeted: bool, ids: Mapping[str, int] = {}
) -> dict[str, Any]:
    """The body of one streamed call.

    left: tokens of the context behind the prompt. budgeted: the server takes `thinking_token_budget` (it
    answers 400 where no reasoning parser tells it the tags). ids: of the profile's `block` tags that are one token.
    Raises ContextOverflow when there is no room for an answer.
    """
    thinks = request.mode.thinks and profile.switch != "none"
    budget, max_tokens = _token_limits(request, profile, left)
    sampling = profile.think if thinks else profile.fast
    body: dict[str, Any] = {
        "model": model,
        "messages": encode_history(request.messages, profile),
        "max_tokens": max_tokens,
        "temperature": sampling.temperature if request.temperature is None else request.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "chat_template_kwargs": template_kwargs(profile, request.mode, first_words(request, profile)),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
        "repetition_detection": REPETITION,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if thinks and budgeted:
        body["thinking_token_budget"] = budget
    if profile.switch == "template":  # what a model writes that never learned the tags, or behind thoughts cut off
        body["bad_words"] = [END_OF_TEXT] if thinks else list(profile.tags)
    if tools := told_tools(profile, request.tools):
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request, profile)
    if block := call_block(profile, request):
        body |= {"tool_choice": "none", "structured_outputs": {"structural_tag": _call_grammar(request, block, ids)}}
    if request.schema is not None:
        schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif (fenced := fenced_tool(profile, request.tools)) and request.force in (None, fenced):
        body["stop"] = [STOP]
    return body


def encode_choice(request: Request, profile: Profile, tokens: Mapping[str, int]) -> dict[str, Any]:
    """The body that asks for one token, the first of a tool's name in a call, and for the log probabilities of some."""
    lead = f"{profile.block[0] if profile.block else ''}\n{CALL}"
    body: dict[str, Any] = {
        "messages": encode_history((*request.messages, Assistant(lead)), profile),
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "logprob_token_ids": sorted(set(tokens.values()) - {0}),
        "chat_template_kwargs": template_kwargs(profile, request.mode),
    }
    if request.tools:
        body |= {"tools": [tool.spec for tool in request.tools], "tool_choice": "none"}
    return body


def logprobs_of(answer: Mapping[str, Any], tokens: Mapping[str, int]) -> dict[str, float]:
    """What the answer to `encode_choice` says of each choice; empty where it says nothing of one of them. Of choices
    that begin with the same token the first stands for all, so that the probabilities can be summed."""
    try:
        told = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        by_text = {str(each["token"]): float(each["logprob"]) for each in told}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
    begun = {choice: [text for text in by_text if text and choice.startswith(text)] for choice in tokens}
    if not all(begun.values()):
        return {}
    first = {max(texts, key=len): choice for choice, texts in reversed(begun.items())}
    return {choice: by_text[text] for text, choice in reversed(first.items())}


def told_tools(profile: Profile, tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    """What the server is told of the tools: all but that of whole files, which a block calls. Our template knows the
    other one, `python`."""
    hidden = {FILE_TOOL} & {fenced_tool(profile, tools)}
    return [tool.spec for tool in tools if tool.name not in hidden]


def first_words(request: Request, profile: Profile) -> str:
    """What a chat template of ours puts at the front of the turn: of its thoughts, of code that must come, or of the
    words in front of a file."""
    if profile.switch != "template":
        return ""
    fenced = fenced_tool(profile, request.tools)
    if request.mode.thinks or fenced == FILE_TOOL:
        return request.opening
    return OPENING_FENCE if request.force == CODE_TOOL == fenced else ""


def call_block(profile: Profile, request: Request) -> tuple[str, str] | None:
    """The tags around the answer, where that is a block of calls, which comes as text."""
    return profile.block if request.force == ANY else None


def _tool_choice(request: Request, profile: Profile) -> str | dict[str, Any]:
    """`none` keeps the tools in the prompt, and so its prefix, while none may be called."""
    if request.schema is not None or request.force == NO_CALL:
        return "none"
    if request.force == ANY:
        return "required"
    if not request.force or (request.force == CODE_TOOL and profile.code == "fenced"):
        return "auto"
    return {"type": "function", "function": {"name": request.force}}


def _call_grammar(request: Request, block: tuple[str, str], ids: Mapping[str, int]) -> str:
    """The grammar of a block of calls, one a line; its parts are those of `xgrammar.structural_tag` (0.2).

    vLLM's own for `required` has one call in a block and nothing between two blocks, so a model that writes further
    lines, or a line break, can only stop. Where `auto` is asked for, vLLM lets that grammar be obeyed as well (0.32).
    It has the tags as text, too: the embedded model then spells them, which it never saw, and calls once.
    """
    begin, end = ({"type": "token", "token": ids[tag]} if ids.get(tag) else _text(tag) for tag in block)
    lines = {
        "type": "tags_with_separator",
        "separator": "\n",
        "at_least_one": True,
        "tags": [
            {
                "begin": f'{CALL}{tool.name}", "arguments": ',
                "content": {"type": "json_schema", "json_schema": tool.spec["function"]["parameters"]},
                "end": "}",
            }
            for tool in request.tools
        ],
    }
    closing = {"type": "optional", "content": {"type": "sequence", "elements": [_text("\n"), end]}}
    parts = [begin, _text("\n"), lines, closing]
    return json.dumps({"type": "structural_tag", "format": {"type": "sequence", "elements": parts}})


def _text(value: str) -> dict[str, str]:
    return {"type": "const_string", "value": value}


def _token_limits(request: Request, profile: Profile, left: int) -> tuple[int, int]:
    """Thinking budget and `max_tokens` that fit into what is left; thoughts give way before the answer."""
    answer = request.answer_tokens or profile.answer_tokens
    if left < min(answer, LEAST_ANSWER):
        raise ContextOverflow(
            f"the prompt leaves {max(left, 0)} tokens of the served context, an answer needs {LEAST_ANSWER}; "
            "serve the model with a larger --max-model-len, or give it less text"
        )
    answer = min(answer, left)
    budget = min(request.mode.budget if profile.switch != "none" else 0, left - answer)
    return budget, budget + answer
