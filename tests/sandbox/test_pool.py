"""Containers that run ahead: handed out once, refilled, replaced when they die."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fastslow.sandbox import DockerSandbox, ImageMissing, Limits
from fastslow.sandbox.owner import LABEL, Owner

pytestmark = pytest.mark.docker

DOCKER_PY = 25  # connections that docker-py keeps open, one for each address that it asked lately


async def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - it is the daemon that changes
            await asyncio.sleep(0.02)


def mine(client: Any) -> list[str]:
    label = f"{LABEL}={Owner.me().label()}"
    return [facts["Id"] for facts in client.api.containers(all=True, filters={"label": label})]


@pytest.fixture
async def pooled(client: object, small: Limits) -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(small, pool=2)
    try:
        yield sandbox
    finally:
        await asyncio.wait_for(sandbox.aclose(), 20)


async def test_sessions_come_at_once_and_the_pool_fills_again(client: Any, pooled: DockerSandbox) -> None:
    pooled.warm()
    await until(lambda: pooled.idle == 2)
    session = await pooled.session()
    assert pooled.idle == 1, "it came out of the pool, and the next is not made yet"
    assert (await session.run("1 + 1")).value == "2"
    await until(lambda: pooled.idle == 2)
    assert len(mine(client)) == 3
    await pooled.aclose()
    assert not mine(client)


async def test_no_two_tenants_share_a_container(pooled: DockerSandbox) -> None:
    sessions = await asyncio.gather(*(pooled.session() for _ in range(4)))
    for number, session in enumerate(sessions):
        await session.put("mine.txt", str(number).encode())
    await sessions[0].aclose()
    later = await pooled.session()
    assert await later.files() == ()
    assert [await session.get("mine.txt") for session in sessions[1:]] == [b"1", b"2", b"3"]


async def test_those_with_the_data_stack_go_first(pooled: DockerSandbox) -> None:
    pooled.warm()
    await until(lambda: pooled.ready == 1 and pooled.idle == 2)
    session = await pooled.session()
    done = await session.run("import sys; 'pandas' in sys.modules")
    assert done.value == "True"


async def test_a_dead_one_is_replaced(client: Any, pooled: DockerSandbox) -> None:
    pooled.warm()
    await until(lambda: pooled.idle == 2)
    before = set(mine(client))
    await asyncio.to_thread(client.api.kill, before.copy().pop())
    await until(lambda: pooled.idle == 2 and len(set(mine(client)) & before) == 1)
    assert (await (await pooled.session()).run("3")).value == "3"


async def test_warm_runs_one_session_ahead(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    try:
        sandbox.warm()
        sandbox.warm()
        await asyncio.sleep(0.05)
        session = await sandbox.session()
        assert len(mine(client)) == 1, "it waited for the one that was starting"
        assert (await session.run("1")).value == "1"
        assert sandbox.idle == 0
    finally:
        await sandbox.aclose()


async def test_a_cancelled_wait_leaves_the_container_for_the_next(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    try:
        sandbox.warm()
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(sandbox.session())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        session = await sandbox.session()
        assert (await session.run("1")).value == "1"
        assert len(mine(client)) == 1
    finally:
        await sandbox.aclose()
    assert not mine(client)


async def test_a_pool_that_cannot_fill_says_why_at_each_session(client: object, small: Limits) -> None:
    sandbox = DockerSandbox(small, image="fastslow-sandbox:absent", pool=2)
    try:
        for _ in range(3):
            with pytest.raises(ImageMissing, match="fastslow sandbox build"):
                await sandbox.session()
    finally:
        await sandbox.aclose()


async def test_many_sessions_in_a_row_cost_nothing_that_stays(client: Any, pooled: DockerSandbox) -> None:
    await (await pooled.session()).aclose()
    await until(lambda: pooled.idle == 2)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(8):
        session = await pooled.session()
        assert (await session.run(f"{number}")).value == str(number)
        await session.aclose()
    await until(lambda: pooled.idle == 2)
    assert len(os.listdir("/proc/self/fd")) <= before + DOCKER_PY
    assert len(mine(client)) <= 3
