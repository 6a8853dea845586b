"""Copies of a session: side by side, kept for later, gone back to."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from fastslow.sandbox import DockerSandbox, DockerSession, Limits, SessionDied
from tests.sandbox.conftest import living

pytestmark = pytest.mark.docker


@pytest.fixture
async def large(client: object) -> AsyncIterator[DockerSession]:
    """A session with room for heaps."""
    sandbox = DockerSandbox(Limits(memory=1 << 30, disk=64 << 20, seconds=10))
    try:
        yield await sandbox.session()
    finally:
        await asyncio.wait_for(sandbox.aclose(), 20)


async def test_copies_go_their_own_ways_side_by_side(session: DockerSession) -> None:
    await session.run("import time\nx = [1]")
    copies = [await session.fork() for _ in range(3)]
    started = time.monotonic()
    code = "x.append({n}); time.sleep(0.5); x"
    done = await asyncio.gather(
        session.run(code.format(n=0)), *(copy.run(code.format(n=n)) for n, copy in enumerate(copies, 1))
    )
    assert time.monotonic() - started < 1.5
    assert [each.value for each in done] == ["[1, 0]", "[1, 1]", "[1, 2]", "[1, 3]"]
    await session.put("shared", b"one workspace")
    assert (await copies[0].run("open('shared').read()")).value == "'one workspace'"
    assert (await copies[1].shell("cat shared")).stdout == "one workspace"


async def test_a_copy_of_a_copy_outlives_neither_more_nor_less(session: DockerSession) -> None:
    await session.run("x = 1")
    copy = await session.fork()
    await copy.run("x += 1")
    second = await copy.fork()
    sibling = await session.fork()
    assert [(await each.run("x")).value for each in (session, copy, second, sibling)] == ["1", "2", "2", "1"]
    await copy.aclose()
    for closed in (copy, second):
        assert not closed.alive
        with pytest.raises(SessionDied, match="closed"):
            await closed.run("x")
    await copy.aclose()
    assert [(await each.run("x")).value for each in (session, sibling)] == ["1", "1"]
    assert await living(session, 6) <= 6


async def test_a_copy_goes_on_when_the_interpreter_that_it_came_from_dies(session: DockerSession) -> None:
    await session.run("import os\nx = 5")
    copy = await session.fork()
    assert (await session.run("os._exit(1)")).status == "died"
    assert (await copy.run("x")).value == "5"
    died = await copy.run("os._exit(3)")
    assert died.status == "died"
    assert died.exit_code in (3, 137), "137: the container's init, its parent now, may have taken the status away"
    assert (await copy.run("1 + 1")).value == "2"


async def test_a_copy_made_before_anything_ran(session: DockerSession) -> None:
    copy = await session.fork()
    assert (await copy.run("x = 1\nx")).value == "1"
    assert "NameError" in (await session.run("x")).error


async def test_copies_draw_numbers_of_their_own(session: DockerSession) -> None:
    await session.run("import random")
    copy = await session.fork()
    draw = "random.random()"
    assert (await session.run(draw)).value != (await copy.run(draw)).value


async def test_back_to_a_checkpoint_as_often_as_wanted(session: DockerSession) -> None:
    await session.run("x = [0]")
    first = await session.checkpoint()
    await session.run("x.append(1)")
    second = await session.checkpoint()
    await session.run("x.append(2)")
    for number, value in ((None, "[0, 1]"), (first, "[0]"), (None, "[0, 1]"), (second, "[0, 1]"), (first, "[0]")):
        await session.run("x = 'gone'; import os; open('kept', 'w').close()")
        await session.rollback(number)
        assert (await session.run("x")).value == value
    assert [file.path for file in await session.files()] == ["kept"], "files stay as they are"
    with pytest.raises(ValueError, match="no checkpoint 99"):
        await session.rollback(99)
    assert (await session.run("x")).value == "[0]"


async def test_a_failed_cell_is_taken_back(session: DockerSession) -> None:
    await session.run("rows = [1, 2, 3]")
    await session.checkpoint()
    failed = await session.run("rows.clear()\nraise RuntimeError('half way')")
    assert failed.status == "error"
    assert (await session.run("rows")).value == "[]"
    await session.rollback()
    assert (await session.run("rows")).value == "[1, 2, 3]"
    died = await session.run("import os; os._exit(1)")
    assert died.status == "died"
    await session.rollback()
    again = await session.run("rows")
    assert (again.value, again.state) == ("[1, 2, 3]", "kept")


async def test_the_oldest_checkpoint_goes(session: DockerSession) -> None:
    numbers = []
    for n in range(10):
        await session.run(f"n = {n}")
        numbers.append(await session.checkpoint())
    with pytest.raises(ValueError, match="no checkpoint"):
        await session.rollback(numbers[1])
    await session.rollback(numbers[2])
    assert (await session.run("n")).value == "2"


async def test_no_checkpoint_yet(session: DockerSession) -> None:
    with pytest.raises(ValueError, match="there are: none"):
        await session.rollback()


async def test_a_heap_is_shared_until_written(large: DockerSession) -> None:
    await large.run("heap = bytearray(100_000_000)\nheap[::4096] = b'x' * len(heap[::4096])")
    copies = [await large.fork() for _ in range(5)]
    await asyncio.gather(*(copy.run(f"heap[0] = {n}") for n, copy in enumerate(copies)))
    found = [(await copy.run("heap[0], len(heap), heap[4096]")).value for copy in copies]
    assert found == [f"({n}, 100000000, 120)" for n in range(5)]
    assert (await large.run("heap[0]")).value == "120"


async def test_threads_do_not_survive_and_open_files_share_their_position(session: DockerSession) -> None:
    await session.put("lines", b"one\ntwo\nthree\n")
    await session.run(
        "import os, threading, time\nticks = []\n"
        "def tick():\n    while True:\n        ticks.append(1)\n        time.sleep(0.01)\n"
        "threading.Thread(target=tick, daemon=True).start()\nfd = os.open('lines', os.O_RDONLY)"
    )
    copy = await session.fork()
    still = "before = len(ticks); time.sleep(0.1); len(ticks) - before"
    assert (await copy.run(still)).value == "0"
    assert int(str((await session.run(still)).value)) > 0
    assert (await session.run("os.read(fd, 4)")).value == "b'one\\n'"
    assert (await copy.run("os.read(fd, 4)")).value == "b'two\\n'"


async def test_one_copy_killed_leaves_the_others_running(session: DockerSession) -> None:
    await session.run("import signal, subprocess, time\nx = 1")
    copies = [await session.fork() for _ in range(2)]
    helper = "p = subprocess.Popen(['sleep', '100']); time.sleep(1.5); p.poll(), x"
    going = asyncio.create_task(copies[0].run(helper))
    command = asyncio.create_task(session.shell("sleep 1.5; echo through"))
    stubborn = "signal.signal(2, signal.SIG_IGN)\nsubprocess.Popen(['setsid', 'sleep', '99'])\nwhile True: pass"
    late = await copies[1].run(stubborn, seconds=0.5)
    assert late.status == "timeout"
    assert (await going).value == "(None, 1)"
    assert (await command).stdout == "through\n"
    assert (await session.run("x")).value == "1"
    assert "99" not in (await session.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).stdout


async def test_a_cancelled_fork_leaves_nothing(session: DockerSession) -> None:
    await session.run("x = 1")
    for delay in (0.0, 0.001, 0.004):
        forking = asyncio.create_task(session.fork())
        await asyncio.sleep(delay)
        forking.cancel()
        await asyncio.gather(forking, return_exceptions=True)
    assert await living(session, 4) <= 4
    assert (await session.run("x")).value == "1"


async def test_closing_a_copy_ends_what_it_runs(session: DockerSession) -> None:
    copy = await session.fork()
    running = asyncio.create_task(copy.run("import time; time.sleep(100)"))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    await copy.aclose()
    assert (await running).status in ("error", "died")
    assert time.monotonic() - started < 1
    assert (await session.run("1 + 1")).value == "2"


async def test_no_room_for_a_copy(client: object) -> None:
    sandbox = DockerSandbox(Limits(memory=256 << 20, disk=64 << 20, pids=16))
    try:
        session = await sandbox.session()
        await session.run("x = 1")
        copies = []
        with pytest.raises(Exception, match="fork") as caught:  # noqa: PT012
            for _ in range(20):
                copies.append(await session.fork())
        assert type(caught.value).__name__ == "SandboxError"
        for copy in copies:
            await copy.aclose()
        assert (await session.run("x")).value == "1"
        assert (await (await session.fork()).run("x")).value == "1"
    finally:
        await sandbox.aclose()
