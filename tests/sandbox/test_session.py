"""What code can rely on: a notebook's manners, limits that hold and leave the session usable."""

import asyncio
import base64
import time
from pathlib import Path

import pytest

from sandbox import DockerSandbox, DockerSession

pytestmark = pytest.mark.docker


async def test_state_survives_and_the_last_value_is_shown(session: DockerSession) -> None:
    first = await session.run("x = 41\nprint('hello')\nx + 1")
    assert (first.status, first.stdout, first.value, first.exit_code) == ("ok", "hello\n", "42", 0)
    assert (await session.run("x")).value == "41"
    assert (await session.run("x;")).value is None
    assert (await session.run("_ + 1")).value == "42"
    assert (await session.run("  y = 1\n  y")).value == "1"
    assert (await session.run("# nothing")).status == "ok"
    assert (await session.run("")).status == "ok"


async def test_top_level_await_and_asyncio(session: DockerSession) -> None:
    code = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 7\n"
    assert (await session.run(code + "await f()")).value == "7"
    assert (await session.run("asyncio.run(f())")).value == "7"


async def test_tracebacks_show_the_users_lines_only(session: DockerSession) -> None:
    await session.run("def f(x):\n    return 1 / x")
    failed = await session.run("y = 2\nf(0)")
    assert failed.status == "error"
    assert failed.exit_code == 1
    lines = [line.strip() for line in failed.error.splitlines()]
    assert 'File "<cell 2>", line 2, in <module>' in lines
    assert 'File "<cell 1>", line 2, in f' in lines
    assert "return 1 / x" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert (await session.run("y")).value == "2"
    library = await session.run("import json\njson.loads('{')")
    assert library.error.count("File ") == 1
    syntax = await session.run("x = = 1")
    assert syntax.error.splitlines()[0].strip() == 'File "<cell 5>", line 1'
    assert "SyntaxError" in syntax.error


async def test_exits(session: DockerSession) -> None:
    await session.run("x = 1")
    assert (
        (await session.run("import sys; sys.exit(3)")).exit_code,
        (await session.run("sys.exit()")).status,
    ) == (3, "ok")
    said = await session.run("sys.exit('no way')")
    assert (said.status, said.exit_code, said.stderr) == ("error", 1, "no way\n")
    assert (await session.run("x")).value == "1"
    gone = await session.run("import os; print('bye', flush=True); os._exit(5)")
    assert (gone.status, gone.exit_code, gone.state_lost, gone.stdout) == ("died", 137, True, "bye\n")
    assert "exit status 5" in gone.error
    fresh = await session.run("x")
    assert "NameError" in fresh.error
    assert fresh.state_lost is False


async def test_a_forked_copy_of_the_code_does_not_answer_twice(session: DockerSession) -> None:
    assert (await session.run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\n'one'")).value == "'one'"
    assert (await session.run("2")).value == "2"


async def test_output_of_programs_is_captured_and_streams(session: DockerSession) -> None:
    heard: list[tuple[float, str]] = []
    code = (
        "import subprocess, time\nsubprocess.run('echo out; echo err >&2', shell=True)\n"
        "print('a')\ntime.sleep(0.5)\nprint('b')"
    )
    done = await session.run(code, on_output=lambda _, text: heard.append((time.monotonic(), text)))
    assert done.stdout == "out\na\nb\n"
    assert done.stderr == "err\n"
    assert heard[-1][1] == "b\n"
    assert heard[-1][0] - heard[0][0] > 0.4


async def test_streams_that_the_code_broke_are_whole_in_the_next_cell(session: DockerSession) -> None:
    await session.run("import sys, os\nsys.stdout.close()\nos.close(1)\nos.close(2)\nsys.stderr = None")
    assert (await session.run("print('still here')")).stdout == "still here\n"
    await session.run("os.makedirs('/work/d', exist_ok=True); os.chdir('/work/d'); os.rmdir('/work/d')")
    assert (await session.run("os.getcwd()")).value == "'/work'"


async def test_output_past_the_cap_keeps_head_and_tail(session: DockerSession) -> None:
    limit = session.limits.output
    started = time.monotonic()
    flood = await session.run("print('first')\nfor _ in range(1000): print('x' * 100_000)\nprint('last')")
    assert time.monotonic() - started < 9
    assert flood.status == "ok"
    assert flood.truncated
    assert flood.stdout.startswith("first\n")
    assert flood.stdout.endswith("last\n")
    assert "characters cut" in flood.stdout
    assert len(flood.stdout) < limit + 100
    one_line = await session.run("'y' * 5_000_000")
    assert one_line.value is not None
    assert len(one_line.value) < limit + 100
    exact = await session.run(f"print('z' * {limit - 1})")
    assert (len(exact.stdout), exact.truncated) == (limit, False)


async def test_shell(session: DockerSession) -> None:
    await session.run("x = 1")
    done = await session.shell("pwd; echo $HOME; echo oops >&2; exit 4")
    assert (done.status, done.stdout, done.stderr, done.exit_code) == ("error", "/work\n/tmp\n", "oops\n", 4)
    started = time.monotonic()
    assert (await session.shell("sleep 100 & echo started")).stdout == "started\n"
    assert time.monotonic() - started < 2
    late = await session.shell("trap '' INT TERM; sleep 100", seconds=0.5)
    assert (late.status, late.exit_code) == ("timeout", 124)
    assert time.monotonic() - started < 4
    assert (await session.run("x")).value == "1"
    assert (await session.shell("kill -9 $$")).exit_code == 137


async def test_data_stack_and_figures(session: DockerSession) -> None:
    shown = await session.run("import pandas as pd, numpy as np\ndf = pd.DataFrame({'a': [1, 2]})\ndf", seconds=30)
    assert shown.value == "   a\n0  1\n1  2"
    plot = (
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\nplt.plot([2, 1])\nplt.title('open')\n"
        "fig, ax = plt.subplots(); ax.bar(['a'], [1]); fig.savefig('mine.png')"
    )
    drawn = await session.run(plot, seconds=30)
    assert drawn.stdout == "[saved figure-1.png]\n[saved figure-2.png]\n", drawn
    assert (await session.get("figure-1.png")).startswith(b"\x89PNG")
    assert [file.path for file in await session.files()] == ["figure-1.png", "figure-2.png", "mine.png"]
    assert drawn.stderr == ""
    other = await session.run(
        "import duckdb, pyarrow, openpyxl\ndf.to_excel('t.xlsx')\nduckdb.sql('select sum(a) from df').fetchall()",
        seconds=30,
    )
    assert "3" in str(other.value), other


async def test_multiprocessing_and_threads(session: DockerSession) -> None:
    code = (
        "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\n"
        "def square(x): return x * x\n"
        "with ProcessPoolExecutor(2) as pool: a = list(pool.map(square, range(4)))\n"
        "with ThreadPoolExecutor(2) as pool: b = list(pool.map(square, range(4)))\na, b"
    )
    assert (await session.run(code)).value == "([0, 1, 4, 9], [0, 1, 4, 9])"


async def test_timeout_keeps_the_state(session: DockerSession) -> None:
    await session.run("x = 5")
    started = time.monotonic()
    late = await session.run("n = 1\nwhile True:\n    n += 1", seconds=0.5)
    assert time.monotonic() - started < 1.5
    assert (late.status, late.exit_code, late.state_lost) == ("timeout", 124, False)
    assert "limit of 0.5 seconds" in late.error
    assert 'File "<cell 2>"' in late.error
    assert (await session.run("x, n > 1")).value == "(5, True)"
    assert (await session.run("import subprocess; subprocess.run(['sleep', '100'])", seconds=0.5)).state_lost is False
    assert (await session.run("import asyncio; await asyncio.sleep(100)", seconds=0.5)).state_lost is False
    assert (await session.run("x")).value == "5"


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
}


@pytest.mark.parametrize("kind", STUBBORN)
async def test_what_will_not_stop_is_stopped(session: DockerSession, kind: str) -> None:
    started = time.monotonic()
    late = await session.run(STUBBORN[kind], seconds=0.5)
    assert time.monotonic() - started < 3, "0.5 s and a second, with room for a busy machine"
    assert (late.status, late.exit_code) == ("timeout", 124)
    left = await session.shell("grep -L 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")
    assert int(left.stdout) <= 6, "init, guest, interpreter, bash, grep, wc"
    assert (await session.run("1 + 1")).value == "2"


async def test_out_of_memory_kills_the_interpreter_only(session: DockerSession) -> None:
    await session.put("kept.txt", b"kept")
    died = await session.run("hog = [bytearray(20_000_000) for _ in range(100)]")
    assert (died.status, died.exit_code, died.state_lost) == ("died", 137, True)
    assert "out of memory" in died.error
    assert (await session.run("open('kept.txt').read()")).value == "'kept'"


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
    assert (stopped.status, stopped.state_lost) == ("error", False)
    assert stopped.error.endswith("KeyboardInterrupt")
    await session.interrupt()  # nothing runs: nothing happens
    assert (await session.run("x")).value == "1"


@pytest.mark.parametrize("code", ["while True: pass", STUBBORN["catches"], "while True: print('x' * 1000)"])
async def test_cancel_stops_the_code_and_keeps_the_session(session: DockerSession, code: str) -> None:
    running = asyncio.create_task(session.run(code))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 0.5)
    started = time.monotonic()
    assert (await session.run("'after'")).value == "'after'"
    assert time.monotonic() - started < 3


async def test_calls_at_the_same_time_take_turns(session: DockerSession) -> None:
    await session.run("seen = []")
    await asyncio.gather(*(session.run(f"seen.append({n}); seen.append({n})") for n in range(20)))
    pairs = (await session.run("[a == b for a, b in zip(seen[::2], seen[1::2])].count(True)")).value
    assert pairs == "20"


async def test_files_in_and_out(session: DockerSession, tmp_path: Path) -> None:
    big = bytes(range(256)) * 12_000  # three frames
    (tmp_path / "big.bin").write_bytes(big)
    info = await session.put("data/deep/big.bin", tmp_path / "big.bin")
    assert (info.path, info.size) == ("data/deep/big.bin", len(big))
    assert await session.get("data/deep/big.bin") == big
    await session.put("empty", b"")
    assert await session.get("/work/empty") == b""
    await session.put("empty", b"no more")
    assert (await session.run("open('empty').read()")).value == "'no more'"
    listed = await session.files()
    assert [file.path for file in listed] == ["data/deep/big.bin", "empty"]
    assert listed[0] == info


async def test_files_that_cannot_be(session: DockerSession, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2 << 30)
    started = time.monotonic()
    with pytest.raises(ValueError, match="2,147,483,648 bytes"):
        await session.put("huge", tmp_path / "huge")
    assert time.monotonic() - started < 0.5
    with pytest.raises(FileNotFoundError):
        await session.put("x", tmp_path / "absent")
    with pytest.raises(ValueError, match="not a regular file"):
        await session.put("x", tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        await session.get("absent")
    for path in ("../etc/passwd", "/etc/passwd", "/proc/self/environ"):
        with pytest.raises(ValueError, match="leads out"):
            await session.get(path)
        with pytest.raises(ValueError, match="leads out"):
            await session.put(path, b"")
    await session.shell("mkdir d; mkfifo fifo; truncate -s 20M sparse; truncate -s 1G vast 2>/dev/null; true")
    for path, match in (
        ("d", "not a regular file|directory"),
        ("fifo", "not a regular"),
        ("sparse", "bytes"),
    ):
        with pytest.raises(ValueError, match=match):
            await session.get(path)
    with pytest.raises(ValueError, match="directory"):
        await session.put("d", b"")
    for number in range(8):
        await session.put(f"fill-{number}", b"x" * (8 << 20))
    with pytest.raises(ValueError, match="No space"):
        await session.put("fill-8", b"x" * (8 << 20))
    assert not [file for file in await session.files() if ".part" in file.path]
    assert (await session.run("1")).value == "1"


async def test_links_are_not_followed(session: DockerSession) -> None:
    await session.shell("ln -s /etc/passwd link; ln -s /etc dir; mkdir real; echo x > real/file")
    for path in ("link", "dir/passwd"):
        with pytest.raises(ValueError, match=r"link|directory"):
            await session.get(path)
    with pytest.raises(ValueError, match=r"link|directory"):
        await session.put("dir/evil", b"")
    await session.put("link", b"replaced, not followed")
    assert await session.get("link") == b"replaced, not followed"
    assert [file.path for file in await session.files()] == ["link", "real/file"]


async def test_bad_calls(session: DockerSession) -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            await session.run("1", seconds=seconds)
    with pytest.raises(ValueError, match="characters"):
        await session.run("#" * 2_000_000)
    assert (await session.run("'\ud800'")).status == "ok"


async def test_a_data_stack_loaded_ahead_is_there_at_once(engine: object) -> None:
    sandbox = DockerSandbox()
    try:
        sandbox.warm()
        await asyncio.sleep(4)
        session = await sandbox.session()
        started = time.monotonic()
        await session.put("a.txt", base64.b64encode(b"warm"))
        loaded = await session.run("import sys\n[m in sys.modules for m in ('numpy', 'pandas', 'matplotlib.pyplot')]")
        assert time.monotonic() - started < 1
        assert loaded.value == "[True, True, True]"
        draws = [(await session.run("import numpy, os\nd = numpy.random.rand()\nd")).value]
        await session.run("os._exit(0)")
        draws.append((await session.run("import numpy\nnumpy.random.rand()")).value)
        assert draws[0] != draws[1], "each fork draws numbers of its own"
    finally:
        await sandbox.aclose()
