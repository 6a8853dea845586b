"""Streams as proxies and servers in fact send them: one call is one call, two are two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from asking import ask
from fake_server import Answer, FakeServer, delta, usage

from fastslow.agent.engine.received import Received

SEOUL, BUSAN = '{"city": "Seoul"}', '{"city": "Busan"}'
OPEN = '{"order": 7, "why": "broken"'  # the last brace is missing
MISSING = object()
Calls = list[tuple[str, str]]


def piece(
    arguments: Any = MISSING, name: Any = MISSING, id_: Any = MISSING, index: Any = MISSING, **fields: Any
) -> dict[str, Any]:
    """A piece of a call that has just these fields."""
    function = {k: v for k, v in {"name": name, "arguments": arguments}.items() if v is not MISSING}
    outer = {k: v for k, v in {"index": index, "id": id_}.items() if v is not MISSING}
    return {**outer, "type": "function", "function": function, **fields}


def chunks(*pieces: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stream of these pieces, a chunk each; those in a list come in one chunk."""
    return [delta(tool_calls=each if isinstance(each, list) else [each]) for each in pieces]


def in_pieces(text: str, size: int = 4) -> list[str]:
    return [text[n : n + size] for n in range(0, len(text), size)]


ONE: Calls = [("weather", SEOUL)]
TWO: Calls = [("weather", SEOUL), ("weather", BUSAN)]

# What it is, the stream, the calls that were made, and where it was reported.
STREAMS: list[tuple[str, list[dict[str, Any]], Calls, str]] = [
    (
        "id, type and name in each chunk",
        chunks(*(piece(part, "weather", "a", 0) for part in ["", *in_pieces(SEOUL), ""])),
        ONE,
        "Fireworks, https://github.com/SillyTavern/SillyTavern/pull/5948",
    ),
    (
        "the name in each chunk, no id",
        chunks(*(piece(part, "weather", index=0) for part in in_pieces(SEOUL))),
        ONE,
        "MiniMax on NVIDIA NIM, https://github.com/NousResearch/hermes-agent/pull/11984",
    ),
    (
        "the id in each chunk, the name once",
        chunks(piece("", "weather", "0", 0), *(piece(part, None, "0", 0) for part in in_pieces(SEOUL))),
        ONE,
        "SGLang, https://github.com/InternLM/lmdeploy/issues/3412",
    ),
    (
        "all calls of index 0, told apart by their ids",
        chunks(
            piece("", "weather", "a", 0),
            *(piece(part, None, "", 0) for part in in_pieces(SEOUL)),
            piece("", "weather", "b", 0),
            *(piece(part, None, "", 0) for part in in_pieces(BUSAN)),
        ),
        TWO,
        "vLLM, https://github.com/InternLM/lmdeploy/issues/3412",
    ),
    (
        "all calls of index 0, each whole",
        chunks(piece(SEOUL, "weather", "a", 0), piece(BUSAN, "weather", "b", 0), piece("{}", "clock", "c", 0)),
        [*TWO, ("clock", "{}")],
        "Ollama, https://github.com/ollama/ollama/issues/15457",
    ),
    (
        "all calls of index 0, interleaved, told apart by their ids",
        chunks(
            piece("", "weather", "a", 0),
            piece("", "weather", "b", 0),
            piece(SEOUL[:9], None, "a", 0),
            piece(BUSAN[:9], None, "b", 0),
            piece(SEOUL[9:], None, "a", 0),
            piece(BUSAN[9:], None, "b", 0),
        ),
        TWO,
        "https://github.com/assistant-ui/assistant-ui/pull/3470",
    ),
    (
        "another id behind the first chunk",
        chunks(piece("", "weather", "a", 0), *(piece(part, None, "b", 0) for part in in_pieces(SEOUL))),
        ONE,
        "Poolside, https://github.com/poolsideai/pool/issues/9",
    ),
    (
        "an id of its own for each chunk, with the name",
        chunks(*(piece(part, "weather", f"r{n}", 0) for n, part in enumerate(in_pieces(SEOUL)))),
        ONE,
        "https://github.com/vllm-project/vllm/pull/23522, https://github.com/BerriAI/litellm/pull/28223",
    ),
    (
        "no index, each call whole in a chunk",
        chunks(piece(SEOUL, "weather", "a"), piece(BUSAN, "weather", "b")),
        TWO,
        "Gemini, https://github.com/openai/openai-python/issues/2806",
    ),
    (
        "no index, in pieces, with empty ids behind the first",
        chunks(piece(SEOUL[:5], "weather", "a"), piece(SEOUL[5:], None, "", type="")),
        ONE,
        "a proxy of Gemini, https://github.com/AstrBotDevs/AstrBot/issues/6661",
    ),
    (
        "no index, two calls in one chunk, in pieces",
        chunks(
            [piece("", "weather", "a"), piece("", "weather", "b")],
            [piece(SEOUL[:9]), piece(BUSAN[:9])],
            [piece(SEOUL[9:]), piece(BUSAN[9:])],
        ),
        TWO,
        "Gemini, https://github.com/springfall2008/batpred/issues/4904",
    ),
    (
        "no index and no ids, the same call twice in one chunk",
        chunks([piece(SEOUL, "weather"), piece(SEOUL, "weather")]),
        [*ONE, *ONE],
        "Gemini, https://github.com/OpenRouterTeam/ai-sdk-provider/pull/471",
    ),
    (
        "index null, ids null",
        chunks(piece(SEOUL[:5], "weather", None, None), piece(SEOUL[5:], None, None, None), piece("{}", "clock")),
        [*ONE, ("clock", "{}")],
        "https://github.com/ollama/ollama/issues/7881",
    ),
    (
        "an index that is a string",
        chunks(piece(SEOUL[:5], "weather", "a", "0"), piece(BUSAN, "weather", "b", "1"), piece(SEOUL[5:], index=0)),
        TWO,
        "https://github.com/vercel/ai/issues/3953",
    ),
    (
        "an index that begins at 1, or at -1",
        chunks(
            piece("", "weather", "a", -1), piece(SEOUL, index=-1), piece("", "weather", "b", 1), piece(BUSAN, index=1)
        ),
        TWO,
        "https://github.com/router-for-me/CLIProxyAPI/issues/5229, "
        "https://github.com/aws-samples/bedrock-access-gateway/pull/247",
    ),
    (
        "the first piece counted by tools, the others by calls",
        chunks(
            piece("", "weather", "a", 1),
            *(piece(part, None, None, 0) for part in in_pieces(SEOUL)),
            piece("", "weather", "b", 0),
            *(piece(part, None, None, 1) for part in in_pieces(BUSAN)),
        ),
        TWO,
        "SGLang, https://github.com/sgl-project/sglang/issues/6310",
    ),
    (
        "several pieces of one call in one chunk",
        chunks([piece("", "weather", "a", 0), *(piece(part, index=0) for part in in_pieces(SEOUL))]),
        ONE,
        "https://github.com/vllm-project/vllm/issues/31501",
    ),
    (
        "interleaved by index",
        chunks(
            piece("", "weather", "a", 0),
            piece("", "weather", "b", 1),
            [piece(SEOUL[:9], index=0), piece(BUSAN[:9], index=1)],
            piece(SEOUL[9:], index=0),
            piece(BUSAN[9:], index=1),
        ),
        TWO,
        "https://github.com/mozilla-ai/any-llm/pull/1305",
    ),
    (
        "one call at several indices, under one id",
        chunks(piece("", "weather", "a", 0), piece(SEOUL, "weather", "a", 1), piece(SEOUL, "weather", "a", 2)),
        ONE,
        "LocalAI, https://github.com/mudler/LocalAI/issues/9722",
    ),
    (
        "one id for two real calls",
        chunks(
            piece("", "weather", "a", 0), piece(SEOUL, index=0), piece("", "weather", "a", 1), piece(BUSAN, index=1)
        ),
        TWO,
        "DeepSeek and GLM, https://github.com/HKUDS/nanobot/pull/3943",
    ),
    (
        "one id and one index for two real calls",
        chunks(piece(SEOUL, "weather", "a", 0), piece(BUSAN, "weather", "a", 0)),
        TWO,
        "https://github.com/HKUDS/nanobot/issues/4473",
    ),
    (
        "the same call twice, under two ids",
        chunks(piece(SEOUL, "weather", "a", 0), piece(SEOUL, "weather", "b", 1)),
        [*ONE, *ONE],
        "a model may do so",
    ),
    (
        "the same call twice, under two ids and one index",
        chunks(piece(SEOUL, "weather", "a", 0), piece(SEOUL, "weather", "b", 0)),
        [*ONE, *ONE],
        "a model may do so on https://github.com/ollama/ollama/issues/15457",
    ),
    (
        "the same call twice, under two indices and empty ids",
        chunks(piece(SEOUL, "weather", "", 0), piece(SEOUL, "weather", "", 1)),
        [*ONE, *ONE],
        "https://github.com/sgl-project/sglang/issues/7048",
    ),
    (
        "the second call's arguments behind the first one's",
        chunks(piece("", "glob", "a", 0), piece(SEOUL, "", index=0), piece(BUSAN, "", index=0)),
        [("glob", SEOUL), ("glob", BUSAN)],
        "a gateway of Gemini, https://github.com/dyedd/lens/issues/49, "
        "https://github.com/diegosouzapw/OmniRoute/pull/11043",
    ),
    (
        "all arguments once more at the end",
        chunks(
            piece("", "weather", "a", 0), *(piece(part, index=0) for part in in_pieces(SEOUL)), piece(SEOUL, index=0)
        ),
        ONE,
        "vLLM, https://github.com/vllm-project/vllm/issues/51697, https://github.com/lidge-jun/opencodex/issues/361",
    ),
    (
        "a beginning of the arguments, then all of them",
        chunks(piece("", "weather", "a", 0), piece(SEOUL[:12], index=0), piece(SEOUL, None, None, 0)),
        ONE,
        "vLLM, https://github.com/vllm-project/vllm/issues/42167",
    ),
    (
        "id and name once more with the last of the arguments",
        chunks(piece(SEOUL[:12], "weather", "a", 0), piece(SEOUL[12:], "weather", "a", 0)),
        ONE,
        "vLLM, https://github.com/vllm-project/vllm/issues/44098",
    ),
    (
        "a whole call once more",
        chunks(piece(SEOUL, "weather", "a", 0), piece(json.dumps(json.loads(SEOUL), indent=1), "weather", "a", 0)),
        ONE,
        "https://github.com/agno-agi/agno/issues/2336",
    ),
    (
        "all calls so far in each chunk",
        chunks(
            [piece(SEOUL, "weather", "a")],
            [piece(SEOUL, "weather", "a"), piece(BUSAN, "weather", "b")],
        ),
        TWO,
        "https://github.com/anthropics/anthropic-sdk-csharp/issues/53",
    ),
    (
        "cumulative arguments",
        chunks(
            piece("", "weather", "a", 0),
            *(piece(SEOUL[:n], index=0) for n in (1, 5, 9, 9, 14, len(SEOUL), len(SEOUL))),
        ),
        ONE,
        "DeepSeek on Qianfan, https://github.com/NousResearch/hermes-agent/pull/35718",
    ),
    (
        "a name in pieces",
        chunks(piece("", "wea", "a", 0), piece("", "ther", None, 0), piece(SEOUL, None, None, 0)),
        ONE,
        "Gemini, https://github.com/continuedev/continue/pull/5849",
    ),
    (
        "a cumulative name",
        chunks(piece("", "we", "a", 0), piece("", "weath", "a", 0), piece(SEOUL, "weather", "a", 0)),
        ONE,
        "https://github.com/openclaw/openclaw/pull/130532",
    ),
    (
        "`{}` before the arguments",
        chunks(piece("{}", "weather", "a", 0), *(piece(part, index=0) for part in in_pieces(SEOUL))),
        ONE,
        "Bedrock, https://github.com/openai/openai-agents-js/pull/712",
    ),
    (
        "no arguments at all",
        chunks(piece("", "clock", "a", 0), piece(None, "clock", "b", 1), piece("{}", "clock", "c", 2)),
        [("clock", ""), ("clock", ""), ("clock", "{}")],
        "Bedrock, https://github.com/Kilo-Org/cloud/pull/4753",
    ),
    (
        "arguments as an object",
        chunks(piece({"city": "Seoul"}, "weather", "a", 0), piece({"city": "Seoul"}, "weather", "a", 0)),
        ONE,
        "llama.cpp, https://github.com/ggml-org/llama.cpp/issues/20198; Ollama through LiteLLM, "
        "https://github.com/BerriAI/litellm/pull/37792",
    ),
    (
        "a call in the place of a list of calls",
        [delta(tool_calls=piece(SEOUL[:9], "weather", "", 0)), delta(tool_calls=piece(SEOUL[9:], None, "", 0))],
        ONE,
        "TGI, https://github.com/huggingface/text-generation-inference/issues/2794",
    ),
    (
        "`function_call`",
        [
            delta(role="assistant", function_call={"name": "weather", "arguments": ""}),
            *(delta(function_call={"arguments": part}) for part in in_pieces(SEOUL)),
            delta(finish="function_call"),
        ],
        ONE,
        "https://github.com/run-llama/llama_index/issues/18313",
    ),
    (
        "`function_call` and `tool_calls`, which are one",
        [delta(function_call={"name": "weather", "arguments": SEOUL}, tool_calls=[piece(SEOUL, "weather", "a", 0)])],
        ONE,
        "https://github.com/microsoft/autogen/issues/1178",
    ),
    (
        "finish_reason in each chunk with calls, and once more",
        [
            delta(finish="tool_calls", tool_calls=[piece(SEOUL, "weather", "a", 0)]),
            delta(finish="tool_calls", tool_calls=[piece(BUSAN[:9], "weather", "b", 1)]),
            delta(tool_calls=[piece(BUSAN[9:], index=1)]),
            delta(finish="stop"),
        ],
        TWO,
        "Gemini through LiteLLM, https://github.com/BerriAI/litellm/pull/31634, "
        "https://github.com/RayBytes/ChatMock/pull/114",
    ),
    (
        "empty choices, roles and contents between the pieces",
        [
            {"choices": [], "prompt_filter_results": []},
            delta(role="assistant", content=None, tool_calls=[piece(SEOUL[:9], "weather", "a", 0)]),
            usage(),
            delta(role="assistant", content="", tool_calls=[piece(SEOUL[9:], index=0)]),
            delta(role="assistant", content=None, tool_calls=None),
            {"choices": None},
        ],
        ONE,
        "Azure, https://github.com/Helicone/helicone/pull/5291",
    ),
    (
        "the whole message behind its pieces",
        [
            *chunks(piece(SEOUL, "weather", "", 0), piece(BUSAN, "weather", "", 1)),
            {"choices": [{"message": {"tool_calls": [piece(SEOUL, "weather"), piece(BUSAN, "weather")]}}]},
        ],
        TWO,
        "https://github.com/rynfar/meridian/issues/528",
    ),
    (
        "each call twice in a whole body",
        [{"choices": [{"message": {"tool_calls": [piece(SEOUL, "weather", "a"), piece(BUSAN, "weather", "b")] * 2}}]}],
        TWO,
        "https://github.com/rynfar/meridian/issues/528",
    ),
    (
        "a first call whose last brace is missing",
        chunks(piece(SEOUL[:-1], "weather", "a", 0), piece(BUSAN, "weather", "b", 0)),
        [("weather", SEOUL[:-1]), ("weather", BUSAN)],
        "a model may do so on https://github.com/ollama/ollama/issues/15457",
    ),
    (
        "an id of its own for each chunk, with the name, and objects within",
        chunks(
            *(piece(part, "put", f"r{n}", 0) for n, part in enumerate(["", "{", '"a": [', '{"b": "', "{}", '"}', "]}"]))
        ),
        [("put", '{"a": [{"b": "{}"}]}')],
        "https://github.com/vllm-project/vllm/pull/23522, https://github.com/BerriAI/litellm/pull/28223",
    ),
    (
        "the same, cut off",
        chunks(*(piece(part, "weather", f"r{n}", 0) for n, part in enumerate(in_pieces(SEOUL[:-3])))),
        [("weather", SEOUL[:-3])],
        "",
    ),
    (
        "the whole message behind its pieces, under other ids",
        [
            *chunks(piece(SEOUL, "weather", "a", 0), piece(BUSAN, "weather", "b", 1)),
            {"choices": [{"message": {"tool_calls": [piece(SEOUL, "weather", "c"), piece(BUSAN, "weather", "d")]}}]},
        ],
        TWO,
        "https://github.com/rynfar/meridian/issues/528, through a proxy that makes ids of its own",
    ),
    (
        "a whole message beside a delta that only names its role",
        [{"choices": [{"delta": {"role": "assistant"}, "message": {"tool_calls": [piece(SEOUL, "weather", "a")]}}]}],
        ONE,
        "https://github.com/rynfar/meridian/issues/528",
    ),
    (
        "all calls so far in each chunk, no index, no ids, cumulative",
        chunks(
            [piece(SEOUL[:5], "weather")],
            [piece(SEOUL, "weather")],
            [piece(SEOUL, "weather"), piece(BUSAN[:7], "weather")],
            [piece(SEOUL, "weather"), piece(BUSAN, "weather")],
        ),
        TWO,
        "https://github.com/anthropics/anthropic-sdk-csharp/issues/53",
    ),
    *(
        (f"damaged arguments {how}", chunks(*(piece(part, "refund", "a", 0) for part in parts)), [("refund", OPEN)], "")
        for how, parts in {
            "once more": [OPEN, OPEN],
            "once more at the end": [*in_pieces(OPEN), OPEN],
            "that are cumulative": [OPEN[:5], OPEN[:9], OPEN],
        }.items()
    ),
    (
        "arguments in single quotes, once more",
        chunks(*[piece("{'order': 7}", "refund", "a", 0)] * 2),
        [("refund", "{'order': 7}")],
        "",
    ),
    (
        "braces within the arguments, a token each",
        chunks(
            piece("", "python", "a", 0),
            *(piece(part, index=0) for part in ['{"code": "', "f(", "{", "}", "{", "}", ")", '"', "}"]),
        ),
        [("python", '{"code": "f({}{})"}')],
        "no fault",
    ),
    (
        "arguments that begin anew within",
        chunks(piece('{"a": ', "put", "a", 0), piece('{"a": ', index=0), piece("1}}", index=0)),
        [("put", '{"a": {"a": 1}}')],
        "no fault",
    ),
]


def told(stream: Sequence[dict[str, Any]]) -> Calls:
    received = Received()
    for chunk in stream:
        received.feed(chunk)
    return [(call.name, call.arguments) for call in received.calls]


@pytest.mark.parametrize(("stream", "calls"), [pytest.param(s, c, id=name) for name, s, c, _ in STREAMS])
def test_each_call_is_received_once(stream: list[dict[str, Any]], calls: Calls) -> None:
    assert told(stream) == calls


@pytest.mark.parametrize(
    "counts",
    [
        [usage(10, 1)["usage"], usage(10, 3)["usage"], usage(10, 5)["usage"]],
        [usage(10, 5)["usage"], None, usage(0, 0)["usage"]],
        [{"prompt_tokens": 10}, {}, {"completion_tokens": 5}],
    ],
    ids=["cumulative", "in between", "in parts"],
)
async def test_usage_is_counted_once(fake: FakeServer, counts: list[Any]) -> None:
    """https://github.com/camel-ai/camel/issues/4217"""
    told = [delta(content="x") | {"usage": count} for count in counts]
    reply, _ = await ask(fake, Answer([*told, delta(finish="stop")]))
    assert (reply.usage.prompt, reply.usage.answer) == (10, 5)


async def test_what_follows_the_end_is_not_read(fake: FakeServer) -> None:
    end = "data: [DONE]\n\n"
    late = "data: " + json.dumps(delta(tool_calls=[piece(BUSAN, "weather", "b", 1)])) + "\n\n"
    for behind in ([end, late, end], [end + late]):
        reply, _ = await ask(fake, Answer([*chunks(piece(SEOUL, "weather", "a", 0)), delta(finish="stop"), *behind]))
        assert [call.arguments for call in reply.calls] == [SEOUL]


async def test_text_beside_calls_and_a_message_that_says_it_again(fake: FakeServer) -> None:
    stream = [
        delta(content="I "),
        delta(content="look.", tool_calls=[piece(SEOUL[:9], "weather", "a", 0)]),
        delta(content="\n", tool_calls=[piece(SEOUL[9:], index=0)]),
        {"choices": [{"delta": {}, "message": {"content": "I look.\n", "tool_calls": [piece(SEOUL, "weather", "a")]}}]},
        delta(finish="tool_calls"),
    ]
    reply, deltas = await ask(fake, Answer(stream))
    assert (reply.content, [call.arguments for call in reply.calls]) == ("I look.", [SEOUL])
    assert "".join(item.text for item in deltas) == "I look.\n"
