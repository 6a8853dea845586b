"""Many runs at once: one process, one loop, one server with room for a few."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from pydantic import BaseModel

from fastslow import VLLM, Agent, Exit, Result, RunOptions, ScriptedModel, Task, run_many
from fastslow.agent.engine import retries
from fastslow.agent.engine.types import Request
from fastslow.agent.errors import EngineUnreachable
from fastslow.agent.events import Notice, TurnDelta, TurnFinished
from fastslow.agent.loop import Branch
from fastslow.agent.many import as_they_come
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.run import Run
from fastslow.agent.transcript import User
from fastslow.sandbox import DummySandbox
from fastslow.tools import Toolbox, tool
from tests.agent.helpers import add, calls, says
from tests.engine.fake_server import Answer, FakeServer, Seen, call, delta, read_request, said, send, serving, usage


class Busy(FakeServer):
    """Answers each chat after a moment, and sees who came when and how many were there at once.

    Who asks in a thinking turn is told to add; who comes back with the sum gets an answer.
    """

    def __init__(self, seconds: float = 0.002) -> None:
        super().__init__()
        self.seconds = seconds
        self.now = self.most = 0
        self.order: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open[asyncio.current_task()] = writer
        try:
            while (seen := await read_request(reader)) is not None:
                if not seen.path.endswith("/chat/completions"):
                    await send(writer, self.answer(seen))
                    continue
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(self.seconds)
                self.now -= 1
                answer = self.turn(seen)
                await send(writer, answer)
                if answer.drop or answer.raw is not None:
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()
            del self.open[asyncio.current_task()]

    def turn(self, seen: Seen) -> Answer:
        thinks = seen.json["chat_template_kwargs"]["enable_thinking"]
        task = next(message["content"] for message in seen.json["messages"] if message["role"] == "user")
        self.order.append(f"{'think' if thinks else 'fast'} {task}")
        last = seen.json["messages"][-1]
        if thinks or last["role"] != "tool":
            adding = call(0, "c1", name="add", arguments='{"a": 2, "b": 3}')
            return Answer([delta([1], reasoning="Hm."), delta([2], tool_calls=[adding]), delta(finish="stop"), usage()])
        return said(f"{task}: {last['content']}")


@pytest.fixture
async def busy() -> AsyncIterator[Busy]:
    async with serving(Busy()) as server:
        yield server


def agent_of(server: FakeServer, concurrency: int = 16) -> Agent:
    engine = VLLM(server.url, profile="exaone4", concurrency=concurrency, probe=False)
    return Agent(engine=engine, tools=[add], sandbox=None, journal=None)


async def test_256_runs_at_once(busy: Busy) -> None:
    busy.seconds = 0.05  # so slow that all places are taken
    agent, threads = agent_of(busy), threading.active_count()
    results: dict[int, Result] = {}
    most_threads = threads
    async with aclosing(run_many(agent, (f"task {n}" for n in range(256)), concurrency=256)) as ended:
        async for number, result in ended:
            results[number] = result
            most_threads = max(most_threads, threading.active_count())
    await agent.aclose()
    assert sorted(results) == list(range(256))
    assert all(result.answer == f"task {n}: 5" for n, result in results.items())
    assert len({result.run for result in results.values()}) == 256
    assert busy.most == 16, "as many as the engine allows, and never more"
    assert most_threads - threads <= 36, "no thread a run: what there is are those for tools, 32 at most"
    assert len(busy.order) == 512
    first = next(name for name in busy.order if name.startswith("fast"))
    assert busy.order.index(first) < 64, "a fast turn that came later overtook thinking ones"
    assert busy.order[-1].startswith("fast")


class Failing(Busy):
    """Each tenth answer fails, each in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = random.Random(0)
        self.failed = 0

    def turn(self, seen: Seen) -> Answer:
        half = [delta([1], content="Half an ans")]
        faults = [
            Answer(drop=True),
            Answer(half, drop=True),
            Answer(half, polite=True),
            Answer([*half, {"error": {"message": "engine dead", "code": 500}}]),
            Answer([*half, 'data: {"choices": [{"del\n\n']),
            said("Half an ans", finish="abort"),
            Answer(body={"error": {"message": "boom"}}, status=500),
            Answer(body={"error": {"message": "full"}}, status=503, headers={"Retry-After": "0.01"}),
            Answer(body={"error": {"message": "too many"}}, status=429),
            Answer(raw=b"\x00garbage\r\n\r\n"),
        ]
        if self.draw.random() < 0.1:
            self.failed += 1
            return faults[self.failed % len(faults)]
        return super().turn(seen)


async def test_256_runs_at_once_on_a_server_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    sums = list[int]()

    @tool(effect="read")
    async def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: The first.
            b: The second.
        """
        sums.append(a + b)
        return a + b

    async with serving(Failing()) as failing:
        agent = agent_of(failing)
        agent.tools = Toolbox([add])
        tasks = [f"task {n}" for n in range(256)]
        results = dict([item async for item in run_many(agent, tasks, concurrency=256)])
        await agent.aclose()
    assert failing.failed > 20
    assert {n: result.answer for n, result in results.items()} == {n: f"task {n}: 5" for n in range(256)}
    assert sums == [5] * 256, "nothing is done twice"
    notes = [event.text for result in results.values() for event in result.events if isinstance(event, Notice)]
    assert set(notes) == {"The server broke off; the answer was asked for again from its start."}


async def ask(engine: VLLM, name: str, mode: Mode = FAST) -> None:
    async for _ in engine.stream(Request((User(name),), mode=mode)):
        pass


async def test_the_server_sees_fast_turns_first(busy: Busy) -> None:
    engine = VLLM(busy.url, profile="exaone4", concurrency=1, probe=False)
    await engine.connect()
    asked = [ask(engine, f"{n}", Mode(64)) for n in range(4)] + [ask(engine, f"{n}") for n in range(4)]
    await asyncio.gather(*asked)
    await engine.aclose()
    assert busy.order == ["think 0", *(f"fast {n}" for n in range(4)), *(f"think {n}" for n in range(1, 4))]


async def test_a_thinking_turn_comes_to_its_turn_though_fast_ones_never_end(busy: Busy) -> None:
    engine = VLLM(busy.url, profile="exaone4", concurrency=2, probe=False)
    engine._scheduler.handicap = 0.1
    thought = asyncio.Event()

    async def fast(name: str) -> None:
        while not thought.is_set():
            await ask(engine, name)

    async def think() -> None:
        await asyncio.sleep(0.02)
        await ask(engine, "a thought", Mode(64))
        thought.set()

    flood = [fast(str(n)) for n in range(8)]  # more than there are places: some wait at each moment
    await asyncio.wait_for(asyncio.gather(*flood, think()), 20)
    await engine.aclose()
    assert "think a thought" in busy.order


async def test_nothing_is_left_of_a_run_that_ended(busy: Busy) -> None:
    agent, alive = agent_of(busy), list[int]()
    gc.collect()
    others = [thing for thing in gc.get_objects() if isinstance(thing, Run | Branch | TurnFinished)]
    async with aclosing(run_many(agent, map(str, range(256)), concurrency=64)) as ended:
        async for number, _ in ended:
            if number % 32 == 0:
                gc.collect()
                runs = [thing for thing in gc.get_objects() if isinstance(thing, Run)]
                alive.append(len(runs) - sum(isinstance(thing, Run) for thing in others))
                del runs
    del _
    await agent.aclose()
    for _ in range(100):  # the event loop may hold the last one for a moment
        await asyncio.sleep(0.01)
        gc.collect()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Run | Branch | TurnFinished)]
        if len(left) <= len(others):  # those of other tests may go meanwhile
            break
    assert max(alive) <= 64
    assert len(left) <= len(others)


async def test_one_bad_task_ends_no_other(busy: Busy, tmp_path: Path) -> None:
    agent = agent_of(busy)
    bad = [Task("b", RunOptions(files=[tmp_path / "absent.csv"])), Task("c", RunOptions(files=[tmp_path])), "d\ud800"]
    results = dict([item async for item in run_many(agent, ["a", *bad, "e"], concurrency=2)])
    await agent.aclose()
    assert [results[n].exit for n in (0, 4)] == [Exit.ANSWERED] * 2
    assert [results[n].exit for n in (1, 2)] == [Exit.FAILED] * 2
    assert "the run could not start: no file" in results[1].reason
    assert sorted(results) == [0, 1, 2, 3, 4]


async def test_a_server_that_is_not_there_is_said_once_before_the_first_run() -> None:
    agent = Agent(engine=VLLM("http://127.0.0.1:9/v1", probe=False), sandbox=None, journal=None)
    with pytest.raises(EngineUnreachable, match="no server answers"):
        [item async for item in run_many(agent, ["a"] * 1000)]
    await agent.aclose()


async def test_closing_it_cancels_what_runs_and_starts_nothing_more(busy: Busy) -> None:
    busy.seconds = 0.05
    agent, begun = agent_of(busy), list[int]()

    def tasks() -> Iterator[str]:
        for n in range(1000):
            begun.append(n)
            yield str(n)

    async with aclosing(run_many(agent, tasks(), concurrency=8)) as ended:
        async for _ in ended:
            break
    assert len(begun) == 8
    assert agent.engine._scheduler.running == 0  # type: ignore[attr-defined]
    await agent.aclose()


async def test_each_task_has_a_folder_of_its_own_for_what_it_makes(tmp_path: Path) -> None:
    script = [calls(("write_file", {"path": "out.txt", "content": "made"})), says("done")]
    agent = Agent(engine=ScriptedModel(script * 2), sandbox=DummySandbox(), out=tmp_path / "out", journal=None)
    source = tmp_path / "in.txt"
    source.write_text("x")
    tasks = [Task(name, RunOptions(files=[source])) for name in "ab"]
    results = [result async for _, result in run_many(agent, tasks, concurrency=1)]
    assert [result.files for result in results] == [(tmp_path / "out" / str(n) / "out.txt",) for n in (0, 1)]
    assert agent.out == tmp_path / "out"


class Sum(BaseModel):
    value: int


async def test_answers_of_one_form(busy: Busy) -> None:
    script = [calls(("answer", {"value": 5}), reasoning="Hm.")]
    agent = Agent(engine=ScriptedModel(script * 2), sandbox=None, journal=None)
    results = [result async for _, result in run_many(agent, ["a", "b"], output=Sum)]
    assert [result.output for result in results] == [Sum(value=5)] * 2
    kinds = {type(event) for event in results[0].events}
    assert TurnFinished in kinds
    assert TurnDelta not in kinds


async def test_no_runs_and_no_room() -> None:
    agent = Agent(engine=ScriptedModel([]), sandbox=None, journal=None)
    assert [item async for item in run_many(agent, [])] == []
    with pytest.raises(ValueError, match="at least 1"):
        [item async for item in run_many(agent, ["a"], concurrency=0)]


async def test_an_agent_has_it_as_a_method() -> None:
    agent = Agent(engine=ScriptedModel([says("one")]), sandbox=None, journal=None)
    async with aclosing(agent.run_many(["a"], concurrency=1)) as results:
        assert [(number, result.answer) async for number, result in results] == [(0, "one")]


async def test_what_ended_together_with_an_error_is_told() -> None:
    async def one(number: int) -> int:
        await asyncio.sleep(0)
        if number == 0:
            raise OSError("gone")
        return number

    told = []

    async def tell() -> None:
        async with aclosing(as_they_come((one(number) for number in range(8)), 8)) as results:
            async for number in results:
                told.append(number)

    with pytest.raises(OSError, match="gone"):
        await tell()
    assert sorted(told) == list(range(1, 8))
