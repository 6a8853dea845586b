"""Several servers as one engine, against real ones on loopback that answer, die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from asking import ASK, WEATHER
from fake_server import CHAT, Answer, FakeServer, Seen, call, delta, port_of, said, serving, usage

from fastslow import Agent
from fastslow.agent.engine import pool
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.pool import Pool, addresses, engine_of
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.errors import ConfigurationError, EngineRefused, EngineUnreachable
from fastslow.agent.modes import Mode
from fastslow.agent.record.journal import Journal
from fastslow.tools import tool

NOWHERE = "http://127.0.0.1:1/v1"


class Talking(FakeServer):
    """Says something to each chat, unless it was told what."""

    def answer(self, seen: Seen) -> Answer:
        if seen.path == CHAT and not self.answers:
            return said(f"from {self.url}")
        return super().answer(seen)

    @property
    def sessions(self) -> set[str]:
        return {seen.headers.get("x-session-id", "") for seen in self.seen if seen.path == CHAT}


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Talking, Talking, Pool]]:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(serving(Talking())) for _ in range(2)]
        engine = Pool([a.url, b.url], profile="exaone4")
        stack.push_async_callback(engine.aclose)
        yield a, b, engine


async def turn(engine: Pool, session: str = "") -> Reply:
    *_, reply = [item async for item in engine.stream(Request((ASK,), session=session))]
    assert isinstance(reply, Reply)
    return reply


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOVE_SECONDS", 0.1)


def end_rests(engine: Pool) -> None:
    """As if the seconds had passed for which servers that failed are left out."""
    for server in engine._servers:
        server.rested = 0.0


# --- who goes where ------------------------------------------------------------------------------------


async def test_a_session_stays_and_new_ones_go_where_the_fewest_are() -> None:
    async with two() as (a, b, engine):
        for _ in range(3):
            for session in ("one", "two", "three", "four"):
                await turn(engine, session)
        assert (a.sessions, b.sessions) == ({"one", "three"}, {"two", "four"})


async def test_a_new_session_goes_where_no_call_is_in_flight() -> None:
    async with two() as (a, b, engine):
        a.answers = [Answer([delta([1], content="Ha")], hold=True)]
        slow = asyncio.create_task(turn(engine, "slow"))
        await asyncio.wait_for(a.holding.wait(), 5)
        for session in ("x", "y", "z"):
            await turn(engine, session)
        assert (a.sessions, b.sessions) == ({"slow"}, {"x", "y", "z"})
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        await turn(engine, "after")  # the call that was given up is in flight no more
        assert "after" in a.sessions


async def test_calls_without_a_session_take_turns() -> None:
    async with two() as (a, b, engine):
        for _ in range(4):
            await turn(engine)
        assert (len(a.chats), len(b.chats)) == (2, 2)
        assert (a.sessions, b.sessions) == ({""}, {""})


async def test_sessions_that_were_not_heard_of_for_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SESSIONS", 2)
    async with two() as (a, b, engine):
        for session in ("one", "two", "one", "three", "one"):  # the third has "two" forgotten
            await turn(engine, session)
        assert sorted(engine._sessions) == ["one", "three"]
        assert (a.sessions, b.sessions) == ({"one", "three"}, {"two"})
        assert [server.sessions for server in engine._servers] == [2, 0]


async def test_two_runs_side_by_side_stay_apart_and_every_request_names_its_run() -> None:
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    def looks() -> list[Answer]:
        call_look = delta(tool_calls=[call(0, "c1", "look", "{}")])
        return [Answer([delta(role="assistant"), call_look, delta(finish="tool_calls"), usage()])]

    async with two() as (a, b, engine):
        agent = Agent(engine=engine, tools=[look], sandbox=None, journal=None)
        a.answers, b.answers = looks(), looks()
        results = await asyncio.gather(agent.run("one"), agent.run("two"))
        assert {result.answer for result in results} == {f"from {a.url}", f"from {b.url}"}
        sessions = [{seen.headers.get("x-session-id") for seen in server.seen if seen.json} for server in (a, b)]
        assert [len(each) for each in sessions] == [1, 1], sessions
        assert set.union(*sessions) == {result.run for result in results}


async def test_each_kind_of_request_of_a_run_has_its_id(fake: FakeServer) -> None:
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    fake.models[0]["max_model_len"] = 700  # tight, so that the prompt is counted
    fake.text = "Sunny."
    busy = Answer(body={}, status=503)
    fake.answers = [busy, said("Sun", reasoning="Hm."), Answer(body={})]  # one that is asked for again
    request = Request((ASK,), (WEATHER,), mode=Mode(64), session="run-1")
    await engine.connect()
    assert len([item async for item in engine.stream(request)]) > 1
    await engine.choose(request, ["weather"])
    await engine.count([ASK], session="run-1")
    posts = [seen for seen in fake.seen if seen.json]
    assert {seen.path for seen in posts} == {CHAT, "/tokenize"}
    assert len([seen for seen in posts if seen.path == CHAT]) == 3
    assert {seen.headers.get("x-session-id") for seen in posts} == {"run-1"}
    await engine.aclose()


async def test_a_follow_up_stays_where_the_first_run_was(fake: FakeServer, tmp_path: Path) -> None:
    engine = VLLM(fake.url, profile="exaone4", probe=False)
    agent = Agent(engine=engine, sandbox=None, journal=Journal(tmp_path / "runs.db"))
    fake.answers = [said("One."), said("Two."), said("Three.")]
    first = await agent.run("one")
    second = await agent.run("two", after=first.run)
    await agent.run("three", after=second.run)
    assert [seen.headers["x-session-id"] for seen in fake.seen if seen.path == CHAT] == [first.run] * 3
    await engine.aclose()


# --- servers that go and come --------------------------------------------------------------------------


async def test_a_server_that_dies_in_mid_answer_loses_no_run_and_comes_back() -> None:
    async with serving(Talking()) as b:
        async with serving(Talking()) as a:
            engine = Pool([a.url, b.url], profile="exaone4")
            await turn(engine, "one")
            a.answers = [Answer([delta([1], content="Ha")], hold=True)]
            dying = asyncio.create_task(turn(engine, "one"))
            await asyncio.wait_for(a.holding.wait(), 5)
        reply = await asyncio.wait_for(dying, 10)
        assert reply.content == f"from {b.url}"
        assert reply.notes[0].startswith("A server could not be reached")
        assert a.url in reply.notes[0]
        for session in ("two", "three"):  # nobody waits for the dead one meanwhile
            assert (await turn(engine, session)).notes == ()
        async with serving(Talking(), port_of(a)) as again:
            end_rests(engine)
            await engine.connect()  # as each run does; it must not count as having tried the server
            assert (await turn(engine, "four")).content == f"from {again.url}"
            assert (await turn(engine, "one")).content == f"from {b.url}"  # its prompt is there by now
        await engine.aclose()


async def test_one_call_alone_tries_a_server_that_failed() -> None:
    async with serving(Talking()) as b:
        async with serving(Talking()) as a:
            engine = Pool([a.url, b.url], profile="exaone4")
            await turn(engine, "one")
        await asyncio.gather(*(turn(engine, "one") for _ in range(3)))
        end_rests(engine)
        replies = await asyncio.gather(*(turn(engine, f"new {n}") for n in range(6)))
        assert sum(bool(reply.notes) for reply in replies) == 1
        await engine.aclose()


async def test_a_server_that_is_away_at_first_is_told_of_and_joins_later() -> None:
    async with serving(Talking()) as a:
        async with serving(Talking()) as b:
            pass
        engine = Pool([a.url, b.url], profile="exaone4")
        [notice] = [text for text in await engine.connect() if "left out" in text]
        assert b.url in notice
        assert (await turn(engine, "one")).content == f"from {a.url}"
        async with serving(Talking(), port_of(b)) as again:
            again.models[0]["max_model_len"] = 8192
            assert engine.context == 16384
            end_rests(engine)
            assert (await turn(engine, "two")).content == f"from {again.url}"
            assert engine.context == 8192
        await engine.aclose()


async def test_counting_goes_on_elsewhere() -> None:
    async with serving(Talking()) as b:
        async with serving(Talking()) as a:
            engine = Pool([VLLM(a.url, profile="exaone4", retries=1), b.url])
            await turn(engine, "one")
        assert await engine.count([ASK], session="one") == 7
        assert [seen.path for seen in b.seen][-1] == "/tokenize"
        await engine.aclose()


async def test_all_gone_names_each() -> None:
    other = "http://127.0.0.1:2/v1"
    engine = Pool([NOWHERE, other])
    with pytest.raises(EngineUnreachable, match=rf"none of the 2 servers .*{NOWHERE}.*{other}"):
        await engine.connect()
    await engine.aclose()


async def test_all_gone_in_mid_run_is_waited_for_and_then_names_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two() as (a, b, engine):
        await turn(engine, "one")
    monkeypatch.setattr(pool, "REST", 0.3)
    monkeypatch.setattr(pool, "PATIENCE", 0.8)
    with pytest.raises(EngineUnreachable, match=rf"none of the 2 servers .*{a.url}.*{b.url}"):
        await turn(engine, "one")
    monkeypatch.setattr(pool, "PATIENCE", 20.0)
    waiting = asyncio.create_task(turn(engine, "one"))
    await asyncio.sleep(0.5)
    async with serving(Talking(), port_of(b)) as again:
        assert (await asyncio.wait_for(waiting, 10)).content == f"from {again.url}"
    await engine.aclose()


# --- what is passed ------------------------------------------------------------------------------------


async def test_different_models_are_named() -> None:
    async with two() as (_, b, engine):
        b.models = [{"id": "other", "root": "other", "max_model_len": 16384}]
        with pytest.raises(ConfigurationError, match=r"same model.*model='m'.*model='other'"):
            await engine.connect()


async def test_what_is_no_ones_fault_but_the_requests_moves_nothing() -> None:
    async with two() as (a, b, engine):
        a.answers = [Answer(body={"error": {"message": "no such thing"}}, status=400)]
        with pytest.raises(EngineRefused, match="no such thing"):
            await turn(engine, "one")
        assert b.chats == []
        assert (await turn(engine, "one")).content == f"from {a.url}"


def test_addresses_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_BASE_URL", " http://a/v1, http://b/v1\thttps://c/v1?x=1,2 ")
    assert addresses() == ("http://a/v1", "http://b/v1", "https://c/v1?x=1,2")
    assert addresses(["http://a/v1", "http://b/v1"]) == ("http://a/v1", "http://b/v1")
    assert isinstance(engine_of(), Pool)
    assert isinstance(engine_of(["http://a/v1"]), VLLM)
    assert isinstance(Agent(sandbox=None, journal=None).engine, Pool)


async def test_several_addresses_for_one_server_are_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_BASE_URL", "http://a/v1 http://b/v1")
    with pytest.raises(ConfigurationError, match=r"several servers are a Pool\("):
        await VLLM().connect()
    with pytest.raises(ConfigurationError, match="needs the addresses"):
        Pool([])
