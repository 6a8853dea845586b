"""Whatever runs is stopped in time, by its limit or by the host, and the next call works."""

import asyncio
import time
from typing import Any

import pytest

from fastslow.sandbox import DockerSession
from fastslow.sandbox.sandbox import HostFunction
from tests.sandbox.conftest import living

pytestmark = pytest.mark.docker

LATE = 0.1  # seconds after its limit by which a runaway is gone, on a machine that has a processor for it
BUSY = 0.4  # what we grant one that has not

STUBBORN = {
    "catches": """
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    "ignores": """
import signal, time
for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
while True: time.sleep(1)
""",
    "blocks": """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
""",
    "in C": "__import__('re').match('(a+)+b', 'a' * 60)",
    "children": """
import subprocess
for _ in range(3): subprocess.Popen(["setsid", "sh", "-c", "trap '' INT; while :; do :; done"])
while True: pass
""",
    "holds stdout": """
import os
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        while True: print("x" * 1000)
while True: pass
""",
    "fork bomb": """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    "threads": """
import signal, threading
signal.signal(2, signal.SIG_IGN)
def spin():
    while True: pass
threads = [threading.Thread(target=spin) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
""",
}


async def settled(session: DockerSession) -> None:
    """Give the standby its time."""
    await asyncio.sleep(0.2)


async def test_a_plain_loop_keeps_the_state(session: DockerSession) -> None:
    await session.run("x = 5")
    started = time.monotonic()
    late = await session.run("n = 1\nwhile True:\n    n += 1", seconds=0.5)
    assert time.monotonic() - started < 0.5 + LATE + BUSY
    assert (late.status, late.exit_code, late.state) == ("timeout", 124, "kept")
    assert "limit of 0.5 seconds" in late.error
    assert "KeyboardInterrupt" in late.error
    assert (await session.run("x, n > 1")).value == "(5, True)"
    for sleeping in ("import subprocess; subprocess.run(['sleep', '100'])", "import asyncio; await asyncio.sleep(100)"):
        assert (await session.run(sleeping, seconds=0.3)).state == "kept"
    assert (await session.run("x")).value == "5"


@pytest.mark.parametrize("kind", STUBBORN)
async def test_what_will_not_stop_is_stopped_and_the_state_restored(session: DockerSession, kind: str) -> None:
    await session.run("x = 5")
    await settled(session)
    started = time.monotonic()
    late = await session.run("x = 'spoiled'\n" + STUBBORN[kind], seconds=0.5)
    assert time.monotonic() - started < 0.5 + LATE + BUSY
    assert (late.status, late.exit_code) == ("timeout", 124)
    assert await living(session, 4) <= 4
    state = {"kept": "'spoiled'", "restored": "5"}[late.state]
    assert (await session.run("x")).value == state


async def test_without_a_standby_the_state_is_lost(session: DockerSession) -> None:
    await session.run("heap = bytearray(80_000_000)")  # more than a quarter of the memory: too dear to copy
    await settled(session)
    late = await session.run(STUBBORN["ignores"], seconds=0.3)
    assert (late.status, late.state) == ("timeout", "lost")
    fresh = await session.run("heap")
    assert (fresh.status, fresh.state) == ("error", "kept")
    assert "NameError" in fresh.error


async def test_a_standby_is_as_the_last_run_left_it(session: DockerSession) -> None:
    for n in range(3):
        await session.run(f"x = {n}")
    await settled(session)
    for _ in range(2):
        died = await session.run("x = 'spoiled'\nimport os; os._exit(1)")
        assert (died.status, died.state) == ("died", "restored")
        assert (await session.run("x")).value == "2"
        await settled(session)


async def test_an_interpreter_that_dies_between_runs(session: DockerSession) -> None:
    await session.run("import os, threading\nx = 1\nthreading.Timer(0.2, os._exit, (1,)).start()")
    await asyncio.sleep(0.4)
    after = await session.run("x")
    assert (after.status, after.state) == ("error", "lost"), "a threaded one has no standby"
    assert (await session.run("1")).state == "kept"


async def test_out_of_memory_kills_the_interpreter_only(session: DockerSession) -> None:
    await session.put("kept.txt", b"kept")
    await session.run("x = 1")
    await settled(session)
    died = await session.run("hog = [bytearray(20_000_000) for _ in range(100)]")
    assert (died.status, died.exit_code) == ("died", 137)
    assert "out of memory" in died.error
    assert (await session.run("open('kept.txt').read()")).value == "'kept'"
    assert (await session.run("1 + 1")).value == "2"


async def test_a_flood_of_500_mb(session: DockerSession) -> None:
    flood = await session.run("print('first')\nfor _ in range(5000): print('x' * 100_000)\nprint('last')")
    assert flood.status == "ok"
    assert flood.truncated
    assert flood.stdout.startswith("first\n")
    assert flood.stdout.endswith("last\n")
    assert "the first 16,777,216 bytes are in output/stdout-1.txt" in flood.stdout, "a quarter of the disk"
    assert (await session.run("1 + 1")).value == "2"


async def test_one_line_of_60_mb(session: DockerSession) -> None:
    line = await session.shell("head -c 60000000 /dev/zero | tr '\\0' y")
    assert line.status == "ok"
    assert len(line.stdout) < session.limits.output + 200
    assert (await session.run("import sys; n = sys.stdout.write('y' * 60_000_000)")).truncated
    assert (await session.run("1 + 1")).value == "2"


async def test_an_endless_flood_is_stopped(session: DockerSession) -> None:
    started = time.monotonic()
    late = await session.run("while True: print('x' * 10_000)", seconds=0.5)
    assert time.monotonic() - started < 0.5 + LATE + BUSY
    assert late.status == "timeout"
    assert (await session.shell("yes", seconds=0.3)).status == "timeout"
    assert (await session.run("1 + 1")).value == "2"


async def test_stdout_held_open_in_the_background(session: DockerSession) -> None:
    started = time.monotonic()
    assert (await session.shell("sleep 100 & echo started")).stdout == "started\n"
    code = "import subprocess\np = subprocess.Popen('while sleep 0.05; do echo noise; done', shell=True)\nprint('on')"
    assert (await session.run(code)).status == "ok"
    assert time.monotonic() - started < 2
    await asyncio.sleep(0.3)
    assert (await session.run("p.kill(); 1 + 1")).value == "2"


async def test_shell_commands_are_stopped(session: DockerSession) -> None:
    await session.run("x = 1")
    for command in ("sleep 100", "trap '' INT TERM; sleep 100", "trap '' INT; while :; do :; done"):
        started = time.monotonic()
        late = await session.shell(command, seconds=0.3)
        assert time.monotonic() - started < 0.3 + LATE + BUSY
        assert (late.status, late.exit_code, late.state) == ("timeout", 124, "kept")
    assert (await session.run("x")).value == "1"


async def test_a_command_in_a_new_container_is_stopped_in_time(session: DockerSession) -> None:
    late = await session.shell("while :; do :; done", seconds=0.3)  # the guest would be loading the data stack
    assert late.status == "timeout"
    assert late.seconds < 0.3 + LATE + BUSY


async def test_a_fork_bomb_by_the_shell_leaves_a_usable_session(session: DockerSession) -> None:
    bomb = await session.shell("f() { f | f & }; f; sleep 100", seconds=1)
    assert bomb.status == "timeout"
    assert (await session.run("1 + 1")).value == "2"


async def test_interrupt(session: DockerSession) -> None:
    await session.run("x = 1")
    running = asyncio.create_task(session.run("import time\ntime.sleep(100)"))
    await asyncio.sleep(0.3)
    await session.interrupt()
    stopped = await asyncio.wait_for(running, 3)
    assert (stopped.status, stopped.state) == ("error", "kept")
    assert "KeyboardInterrupt" in stopped.error
    await session.interrupt()  # nothing runs: nothing happens
    running = asyncio.create_task(session.run(STUBBORN["ignores"]))
    await asyncio.sleep(0.3)
    await session.interrupt()
    killed = await asyncio.wait_for(running, 3)
    assert (killed.status, killed.exit_code) == ("died", 137)
    assert "Interrupted" in killed.error
    command = asyncio.create_task(session.shell("sleep 100"))
    await asyncio.sleep(0.1)
    await session.interrupt()
    assert (await asyncio.wait_for(command, 3)).status == "error"
    assert (await session.run("1 + 1")).value == "2"


@pytest.mark.parametrize("code", ["while True: pass", STUBBORN["catches"], "while True: print('x' * 1000)"])
async def test_cancel_stops_the_code_and_keeps_the_session(session: DockerSession, code: str) -> None:
    await session.run("x = 1")
    await settled(session)
    running = asyncio.create_task(session.run(code))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 0.5)
    started = time.monotonic()
    assert (await session.run("x")).value == "1"
    assert time.monotonic() - started < LATE + BUSY


async def test_what_cancelled_code_lost_the_next_run_tells(session: DockerSession) -> None:
    await session.run("heap = bytearray(80_000_000)")  # too large for a standby
    running = asyncio.create_task(session.run(STUBBORN["ignores"]))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [(await session.run(code)).state for code in ("1", "2")] == ["lost", "kept"]


async def test_cancel_of_everything_else(session: DockerSession) -> None:
    async def never(*_: object) -> Any:
        await asyncio.sleep(100)

    await session.offer([HostFunction("f", "Wait.", {"type": "object", "properties": {}})])
    await session.put("large", b"x" * (8 << 20))
    for action in (
        lambda: session.shell("trap '' INT; sleep 100"),
        lambda: session.run("import tools\ntools.f()", on_call=never),
        lambda: session.put("other", b"y" * (8 << 20)),
        lambda: session.get("large"),
        lambda: session.files(),
        lambda: session.checkpoint(),
        lambda: session.rollback(),
    ):
        for delay in (0, 0.003, 0.1):
            task = asyncio.create_task(action())
            await asyncio.sleep(delay)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await session.run("1 + 1")).value == "2"
    assert await session.get("large") == b"x" * (8 << 20)


async def test_calls_after_the_deadline_fail(session: DockerSession) -> None:
    async def quick(*_: object) -> Any:
        return 1

    await session.offer([HostFunction("f", "One.", {"type": "object", "properties": {}})])
    code = "import tools\nwhile True:\n    try: tools.f()\n    except BaseException as error: seen = error"
    late = await session.run(code, seconds=0.3, on_call=quick)
    assert late.status in ("timeout", "error"), "or the calls ran out first"
    assert (await session.run("1 + 1")).value == "2"


async def test_many_short_timeouts_in_a_row(session: DockerSession) -> None:
    await session.run("x = 1")
    for seconds in (0.001, 0.005, 0.01, 0.02, 0.05) * 4:
        assert (await session.run("import time\nwhile True: time.sleep(0.001)", seconds=seconds)).status == "timeout"
    assert (await session.run("1 + 1")).value == "2"
