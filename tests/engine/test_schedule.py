"""Who goes next: how many at once, fast turns first, nobody for ever."""

from __future__ import annotations

import asyncio
import random

import pytest
from asking import ASK, ask
from fake_server import Answer, FakeServer, said

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.schedule import Scheduler
from fastslow.agent.engine.types import Request
from fastslow.agent.errors import EngineRefused
from fastslow.agent.modes import FAST, Mode


class Calls:
    """Calls that wait for their place and hold it until they are let go, in the order in which they got it."""

    def __init__(self, limit: int, handicap: float = 1000.0) -> None:
        self.scheduler = Scheduler(limit, handicap)
        self.order: list[str] = []
        self.places = asyncio.Semaphore(0)
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        """A call whose name begins with `f` is fast."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._call(name))
            await asyncio.sleep(0)

    async def _call(self, name: str) -> None:
        async with self.scheduler.turn(not name.startswith("f")):
            self.order.append(name)
            await self.places.acquire()

    async def finish(self) -> list[str]:
        for _ in self.tasks:
            self.places.release()
        await asyncio.wait_for(asyncio.gather(*self.tasks.values(), return_exceptions=True), 5)
        assert (self.scheduler.running, self.scheduler.waiting) == (0, 0)
        return self.order


async def test_fast_turns_overtake_thinking_ones_and_within_a_class_the_first_is_first() -> None:
    calls = Calls(2)
    await calls.come("t1", "t2", "t3", "f1", "t4", "f2", "f3")
    assert (calls.scheduler.running, calls.scheduler.waiting) == (2, 5)
    assert await calls.finish() == ["t1", "t2", "f1", "f2", "f3", "t3", "t4"]


async def test_a_thinking_turn_is_not_starved() -> None:
    calls = Calls(1, handicap=0.05)
    await calls.come("f1", "t1", "f2")
    await asyncio.sleep(0.06)
    await calls.come("f3", "f4")  # these come too late to overtake it
    assert await calls.finish() == ["f1", "f2", "t1", "f3", "f4"]


async def test_who_is_cancelled_takes_no_place() -> None:
    calls = Calls(1)
    await calls.come("f1", "f2", "f3", "f4")
    calls.tasks["f2"].cancel()
    calls.tasks["f1"].cancel()  # f3 gets the place of f1 ...
    await asyncio.sleep(0)
    calls.tasks["f3"].cancel()  # ... and is cancelled in the same moment
    assert await calls.finish() == ["f1", "f4"]


async def test_never_more_than_the_limit_and_never_a_lost_place() -> None:
    scheduler, most, draw = Scheduler(7, handicap=0.001), 0, random.Random(0)

    async def call(thinks: bool) -> None:
        nonlocal most
        async with scheduler.turn(thinks):
            most = max(most, scheduler.running)
            await asyncio.sleep(draw.random() / 500)

    tasks = [asyncio.create_task(call(draw.random() < 0.5)) for _ in range(400)]
    for task in draw.sample(tasks, 100):
        await asyncio.sleep(draw.random() / 1000)
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert (most, scheduler.running, scheduler.waiting) == (7, 0, 0)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        VLLM(concurrency=0)


async def test_a_turn_that_fails_gives_its_place_back(fake: FakeServer) -> None:
    engine = VLLM(fake.url, profile="exaone4", concurrency=1, probe=False)
    for _ in range(2):
        fake.answers = [Answer(body={"error": {"message": "no"}}, status=400)]
        with pytest.raises(EngineRefused, match="400"):
            [item async for item in engine.stream(Request((ASK,)))]
    fake.answers = [said("Yes.")]
    stream = engine.stream(Request((ASK,)))
    await anext(stream)
    await stream.aclose()
    assert engine._scheduler.running == 0
    await engine.aclose()


async def test_thinking_turns_have_the_lower_rank_on_the_server(fake: FakeServer) -> None:
    await ask(fake, said("Yes."), request=Request((ASK,), mode=Mode(64)))
    await ask(fake, said("Yes."), request=Request((ASK,), mode=FAST))
    assert [chat.get("priority") for chat in fake.chats] == [1, None]


async def test_a_server_that_takes_no_priority_is_remembered(fake: FakeServer) -> None:
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    no = Answer(body={"error": {"message": "Got priority 1 but Priority scheduling is not enabled."}}, status=400)
    fake.answers = [no, said("One."), said("Two.")]
    for text in ("One.", "Two."):
        *_, reply = [item async for item in engine.stream(Request((ASK,), mode=Mode(64)))]
        assert reply == reply.__class__(text, usage=reply.usage)
    assert [chat.get("priority") for chat in fake.chats] == [1, None, None]
    await engine.aclose()
