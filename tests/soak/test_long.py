"""What takes minutes: many sessions, hosts killed, daemons that go away under load."""

import asyncio
import gc
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastslow.sandbox import DockerSandbox, Limits, SandboxError, SessionDied, docker_client
from fastslow.sandbox.owner import LABEL, Owner
from tests.soak.conftest import Daemon

pytestmark = [
    pytest.mark.docker,
    # docker-py forgets its socket when a daemon refuses the connection
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

SMALL = Limits(memory=256 << 20, disk=64 << 20, output=10_000, pids=64, seconds=30)
DOCKER_PY = 25  # connections that docker-py keeps open


def mine(client: Any) -> list[Any]:
    return list(client.api.containers(all=True, filters={"label": f"{LABEL}={Owner.me().label()}"}))


async def one(sandbox: DockerSandbox, number: int) -> None:
    session = await sandbox.session()
    try:
        assert (await session.run(f"x = {number}; x * 2", seconds=30)).value == str(number * 2)
        assert await session.files() == ()
        await session.put("mine.txt", str(number).encode())
        assert await session.get("mine.txt") == str(number).encode()
    finally:
        await session.aclose()


async def test_200_sessions_in_parallel_over_a_pool_of_8() -> None:
    sandbox = DockerSandbox(SMALL, pool=8)
    client = docker_client()
    try:
        await asyncio.gather(*(one(sandbox, number) for number in range(200)))
    finally:
        await sandbox.aclose()
    assert not mine(client)
    client.close()


async def test_1000_sessions_in_a_row_cost_nothing_that_stays() -> None:
    sandbox = DockerSandbox(SMALL, pool=2)
    client, process = docker_client(), psutil.Process()
    try:
        for number in range(1000):
            await one(sandbox, number)
            if number == 100:
                gc.collect()
                memory, descriptors = process.memory_info().rss, process.num_fds()
        gc.collect()
        assert process.memory_info().rss < memory + (8 << 20)
        assert process.num_fds() <= descriptors + DOCKER_PY
        assert len(mine(client)) <= 5
    finally:
        await sandbox.aclose()
    assert not mine(client)
    client.close()


HOST = """
import asyncio
from fastslow.sandbox import DockerSandbox, Limits
async def main():
    sandbox = DockerSandbox(Limits(memory=256 << 20, disk=64 << 20), pool=2)
    print("up", flush=True)
    while True:
        session = await sandbox.session()
        await session.run("import subprocess; subprocess.Popen(['sleep', '1000'])")
        await session.aclose()
asyncio.run(main())
"""


def kill_a_host_after(seconds: float) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdout.readline() == "up\n"
    time.sleep(seconds)
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()


def dead_folders() -> list[Path]:
    namespace = Owner.me().namespace.strip("pid:[]")
    folders = Path(tempfile.gettempdir()).glob(f"fastslow-{namespace}-*")
    return [folder for folder in folders if not psutil.pid_exists(int(folder.name.split("-")[2]))]


async def test_50_hosts_killed_at_random_moments_leave_nothing_to_the_next() -> None:
    random_ = random.Random(3)
    for _ in range(50):
        await asyncio.to_thread(kill_a_host_after, random_.uniform(0, 2))
    await asyncio.sleep(3)  # what the daemon was told last may still be under way
    sandbox = DockerSandbox(SMALL)
    try:
        await one(sandbox, 1)
        assert not [info for info in await sandbox.ls() if not info.alive]
    finally:
        await sandbox.aclose()
    assert not dead_folders()


async def test_two_daemons_share_the_sessions(daemon: Daemon) -> None:
    sandbox = DockerSandbox(SMALL, host=["unix:///var/run/docker.sock", daemon.host], pool=2)
    try:
        sessions = await asyncio.gather(*(sandbox.session() for _ in range(6)))
        assert len(daemon.containers()) >= 3
        assert [(await session.run("1 + 1")).value for session in sessions] == ["2"] * 6
        await asyncio.to_thread(daemon.stop)
        over = 0
        for session in sessions:
            try:
                await session.run("1")
            except SessionDied:
                over += 1
        assert 0 < over < 6
        more = await asyncio.gather(*(sandbox.session() for _ in range(3)))
        assert [(await session.run("3")).value for session in more] == ["3"] * 3
    finally:
        await asyncio.to_thread(daemon.start)
        await sandbox.aclose()
    assert not daemon.containers()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_daemon_that_goes_under_load_comes_back_clean(daemon: Daemon, how: signal.Signals) -> None:
    sandbox = DockerSandbox(SMALL, host=daemon.host, pool=2)
    ends: list[BaseException] = []

    async def work() -> None:
        while True:
            try:
                await one(sandbox, 7)
            except SandboxError as error:
                ends.append(error)
                await asyncio.sleep(0.2)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    try:
        await asyncio.sleep(4)
        await asyncio.to_thread(daemon.stop, how)
        await asyncio.sleep(2)
        assert ends, "sessions end with a SandboxError, and only with that"
        await asyncio.to_thread(daemon.start)
        await asyncio.sleep(6)
        assert not any(worker.done() for worker in workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await one(sandbox, 8)
    finally:
        for worker in workers:
            worker.cancel()
        await sandbox.aclose()
    await asyncio.sleep(3)
    assert not daemon.containers()
