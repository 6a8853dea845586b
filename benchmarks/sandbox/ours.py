"""What only we have: the pool, forks, calls of host functions. By the public interface, in the driver's process."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

from docker import DockerClient

from benchmarks.sandbox import processes
from benchmarks.sandbox.report import OURS
from benchmarks.sandbox.shared import PRINT, STACK, Measured
from fastslow.sandbox import DockerSandbox, DockerSession, HostFunction, Limits

POOL = 4
CALLS = 200
FORKS = 5
ADD = HostFunction("add", "Adds one.", {"properties": {"a": {"type": "integer"}}, "required": ["a"]})
CALL = f"""
import time
began = time.perf_counter()
for number in range({CALLS}):
    tools.add(a=number)
print((time.perf_counter() - began) / {CALLS} * 1000)
"""
WORK = "sum(number * number for number in range(100_000))"
STANDBY_SECONDS = 0.2  # a session makes its standby copy when it has been idle; not to be measured with the next thing


async def measure_ours(client: DockerClient, image: str, measured: Measured) -> None:
    async with _sandbox(image, pool=2) as sandbox:
        await _starts(sandbox, measured)
    async with _sandbox(image, Limits(memory=3 << 30)) as sandbox:
        session = await sandbox.session()
        await asyncio.to_thread(processes.rest, processes.newest(client, image))
        await _calls(session, measured)
        await _memory_of_forks(session, client, image, measured)
        await _forks(session, measured)
    async with _sandbox(image, pool=POOL) as sandbox:
        await _refill(sandbox, client, image, measured)


@contextlib.asynccontextmanager
async def _sandbox(image: str, limits: Limits | None = None, pool: int = 0) -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(limits, image=image, pool=pool)
    try:
        yield sandbox
    finally:
        await sandbox.aclose()


async def _starts(sandbox: DockerSandbox, measured: Measured) -> None:
    await (await sandbox.session()).aclose()
    for metric, code in (("warm", PRINT), ("stack_session", STACK), ("warm", PRINT), ("stack_session", STACK)):
        while sandbox.ready < 2:
            await asyncio.sleep(0.05)
        began = time.perf_counter()
        session = await sandbox.session()
        execution = await session.run(code)
        measured.add(metric, OURS, 1000 * (time.perf_counter() - began))
        assert execution.status == "ok", execution
        await session.aclose()


async def _calls(session: DockerSession, measured: Measured) -> None:
    async def answer(_name: str, arguments: dict[str, Any]) -> Any:
        return arguments["a"] + 1

    await session.offer([ADD])
    for _ in range(3):
        execution = await session.run(CALL, on_call=answer)
        measured.add("call", OURS, float(execution.stdout))


async def _memory_of_forks(session: DockerSession, client: DockerClient, image: str, measured: Measured) -> None:
    container = processes.newest(client, image)
    await session.run(STACK)
    await asyncio.sleep(STANDBY_SECONDS)
    before = processes.memory(container)
    copies = [await session.fork() for _ in range(FORKS)]
    for copy in copies:
        await copy.run(PRINT)
    await asyncio.sleep(STANDBY_SECONDS)
    measured.add("memory_fork", OURS, (processes.memory(container) - before) / FORKS)
    for copy in copies:
        await copy.aclose()


async def _forks(session: DockerSession, measured: Measured) -> None:
    for metric, megabytes in (("fork", 0), ("fork_100", 100), ("fork_1000", 1000)):
        await session.run(f"heap = bytearray(b'x') * ({megabytes} << 20)")
        for _ in range(3):
            await asyncio.sleep(STANDBY_SECONDS)
            began = time.perf_counter()
            copy = await session.fork()
            measured.add(metric, OURS, 1000 * (time.perf_counter() - began))
            await copy.aclose()


async def _refill(sandbox: DockerSandbox, client: DockerClient, image: str, measured: Measured) -> None:
    """How fast the pool is full again after all of it was taken, and what that costs a session that works."""
    sandbox.warm()
    await _ready(sandbox)
    idle = [client.containers.get(row["Id"]) for row in client.api.containers(filters={"ancestor": image})]
    measured.add("memory_pool", OURS, statistics.mean(processes.memory(container) for container in idle))

    live = await sandbox.session()
    await _ready(sandbox)
    began = time.perf_counter()
    taken = [live, *[await sandbox.session() for _ in range(POOL)]]
    while sandbox.idle < POOL:
        await asyncio.sleep(0.01)
    measured.add("refill", OURS, POOL / (time.perf_counter() - began))
    await _ready(sandbox)
    measured.add("refill_ready", OURS, POOL / (time.perf_counter() - began))

    quiet = [await _work(live) for _ in range(30)]
    taken += [await sandbox.session() for _ in range(POOL)]
    busy: list[float] = []
    while sandbox.idle < POOL:
        busy.append(await _work(live))
    measured.add("slowdown", OURS, 100 * (statistics.median(busy) / statistics.median(quiet) - 1))
    for session in taken:
        await session.aclose()


async def _ready(sandbox: DockerSandbox) -> None:
    while sandbox.ready < POOL:
        await asyncio.sleep(0.02)


async def _work(session: DockerSession) -> float:
    began = time.perf_counter()
    await session.run(WORK)
    return time.perf_counter() - began
