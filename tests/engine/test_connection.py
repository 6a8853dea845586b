"""Faults of the wire: what is tried again, what is not, and how a stream is broken off."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from asking import ASK, ask
from fake_server import Answer, FakeServer, delta, said

from agent.engine.client import VLLM
from agent.engine.types import Request
from agent.errors import EngineRefused, EngineUnreachable


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


async def test_silence_ends_in_a_clear_error(fake: FakeServer) -> None:
    fake.answers = [Answer([delta(content="Ha")], hold=True)]
    engine = VLLM(fake.url, profile="exaone4", probe=False, timeout=0.3)
    with pytest.raises(EngineUnreachable, match=r"said nothing for 0\.3 s"):
        [item async for item in engine.stream(Request((ASK,)))]
    await engine.aclose()


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
