"""The client against a real HTTP server that misbehaves on command."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from asking import ASK, WEATHER, ask
from fake_server import Answer, FakeServer, call, delta, said, serving, usage

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import PROFILES, find_profile
from fastslow.agent.engine.types import ANY, Delta, Reply, Request
from fastslow.agent.errors import ConfigurationError, ContextOverflow, EngineRefused, EngineUnreachable
from fastslow.agent.modes import Mode
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User

# --- what arrives ------------------------------------------------------------------------------------


async def test_streams_text_and_counts(fake: FakeServer) -> None:
    counted = usage(
        40, 9, prompt_tokens_details={"cached_tokens": 32}, completion_tokens_details={"reasoning_tokens": 4}
    )
    answer = Answer([delta(reasoning="Hm."), delta(content="Sun"), delta(content="ny."), delta(finish="stop"), counted])
    reply, deltas = await ask(fake, answer, request=Request((ASK,), mode=Mode(64)))
    assert (reply.reasoning, reply.content, reply.finish, reply.notes) == ("Hm.", "Sunny.", "stop", ())
    assert deltas == [Delta("thinking", "Hm."), Delta("text", "Sun"), Delta("text", "ny.")]
    assert (reply.usage.prompt, reply.usage.cached, reply.usage.thinking, reply.usage.answer) == (
        40,
        32,
        4,
        5,
    )
    assert reply.usage.seconds > 0


async def test_older_name_of_reasoning(fake: FakeServer) -> None:
    reply, _ = await ask(fake, Answer([delta(reasoning_content="Hm."), delta(content="Yes."), delta(finish="stop")]))
    assert (reply.reasoning, reply.content) == ("Hm.", "Yes.")


async def test_first_words_of_thoughts_come_from_the_prompt(fake: FakeServer) -> None:
    request = Request((ASK,), mode=Mode(64), opening="I see")
    answer = Answer([delta(reasoning=" rain."), delta(content="Yes."), delta(finish="stop")])
    reply, deltas = await ask(fake, answer, profile="instruct", request=request)
    assert reply.reasoning == "I see rain."
    assert "".join(item.text for item in deltas) == "I see rain.Yes."
    assert fake.chats[0]["chat_template_kwargs"]["opening"] == "I see"


async def test_thinking_tokens_are_counted_where_the_server_says_zero(fake: FakeServer) -> None:
    ids = Answer([delta([5, 6, 7], reasoning="a b c"), delta([8], content="d"), delta(finish="stop"), usage(9, 4)])
    reply, _ = await ask(fake, ids, request=Request((ASK,), mode=Mode(64)))
    assert (reply.usage.thinking, reply.usage.answer) == (3, 1)
    no_ids = Answer([delta(reasoning="a b c"), delta(content="d"), delta(finish="stop"), usage(9, 10)])
    fake.count = 6
    reply, _ = await ask(fake, no_ids, request=Request((ASK,), mode=Mode(64)))
    assert (reply.usage.thinking, reply.usage.answer) == (6, 4)


async def test_call_in_pieces_is_given_whole(fake: FakeServer) -> None:
    pieces = [
        call(0, "a1", name="weather"),
        call(0, arguments='{"city": "Se'),
        call(0, arguments='oul", "unit": null}'),
    ]
    answer = Answer(
        [
            delta(content="Let me look.\n"),
            *(delta(tool_calls=[p]) for p in pieces),
            delta(finish="tool_calls"),
        ]
    )
    reply, deltas = await ask(fake, answer)
    assert reply.calls == (ToolCall("a1", "weather", '{"city": "Seoul", "unit": null}'),)
    assert reply.content == "Let me look."  # one newline less: the template writes its own
    assert deltas == [Delta("text", "Let me look.\n")]


async def test_whole_json_body_in_answer_to_a_streamed_request(fake: FakeServer) -> None:
    function = {"name": "weather", "arguments": '{"city": "Seoul", "unit": null}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "x", "type": "function", "function": function}],
    }
    body = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    reply, _ = await ask(fake, Answer(body=body))
    assert reply.calls == (ToolCall("x", "weather", function["arguments"]),)
    assert reply.finish == "stop"


async def test_line_separators_inside_of_json(fake: FakeServer) -> None:
    reply, _ = await ask(fake, said("one\u2028two\x85three\x0bfour"))
    assert reply.content == "one\u2028two\x85three\x0bfour"


async def test_fields_of_wrong_types_are_ignored(fake: FakeServer) -> None:
    odd = [
        {"choices": "none"},
        {"choices": [None]},
        {"choices": [{"delta": {"content": 7, "reasoning": ["a"], "tool_calls": {"a": 1}}, "token_ids": ["x"]}]},
        {"choices": [{"delta": {"tool_calls": [None, {"index": "0", "function": {"name": 3}}]}}]},
        {"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": -4}},
    ]
    reply, _ = await ask(fake, Answer([*odd, delta(content="Fine."), delta(finish="stop")]))
    assert (reply.content, reply.calls, reply.usage.prompt, reply.usage.answer) == ("Fine.", (), 0, 0)


# --- what is mended ----------------------------------------------------------------------------------


async def test_damaged_call_is_read_again_from_the_tokens(fake: FakeServer) -> None:
    fake.text = '<tool_call>\n{"arguments": {"city": "Seoul", "unit": null}, "name": "weather"}\n</tool_call>'
    fake.text += "<|im_end|>"
    broken = call(0, "a", name="weather", arguments='{"city": "Seo')
    reply, _ = await ask(
        fake, Answer([delta([1, 2, 3], tool_calls=[broken]), delta([4], finish="tool_calls"), usage()])
    )
    assert [(c.name, json.loads(c.arguments)) for c in reply.calls] == [("weather", {"city": "Seoul", "unit": None})]
    assert "read again from the tokens" in reply.notes[0]
    assert [s.json["tokens"] for s in fake.seen if s.path == "/detokenize"] == [[1, 2, 3, 4]]


async def test_call_that_vanished_is_read_again_from_the_tokens(fake: FakeServer) -> None:
    fake.text = '<tool_call>{"name": "weather", "arguments": {"city": "Seoul", "unit": null}}</tool_call>'
    reply, _ = await ask(fake, Answer([delta([1, 2, 3]), delta([4], finish="tool_calls"), usage()]))
    assert [c.name for c in reply.calls] == ["weather"]


async def test_text_that_vanished_is_read_again_from_the_tokens(fake: FakeServer) -> None:
    fake.text = "It is sunny.<|im_end|>\n"
    reply, _ = await ask(fake, Answer([delta([1, 2, 3], finish="stop"), usage()]))
    assert reply.content == "It is sunny."
    assert len(reply.notes) == 1


async def test_damaged_call_stays_as_it_came_where_tokens_cannot_be_read(fake: FakeServer) -> None:
    broken = call(0, "a", name="weather", arguments='{"city": "Seo')
    reply, _ = await ask(fake, Answer([delta([1, 2], tool_calls=[broken]), delta(finish="tool_calls")]))
    assert reply.calls == (ToolCall("a", "weather", '{"city": "Seo'),)


async def test_call_in_the_content(fake: FakeServer) -> None:
    text = 'I look.\n<tool_call>{"name": "weather", "arguments": {"city": "Seoul", "unit": null}}</tool_call>'
    reply, _ = await ask(fake, said(text))
    assert [c.name for c in reply.calls] == ["weather"]
    assert "tool_call" not in reply.content
    assert "found again in the content" in reply.notes[0]


@pytest.mark.parametrize("end", ["\n</tool_call>", ""])
async def test_calls_that_must_be_made_come_as_text_that_nobody_sees(fake: FakeServer, end: str) -> None:
    lines = "\n".join(f'{{"name": "weather", "arguments": {{"city": "{city}"}}}}' for city in ("Seoul", "Rome"))
    request = Request((ASK,), (WEATHER,), force=ANY)
    reply, deltas = await ask(fake, said(f"<tool_call>\n{lines}{end}"), profile="instruct", request=request)
    assert [json.loads(call.arguments)["city"] for call in reply.calls] == ["Seoul", "Rome"]
    assert (reply.content, reply.notes, deltas) == ("", (), [])


async def test_call_of_an_unknown_tool_in_the_content_is_a_call(fake: FakeServer) -> None:
    text = '<tool_call>{"name": "rm", "arguments": {"path": "/"}}</tool_call>'
    reply, _ = await ask(fake, said(text))
    assert [call.name for call in reply.calls] == ["rm"]  # it gets an error that names the tools; it is no answer
    assert not reply.content


async def test_call_inside_of_the_thoughts(fake: FakeServer) -> None:
    text = 'Call.\n<tool_call>{"name": "weather", "arguments": {"city": "Seoul", "unit": null}}</tool_call>'
    answer = Answer([delta(reasoning=text), delta(finish="stop")])
    reply, _ = await ask(fake, answer, request=Request((ASK,), (WEATHER,), Mode(64)))
    assert [c.name for c in reply.calls] == ["weather"]
    decided = Answer([delta(reasoning=text), delta(content="No need."), delta(finish="stop")])
    reply, _ = await ask(fake, decided, request=Request((ASK,), (WEATHER,), Mode(64)))
    assert (reply.calls, reply.content) == ((), "No need.")


async def test_fast_answer_in_the_reasoning(fake: FakeServer) -> None:
    reply, _ = await ask(fake, Answer([delta(reasoning="It is sunny."), delta(finish="stop")]))
    assert (reply.reasoning, reply.content) == ("", "It is sunny.")
    assert "--reasoning-parser" in reply.notes[0]


@pytest.mark.parametrize("text", ["<think>\nHm.\n</think>\n\nYes.", "Hm.\n</think>\n\nYes."])
async def test_thoughts_in_the_content(fake: FakeServer, text: str) -> None:
    reply, _ = await ask(fake, said(text), request=Request((ASK,), mode=Mode(64)))
    assert (reply.reasoning, reply.content) == ("Hm.", "Yes.")
    assert "--reasoning-parser" in reply.notes[0]


async def test_closing_tag_in_a_fast_text_is_text(fake: FakeServer) -> None:
    reply, _ = await ask(fake, said("The tag </think> ends thoughts."))
    assert reply.content == "The tag </think> ends thoughts."


async def test_cut_off_call_is_dropped(fake: FakeServer) -> None:
    broken = call(0, "a", name="weather", arguments='{"city": "Seo')
    reply, _ = await ask(fake, Answer([delta([1], tool_calls=[broken]), delta(finish="length")]))
    assert (reply.calls, reply.finish) == ((), "length")
    assert "cut off" in reply.notes[0]


async def test_an_answer_that_goes_round_in_circles(fake: FakeServer) -> None:
    looped = {"choices": [{"delta": {}, "finish_reason": "repetition", "stop_reason": "repetition_detected"}]}
    reply, _ = await ask(fake, Answer([delta([1, 2], content="and on " * 50), looped, usage()]))
    assert (reply.finish, reply.usage.answer) == ("repetition", 5)
    assert "round in circles" in reply.notes[0]
    assert fake.chats[0]["repetition_detection"] == {"min_pattern_size": 32, "max_pattern_size": 64, "min_count": 8}
    broken = call(0, "a", name="weather", arguments='{"city": "Seoul Seoul Seoul')
    reply, _ = await ask(fake, Answer([delta([1], tool_calls=[broken]), looped]))
    assert (reply.calls, reply.finish) == ((), "repetition")


async def test_every_call_has_an_id_of_its_own(fake: FakeServer) -> None:
    seoul, oslo = '{"city": "Seoul", "unit": null}', '{"city": "Oslo", "unit": null}'
    same_index = [
        call(0, "a", name="weather", arguments=seoul),
        call(0, "a", name="weather", arguments=oslo),
    ]
    history: tuple[Message, ...] = (
        ASK,
        Assistant("", (ToolCall("a", "weather", seoul),)),
        ToolResult("a", "weather", "20"),
    )
    answer = Answer(
        [
            *(delta(tool_calls=[c]) for c in same_index),
            delta(tool_calls=[call(1, name="weather", arguments=oslo)]),
            delta(finish="stop"),
        ]
    )
    reply, _ = await ask(fake, answer, request=Request(history, (WEATHER,)))
    assert [c.arguments for c in reply.calls] == [seoul, oslo, oslo]
    assert len({c.id for c in reply.calls} | {"a"}) == 4


# --- what is sent ------------------------------------------------------------------------------------


async def test_body_of_a_fast_and_of_a_thinking_turn(fake: FakeServer) -> None:
    await ask(fake, said("Yes."))
    await ask(fake, said("Yes."), request=Request((ASK,), (WEATHER,), Mode(300), answer_tokens=100))
    fast, think = fake.chats
    assert fast["chat_template_kwargs"] == {"enable_thinking": False}
    assert think["chat_template_kwargs"] == {"enable_thinking": True}
    assert "thinking_token_budget" not in fast
    assert (think["thinking_token_budget"], think["max_tokens"]) == (300, 400)
    assert (fast["temperature"], think["temperature"], think["top_p"]) == (0.0, 0.6, 0.95)
    assert fast["tools"] == think["tools"]
    assert fast["tools"][0]["function"]["strict"] is True
    assert fast["tool_choice"] == "auto"
    assert fast["stream_options"] == {"include_usage": True}


async def test_forced_tool_and_schema(fake: FakeServer) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    await ask(fake, said("Yes."), request=Request((ASK,), (WEATHER,), force="weather"))
    await ask(fake, said('{"n": 1}'), request=Request((ASK,), (WEATHER,), schema=schema))
    forced, formed = fake.chats
    assert forced["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert formed["tool_choice"] == "none"
    assert formed["tools"] == forced["tools"]
    assert formed["response_format"]["json_schema"]["schema"] == schema


async def test_room_for_the_answer_is_kept_when_the_context_is_short(fake: FakeServer) -> None:
    fake.models = [{"id": "m", "max_model_len": 1000}]
    fake.count = 700
    await ask(fake, said("Yes."), request=Request((ASK,), (), Mode(400), answer_tokens=200))
    assert (fake.chats[0]["thinking_token_budget"], fake.chats[0]["max_tokens"]) == (100, 300)
    fake.count = 990
    with pytest.raises(ContextOverflow, match="10 tokens of the served context"):
        await ask(fake, said("Yes."))


async def test_a_prompt_that_was_counted_is_not_counted_again(fake: FakeServer) -> None:
    fake.models = [{"id": "m", "max_model_len": 1000}]
    fake.count = 990
    await ask(fake, said("Yes."), request=Request((ASK,), (), Mode(400), answer_tokens=200, counted=700))
    assert (fake.chats[0]["thinking_token_budget"], fake.chats[0]["max_tokens"]) == (100, 300)
    assert not [seen for seen in fake.seen if seen.path == "/tokenize"]


async def test_context_overflow_said_by_the_server(fake: FakeServer) -> None:
    text = "This model's maximum context length is 16384 tokens. However, you requested 20000 tokens."
    with pytest.raises(ContextOverflow, match="--max-model-len"):
        await ask(fake, Answer(body={"error": {"message": text}}, status=400))


# --- first contact -----------------------------------------------------------------------------------


async def test_nobody_at_the_address() -> None:
    with pytest.raises(EngineUnreachable, match="fastslow up"):
        await VLLM("http://127.0.0.1:9/v1", probe=False).connect()


async def test_unknown_model_lists_the_served_ones(fake: FakeServer) -> None:
    engine = VLLM(fake.url, "gpt-5", probe=False)
    with pytest.raises(ConfigurationError, match=r"'gpt-5' is not served .* pass one of: m"):
        await engine.connect()
    await engine.aclose()


async def test_two_models_need_a_choice(fake: FakeServer) -> None:
    fake.models = [{"id": "a"}, {"id": "b"}]
    engine = VLLM(fake.url, probe=False)
    with pytest.raises(ConfigurationError, match="a, b"):
        await engine.connect()
    await engine.aclose()


async def test_profile_by_served_name_or_by_root(fake: FakeServer) -> None:
    fake.models = [{"id": "fast", "root": "/models/EXAONE-4.0-1.2B", "max_model_len": 65536}]
    engine = VLLM(fake.url + "/", probe=False)
    assert await engine.connect() == ()
    assert (engine.model, engine.profile.name, engine.context) == ("fast", "exaone4", 65536)
    await engine.aclose()


async def test_unknown_family_is_said(fake: FakeServer) -> None:
    engine = VLLM(fake.url.removesuffix("/v1"), probe=False)
    (notice,) = await engine.connect()
    assert "No profile knows this model" in notice
    assert engine.profile is PROFILES[-1]
    await engine.aclose()


async def test_connecting_at_the_same_time_asks_once(fake: FakeServer) -> None:
    engine = VLLM(fake.url, probe=False)
    await asyncio.gather(*[engine.connect() for _ in range(5)])
    assert [seen.path for seen in fake.seen] == ["/v1/models"]
    await engine.aclose()


async def test_goes_on_after_aclose(fake: FakeServer) -> None:
    fake.answers = [said("One."), said("Two.")]
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    for _ in range(2):
        assert [item async for item in engine.stream(Request((ASK,)))]
        await engine.aclose()
    assert len(fake.chats) == 2


def test_lives_in_one_event_loop_after_another() -> None:
    async def run() -> str:
        async with serving(FakeServer()) as fake:
            engine._reach.base_url = fake.url
            fake.answers = [said("Yes.")]
            *_, reply = [item async for item in engine.stream(Request((ASK,)))]
            await engine.aclose()
            return reply.content if isinstance(reply, Reply) else ""

    engine = VLLM("http://127.0.0.1:9/v1", profile="exaone4", probe=False)
    assert [asyncio.run(run()), asyncio.run(run())] == ["Yes.", "Yes."]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "::"])
async def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigurationError):
        await VLLM(url, probe=False).connect()


def test_unknown_profile_name() -> None:
    with pytest.raises(ConfigurationError, match="exaone4"):
        VLLM(profile="exaone9")


def test_nothing_is_known_before_connect() -> None:
    with pytest.raises(ConfigurationError, match="connect"):
        _ = VLLM("http://127.0.0.1:9/v1").profile


async def test_key_is_sent_and_never_shown(fake: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake.answers = [Answer(body={"error": {"message": "bad key s3cret!"}}, status=401)]
    engine = VLLM(fake.url, api_key="s3cret!", probe=False)
    with pytest.raises(EngineRefused, match="key") as caught:
        [item async for item in engine.stream(Request((ASK,)))]
    assert fake.seen[-1].headers["authorization"] == "Bearer s3cret!"
    assert "s3cret" not in f"{engine!r}{caught.value}{caplog.text}"
    await engine.aclose()


async def test_system_message_and_history(fake: FakeServer) -> None:
    history = (System("Be brief."), ASK, Assistant("Yes."), User("Sure?"))
    await ask(fake, said("Yes."), request=Request(history))
    assert [m["role"] for m in fake.chats[0]["messages"]] == ["system", "user", "assistant", "user"]
    assert "tools" not in fake.chats[0]


def test_every_profile_is_found_by_its_name() -> None:
    assert [find_profile(profile.name) for profile in PROFILES] == list(PROFILES)
