"""Faults of the wire: what is tried again, what is not, and how a stream is broken off."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from asking import ASK, ask
from fake_server import Answer, FakeServer, Seen, delta, port_of, said, serving

from fastslow.agent.engine import client, connection
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.errors import EngineRefused, EngineUnreachable
from fastslow.agent.transcript import User


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_passing_errors_are_retried(fake: FakeServer, status: int) -> None:
    bad = Answer(body={"error": {"message": "busy"}}, status=status)
    reply, _ = await ask(fake, bad, bad, said("Yes."))
    assert reply.content == "Yes."
    assert reply.notes == ()


async def test_retry_after_is_honoured(fake: FakeServer) -> None:
    started = time.monotonic()
    busy = Answer(body={}, status=503, headers={"Retry-After": "0.3"})
    await ask(fake, busy, said("Yes."))
    assert time.monotonic() - started >= 0.3


async def test_retry_after_beyond_reason_is_not_waited_for(fake: FakeServer) -> None:
    with pytest.raises(EngineRefused, match="503"):
        await ask(fake, Answer(body={}, status=503, headers={"Retry-After": "3600"}), said("Yes."))


async def test_retries_end(fake: FakeServer) -> None:
    with pytest.raises(EngineRefused, match="answered 500: boom") as caught:
        await ask(fake, *[Answer(body={"error": {"message": "boom"}}, status=500)] * 3, retries=2)
    assert caught.value.status == 500
    assert len(fake.chats) == 3


async def test_refusal_is_not_retried(fake: FakeServer) -> None:
    text = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    with pytest.raises(EngineRefused, match="Start the server with --enable-auto-tool-choice"):
        await ask(fake, Answer(body={"error": {"message": text}}, status=400), said("Yes."))
    assert len(fake.chats) == 1


@pytest.mark.parametrize("polite", [True, False])
async def test_stream_that_drops_is_started_again(fake: FakeServer, polite: bool) -> None:
    broken = Answer([delta(content="Half an ans")], drop=not polite, polite=polite)
    reply, deltas = await ask(fake, broken, said("A whole answer."))
    assert reply.content == "A whole answer."
    assert deltas[0].text == "Half an ans"
    assert "asked for again" in reply.notes[0]


async def test_drop_before_anything_arrived_needs_no_note(fake: FakeServer) -> None:
    reply, _ = await ask(fake, Answer(drop=True), said("Yes."))
    assert reply.notes == ()


async def test_half_an_event_counts_as_drop(fake: FakeServer) -> None:
    reply, _ = await ask(fake, Answer(['data: {"choices": [{"del\n\n']), said("Yes."))
    assert reply.content == "Yes."


async def test_error_in_mid_stream(fake: FakeServer) -> None:
    failed = Answer([delta(content="Ha"), {"error": {"message": "engine dead", "code": 500}}])
    reply, _ = await ask(fake, failed, said("Yes."))
    assert reply.content == "Yes."
    with pytest.raises(EngineRefused, match="engine dead"):
        await ask(fake, failed, failed, retries=1)


async def test_stream_that_always_drops_ends_in_a_clear_error(fake: FakeServer) -> None:
    with pytest.raises(EngineUnreachable, match="broke off"):
        await ask(fake, *[Answer([delta(content="Ha")], drop=True)] * 3, retries=2)


# --- silence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [Answer(raw=b"", hold=True), Answer(hold=True), Answer([": ping\n\n"], hold=True)])
async def test_an_answer_that_does_not_begin_ends_in_a_clear_error(fake: FakeServer, silent: Answer) -> None:
    fake.answers = [silent]
    engine = VLLM(fake.url, profile="exaone4", probe=False, timeout=0.3)
    with pytest.raises(EngineUnreachable, match=r"said nothing for 0\.3 s; pass a larger timeout"):
        [item async for item in engine.stream(Request((ASK,)))]
    assert len(fake.chats) == 1, "a server that is busy with a long queue is not asked twice"
    await engine.aclose()


STALLED = Answer([delta([1], content="Ha")], hold=True)


async def test_silence_in_mid_answer_is_noticed_soon_and_asked_again_once(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STALL_SECONDS", 0.5)
    reply, _ = await ask(fake, STALLED, said("Hallo."))
    assert reply.content == "Hallo."
    assert "asked for again" in reply.notes[0]
    with pytest.raises(EngineUnreachable, match=r"fell silent for 0\.5 s in the middle of an answer"):
        await ask(fake, STALLED, STALLED, said("Hallo."))
    assert len(fake.chats) == 4


async def test_comments_that_keep_a_connection_open_are_no_answer(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STALL_SECONDS", 0.3)
    pinging = replace(STALLED, pings=True)
    with pytest.raises(EngineUnreachable, match="fell silent"):
        await ask(fake, pinging, pinging)


async def test_a_call_that_generates_nothing_is_answered_soon(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)

    class Mute(FakeServer):
        def answer(self, seen: Seen) -> Answer:
            return Answer(raw=b"", hold=True)

    async with serving(Mute()) as mute:
        with pytest.raises(EngineUnreachable, match=r"/models gave no answer within 0\.2 s"):
            await ask(mute)
        assert len(mute.seen) == 1 + client.FIRST_RETRIES


async def test_an_error_whose_text_never_ends_is_known_by_its_status(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    head = b"HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\nboom"
    with pytest.raises(EngineRefused, match="answered 500: boom"):
        await ask(fake, Answer(raw=head, hold=True), retries=0)


# --- what is no answer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\xff" * 500,
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http(fake: FakeServer, garbage: bytes) -> None:
    reply, _ = await ask(fake, Answer(raw=garbage), said("Yes."))
    assert reply.content == "Yes."
    with pytest.raises(EngineUnreachable, match=r"broke off \(RemoteProtocolError: "):
        await ask(fake, Answer(raw=garbage), retries=0)


def http(body: bytes, kind: str = "text/event-stream", status: int = 200) -> Answer:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return Answer(raw=head.encode() + body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>It works!</html>", "text/html"), (b"", "application/json"), (b"[1]", "application/json")],
)
async def test_a_page_is_no_answer(fake: FakeServer, body: bytes, kind: str) -> None:
    with pytest.raises(EngineUnreachable, match=rf"sent {kind} where JSON or events were expected: "):
        await ask(fake, http(body, kind), retries=0)


@pytest.mark.parametrize(
    "body",
    [
        b"data: 7\n\n",
        b"data: [1]\n\n",
        b"data: null\n\n",
        b"data: \xff\xfe\n\n",
        b'data: {"a": ' + b"[" * 100_000 + b"\n\n",
        b"data:\n\n",
        b"event: x\nid: 1\n\n",
        b'data: {"choices": [{"delta": {"content": "Ha"}',
    ],
)
async def test_events_that_are_none(fake: FakeServer, body: bytes) -> None:
    reply, _ = await ask(fake, http(body), said("Yes."))
    assert reply.content == "Yes."


async def test_an_answer_without_end(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LARGEST", 1000)
    with pytest.raises(EngineUnreachable, match="1,000 bytes and came to no end"):
        await ask(fake, Answer([delta(content="Ha")] * 100), said("Yes."))
    with pytest.raises(EngineUnreachable, match="1,000 bytes and came to no end"):
        await ask(fake, http(b"data: " + b"x" * 1000), said("Yes."))


async def test_an_event_in_many_pieces(fake: FakeServer) -> None:
    text = "data: " + json.dumps(delta(content="é" * 50), ensure_ascii=False) + "\n\n"
    raw = text.encode()
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in raw + json_event(delta(finish="stop")))
    head = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply, _ = await ask(fake, Answer(raw=head + pieces + b"0\r\n\r\n"))
    assert reply.content == "é" * 50


def json_event(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


# --- errors in the server's words --------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"message": "engine dead", "code": 500}},
        {"error": {"message": "engine dead", "code": "internal"}},
        {"error": "engine dead"},
        {"error": {"message": "engine dead", "code": 3}},
        {"error": ["engine dead"]},
        {"error": {"code": 500}, "message": "engine dead"},
    ],
)
async def test_every_form_of_an_error_event(fake: FakeServer, told: dict[str, Any]) -> None:
    with pytest.raises(EngineRefused, match=r"answered 500: .*engine dead"):
        await ask(fake, Answer([delta(content="Ha"), told]), retries=0)
    with pytest.raises(EngineRefused, match=r"answered 500: .*engine dead"):
        await ask(fake, Answer(body=told), retries=0)


async def test_an_error_event_that_no_retry_mends(fake: FakeServer) -> None:
    with pytest.raises(EngineRefused, match="answered 400: bad grammar"):
        await ask(fake, Answer([{"error": {"message": "bad grammar", "code": 400}}]), said("Yes."))
    assert len(fake.chats) == 1


@pytest.mark.parametrize("finish", ["abort", "error"])
async def test_what_the_server_gave_up_is_no_answer(fake: FakeServer, finish: str) -> None:
    reply, _ = await ask(fake, said("Half an ans", finish=finish), said("A whole answer."))
    assert reply.content == "A whole answer."


async def test_a_drop_behind_the_finish_costs_nothing(fake: FakeServer) -> None:
    reply, _ = await ask(fake, Answer([delta([1], content="Yes."), delta([2], finish="stop")], drop=True))
    assert (reply.content, reply.notes, reply.usage.answer) == ("Yes.", (), 2)
    assert len(fake.chats) == 1


async def test_silence_behind_the_finish_costs_little(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "COUNT_SECONDS", 0.1)
    whole = Answer([delta([1], content="Yes."), delta([2], finish="stop")], hold=True)
    reply, _ = await asyncio.wait_for(ask(fake, whole), 20)
    assert (reply.content, reply.notes, reply.usage.answer) == ("Yes.", (), 2)
    assert len(fake.chats) == 1


async def test_a_moved_address_is_a_clear_error(fake: FakeServer) -> None:
    moved = Answer(body={}, status=307, headers={"Location": "http://127.0.0.1:1/v1/chat/completions"})
    with pytest.raises(EngineRefused, match="answered 307"):
        await ask(fake, moved)


# --- servers that are away or full -------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
async def test_a_full_server_is_waited_for_longer_than_tries_count(fake: FakeServer, status: int) -> None:
    full = Answer(body={"error": {"message": "queue is full"}}, status=status)
    reply, _ = await ask(fake, *[full] * 12, said("Yes."))
    assert reply.content == "Yes."


async def test_patience_ends(fake: FakeServer) -> None:
    fake.answers = [Answer(body={"error": {"message": "queue is full"}}, status=503) for _ in range(200)]
    engine = VLLM(fake.url, profile="exaone4", probe=False, patience=0.05)
    with pytest.raises(EngineRefused, match="answered 503: queue is full"):
        await collect(engine)
    await engine.aclose()


async def test_a_server_that_starts_again_at_its_address_is_waited_for() -> None:
    async with serving(FakeServer()) as first:
        engine = VLLM(first.url, profile="exaone4", probe=False)
        await engine.connect()
        first.answers = [Answer([delta([1], content="Ha")], hold=True)]
        turn = asyncio.create_task(collect(engine))
        await asyncio.wait_for(first.holding.wait(), 5)
    # what was served is gone, in the middle of an answer
    await asyncio.sleep(0.2)
    assert not turn.done()
    async with serving(FakeServer(), port=port_of(first)) as second:
        second.answers = [said("Hallo.")]
        reply = await asyncio.wait_for(turn, 20)
        await engine.aclose()
    assert reply.content == "Hallo."
    assert "asked for again" in reply.notes[0]


async def collect(engine: VLLM) -> Reply:
    *_, reply = [item async for item in engine.stream(Request((ASK,)))]
    assert isinstance(reply, Reply)
    return reply


async def test_retry_after_in_odd_forms(fake: FakeServer) -> None:
    for value in ("nan", "-1", "soon", "Mon, 99 Foo 99999 99:99:99 GMT", "0", "1e-3"):
        busy = Answer(body={}, status=503, headers={"Retry-After": value})
        reply, _ = await ask(fake, busy, said("Yes."))
        assert reply.content == "Yes."


# --- one connection ----------------------------------------------------------------------------------


async def test_one_turn_after_another_uses_one_connection(fake: FakeServer) -> None:
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    for _ in range(3):
        fake.answers = [said("Yes.")]
        await collect(engine)
    assert fake.accepted == 1
    await engine.aclose()


async def test_half_a_surrogate_pair_is_sent_as_a_question_mark(fake: FakeServer) -> None:
    await ask(fake, said("Yes."), request=Request((User("a\ud800b"),)))
    assert fake.chats[0]["messages"][0]["content"] == "a?b"


async def test_closing_the_generator_closes_the_connection(fake: FakeServer) -> None:
    fake.answers = [Answer([delta(content="Ha")], hold=True)]
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    async with aclosing(engine.stream(Request((ASK,)))) as items:
        async for _ in items:
            break
    await asyncio.wait_for(fake.client_closed.wait(), 2)
    assert fake.client_closed.is_set()
    await engine.aclose()


async def test_cancelling_the_task_closes_the_connection(fake: FakeServer) -> None:
    fake.answers = [Answer([delta(content="Ha")], hold=True)]
    engine = VLLM(fake.url, profile="exaone4", probe=False)

    async def collect() -> None:
        [item async for item in engine.stream(Request((ASK,)))]

    task = asyncio.create_task(collect())
    await asyncio.wait_for(fake.holding.wait(), 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(fake.client_closed.wait(), 2)
    await engine.aclose()
