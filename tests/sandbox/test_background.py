"""What a call leaves running serves the next calls, is heard, and ends when it must."""

import asyncio
import time

import pytest

from fastslow.sandbox import DockerSession
from tests.sandbox.conftest import living

pytestmark = pytest.mark.docker

SERVER = "python3 -m http.server 8000 --bind 127.0.0.1"
ASK = """
import time, urllib.request  # without single quotes: it is an argument of bash, too
for _ in range(100):
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/") as answer: status = answer.status
        break
    except OSError:
        status = None
        time.sleep(0.05)
status
"""
BEGUN = {
    "&": f"{SERVER} & echo started",
    "nohup": f"nohup {SERVER} & echo started",
    "setsid": f"setsid {SERVER} & echo started",
    "a pipeline": f"{SERVER} 2>&1 | cat & echo started",
    "a subshell": f"({SERVER} &) ; echo started",
    "redirected": f"{SERVER} > log.txt 2>&1 & echo started",
    "a group of its own": f"set -m; {SERVER} & echo started",
}
FROM_PYTHON = f"""
import subprocess
p = subprocess.Popen({SERVER.split()!r})
print("started")
"""


async def answers(session: DockerSession) -> bool:
    return (await session.run(ASK)).value == "200"


@pytest.mark.parametrize("way", BEGUN)
async def test_what_a_command_leaves_running_serves_the_next_calls(session: DockerSession, way: str) -> None:
    started = time.monotonic()
    begun = await session.shell(BEGUN[way])
    assert (begun.status, begun.stdout) == ("ok", "started\n")
    assert time.monotonic() - started < 2
    for _ in range(3):  # each request is logged to a pipe whose reader was the first call
        assert await answers(session)


async def test_what_python_leaves_running_serves_commands(session: DockerSession) -> None:
    assert (await session.run(FROM_PYTHON)).stdout == "started\n"
    assert (await session.shell(f"python3 -c '{ASK}\nprint(status)'")).stdout == "200\n"


async def test_what_is_said_in_the_background_is_shown_with_the_next_call(session: DockerSession) -> None:
    await session.shell("(sleep 0.2; echo listening; echo 'address in use' >&2; sleep 100) & echo started")
    await asyncio.sleep(0.6)
    heard = await session.shell("echo mine")
    assert heard.stdout == "mine\n", "what a program reads stays what the command said"
    assert heard.stderr == "[said in the background:]\nlistening\naddress in use\n"
    assert (await session.shell("echo mine")).stderr == "", "once"

    await session.run("import subprocess\np = subprocess.Popen('sleep 0.2; echo from python', shell=True)")
    await asyncio.sleep(0.6)
    assert "from python" in (await session.run("1")).stderr


async def test_a_flood_in_the_background_keeps_its_tail_and_holds_up_nobody(session: DockerSession) -> None:
    await session.shell("yes noise & echo started")
    for _ in range(3):
        await asyncio.sleep(0.3)
        started = time.monotonic()
        heard = await session.run("1 + 1")
        assert heard.value == "2"
        assert time.monotonic() - started < 1
        assert len(heard.stderr) < 10_000
        assert "were left out" in heard.stderr


async def test_what_a_stopped_call_began_ends_with_it_and_what_others_began_lives_on(session: DockerSession) -> None:
    for begin in (
        session.shell(BEGUN["&"]),
        session.shell("setsid sleep 1000 & echo started"),
        session.run(FROM_PYTHON),
    ):
        assert (await begin).stdout == "started\n"
    before = await living(session, 0)
    for late in (
        session.shell("sleep 500 & setsid sleep 500 & while :; do :; done", seconds=0.3),
        session.run("subprocess.Popen(['setsid', 'sleep', '500'])\nwhile True: pass", seconds=0.3),
        session.run("import time; time.sleep(100)", seconds=0.3),
        session.run("import os; subprocess.Popen(['sleep', '500']); os._exit(3)"),
    ):
        assert (await late).status in ("timeout", "died")
        assert await answers(session)
        assert await living(session, before) <= before
    assert (await session.shell("pgrep -c -f 'sleep 1000' || grep -l 'sleep.1000' /proc/[0-9]*/cmdline")).exit_code == 0


async def test_the_next_call_may_begin_something_right_after_one_was_stopped(session: DockerSession) -> None:
    await session.shell("while :; do :; done", seconds=0.2)
    await session.shell(BEGUN["setsid"])
    await asyncio.sleep(0.3)
    assert await answers(session)


@pytest.mark.parametrize(
    "bomb",
    [
        "f() { f | f & }; f",
        "python3 -c 'import os\nwhile True:\n try:\n  if os.fork() == 0: os.setsid()\n except OSError: pass' & echo",
        "for n in $(seq 200); do sleep 1000 & done",
    ],
)
async def test_a_fork_bomb_in_the_background_is_killed(session: DockerSession, bomb: str) -> None:
    await session.shell(f"{bomb}\n", seconds=2)
    await asyncio.sleep(0.5)
    heard = [await session.shell("for n in 1 2 3 4 5; do /bin/true; done; echo ok", seconds=5) for _ in range(3)]
    assert heard[-1].stdout == "ok\n"
    assert await living(session, 4) <= 4


async def test_what_a_copy_began_ends_with_the_copy(session: DockerSession) -> None:
    await session.run("x = 1")
    copy = await session.fork()
    before = await living(session, 0)
    await copy.shell("sleep 1000 & echo started")
    await session.shell("sleep 500 & echo started")
    await copy.aclose()
    assert "sleep\x00500" in (listed := (await session.shell("cat /proc/[0-9]*/cmdline")).stdout)
    assert "sleep\x001000" not in listed
    assert await living(session, before) <= before


async def test_many_calls_that_leave_something_running(session: DockerSession) -> None:
    for n in range(40):
        begun = await session.shell(f"sleep 1000 & echo {n}")
        assert begun.stdout == f"{n}\n"
    assert (await session.run("1 + 1")).value == "2"
