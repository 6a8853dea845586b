"""The managed server ends in the middle of a run: where the run goes on, and when it cannot."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from asking import ASK, WEATHER
from fake_server import Answer, FakeServer, delta, said, serving

from fastslow.agent import managed_server
from fastslow.agent.engine import reach
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.errors import EngineDied
from fastslow.agent.managed_server import ServerInfo

STALLED = Answer([delta([1], content="Ha")], hold=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path))
    monkeypatch.setattr(reach, "RESTART_SECONDS", 0.6)
    (tmp_path / "log").write_text("INFO serving\nERROR the last words\n")
    return tmp_path


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the server's process in its file; what answers is a fake of this process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        try:
            yield child
        finally:
            child.kill()


@dataclass
class Managed:
    """A managed server. `end` kills it: its process and its connections."""

    fake: FakeServer
    child: subprocess.Popen[bytes]
    ending: asyncio.Event
    serving: asyncio.Task[None]

    async def end(self) -> None:
        self.child.kill()
        self.child.wait()
        self.ending.set()
        await self.serving

    def write_file(self, home: Path, **fields: str) -> None:
        created = psutil.Process(self.child.pid).create_time()
        told = {"model": "/models/m", "served_name": "m", "profile": "exaone4"} | fields
        managed_server.write_server_info(
            ServerInfo(self.child.pid, created, self.fake.url, extra_flags=(), log=str(home / "log"), **told)
        )


@asynccontextmanager
async def managed() -> AsyncIterator[Managed]:
    ready: asyncio.Future[FakeServer] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def serve() -> None:
        async with serving(FakeServer()) as fake:
            ready.set_result(fake)
            await ending.wait()

    with process() as child:
        task = asyncio.create_task(serve())
        try:
            yield Managed(await ready, child, ending, task)
        finally:
            ending.set()
            await task


async def turn(engine: VLLM, begun: asyncio.Semaphore | None = None) -> Reply:
    items: list[Delta | Reply] = []
    async for item in engine.stream(Request((ASK,), (WEATHER,))):
        items.append(item)
        if begun:
            begun.release()
    assert isinstance(items[-1], Reply)
    return items[-1]


async def in_mid_answer(server: Managed, turns: int = 1) -> tuple[VLLM, list[asyncio.Task[Reply]]]:
    engine = VLLM(probe=False)
    server.fake.answers = [STALLED] * turns
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(turn(engine, begun)) for _ in range(turns)]
    for _ in tasks:
        await asyncio.wait_for(begun.acquire(), 20)
    return engine, tasks


async def test_goes_on_at_another_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "RESTART_SECONDS", 10.0)
    async with managed() as first, managed() as second:
        first.write_file(home)
        engine, tasks = await in_mid_answer(first, 3)
        await first.end()
        await asyncio.sleep(0.1)  # for a moment there is no server
        second.fake.answers = [said("One."), said("Two."), said("Three."), said("Four.")]
        second.fake.models[0]["max_model_len"] = 9000
        second.write_file(home)
        replies = await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert {reply.content for reply in replies} == {"One.", "Two.", "Three."}
        for reply in replies:
            assert "started again" in reply.notes[0]
            assert "asked for again" in reply.notes[1]
        assert engine.context == 9000, "what it serves is asked anew"
        assert (await turn(engine)).notes == ()
        await engine.aclose()


async def test_the_managed_server_gets_its_own_key_and_no_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by its record or by its address, and after it was started again with another key."""
    monkeypatch.setenv("FASTSLOW_API_KEY", "of another server")
    async with managed() as first, managed() as second:
        first.write_file(home, key="k1")
        engine, [task] = await in_mid_answer(first)
        by_address = VLLM(first.fake.url, probe=False)
        await by_address.connect()
        await first.end()
        second.write_file(home, key="k2")
        second.fake.answers = [said("One.")]
        await asyncio.wait_for(task, 20)
        elsewhere = VLLM("http://localhost:" + second.fake.url.rsplit(":")[-1], probe=False)
        await elsewhere.connect()
        asked = [[seen for seen in server.fake.seen if seen.path != "/health"] for server in (first, second)]
        keys = [[seen.headers["authorization"] for seen in of_one] for of_one in asked]
        assert set(keys[0]) == {"Bearer k1"}
        assert set(keys[1][:-1]) == {"Bearer k2"}
        assert keys[1][-1] == "Bearer of another server"
        for each in (engine, by_address, elsewhere):
            assert "k1" not in repr(each)
            await each.aclose()


async def test_waits_until_the_new_server_answers(home: Path) -> None:
    async with managed() as first, managed() as second:
        first.write_file(home)
        engine, [task] = await in_mid_answer(first)
        loading = second.fake.url
        second.fake.url = "http://127.0.0.1:9/v1"  # its process runs, and nobody answers
        second.write_file(home)
        await first.end()
        await asyncio.sleep(1.5)  # longer than anybody waits for a server that nobody starts
        assert not task.done()
        second.fake.url = loading
        second.fake.answers = [said("Yes.")]
        second.write_file(home)
        assert (await asyncio.wait_for(task, 20)).content == "Yes."
        await engine.aclose()


async def test_nobody_starts_it_again(home: Path) -> None:
    started = time.monotonic()
    async with managed() as first:
        first.write_file(home)
        engine, tasks = await in_mid_answer(first, 30)
        await first.end()
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        await engine.aclose()
    for end in ends:
        assert isinstance(end, EngineDied)
        assert "no other answered within 0.6 s" in str(end)
        assert "`fastslow up`" in str(end)
        assert end.log.endswith("the last words")
    assert time.monotonic() - started < 12, "all wait at the same time, not one behind the other (18 s)"


async def test_another_model_in_its_place(home: Path) -> None:
    async with managed() as first, managed() as second:
        first.write_file(home)
        engine, [task] = await in_mid_answer(first)
        second.write_file(home, model="/models/other", served_name="other")
        await first.end()
        with pytest.raises(EngineDied, match="one of other was started in its place"):
            await asyncio.wait_for(task, 20)
        assert not second.fake.chats
        await engine.aclose()


async def test_a_server_that_lives_is_asked_again_at_once(home: Path) -> None:
    async with managed() as only:
        only.write_file(home)
        only.fake.answers = [Answer([delta([1], content="Ha")], drop=True), said("Yes.")]
        engine = VLLM(probe=False)
        assert (await asyncio.wait_for(turn(engine), 20)).content == "Yes."
        await engine.aclose()
