"""What code can rely on: a notebook's manners, output, files, calls of host functions."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fastslow.sandbox import DockerSandbox, DockerSession, Limits
from fastslow.sandbox.sandbox import HostFunction

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
    assert "return 1 / x" in failed.error
    assert "f(0)" in failed.error
    assert failed.error.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "interpreter" not in failed.error
    assert (await session.run("y")).value == "2"
    syntax = await session.run("x = = 1")
    assert "SyntaxError" in syntax.error
    assert "x = = 1" in syntax.error


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
    assert (gone.status, gone.exit_code, gone.state, gone.stdout) == ("died", 5, "lost", "bye\n")
    assert "exit status 5" in gone.error
    fresh = await session.run("x")
    assert "NameError" in fresh.error
    assert fresh.state == "kept"


@pytest.mark.parametrize(
    ("code", "status", "stdout"),
    [
        ("import os; os._exit(0)", 0, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
        ("import ctypes; ctypes.string_at(0)", 139, ""),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'echo another; exit 9'])", 9, "another\n"),
    ],
)
async def test_however_code_ends_its_interpreter_the_status_is_its_own(
    session: DockerSession, code: str, status: int, stdout: str
) -> None:
    ended = await session.run(code)
    assert (ended.status, ended.exit_code, ended.stdout) == ("died", status, stdout)
    assert (await session.run("1 + 1")).value == "2"


async def test_a_program_that_took_the_interpreters_place_has_the_same_deadline(session: DockerSession) -> None:
    late = await session.run(
        "import os; os.execv('/bin/sh', ['sh', '-c', 'echo on; while :; do :; done'])", seconds=0.5
    )
    assert (late.status, late.exit_code, late.stdout) == ("timeout", 124, "on\n")
    assert late.seconds < 1
    assert (await session.run("1 + 1")).value == "2"


async def test_a_child_that_code_forks_ends_as_any_python(session: DockerSession) -> None:
    code = "import os, sys\npid = os.fork()\nif not pid: %s\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    assert (await session.run(code % "sys.exit(5)")).value == "5"
    failed = await session.run(code % "1 / 0")
    assert (failed.value, failed.stderr.count("ZeroDivisionError")) == ("1", 1)


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


async def test_output_past_the_cap_keeps_head_and_tail_and_the_whole_in_a_file(session: DockerSession) -> None:
    limit = session.limits.output
    long = await session.run("print('first')\nfor n in range(5000): print(n, 'x' * 100)\nprint('last')")
    assert (long.status, long.truncated) == ("ok", True)
    assert long.stdout.startswith("first\n0 xxx")
    assert long.stdout.endswith("x\nlast\n")
    assert "bytes cut; the whole is in output/stdout-1.txt" in long.stdout
    assert len(long.stdout) < limit + 200
    whole = (await session.get("output/stdout-1.txt")).decode().splitlines()
    assert (len(whole), whole[2500]) == (5002, "2499 " + "x" * 100)
    exact = await session.run(f"print('z' * {limit - 1})")
    assert (len(exact.stdout), exact.truncated) == (limit, False)
    one_more = await session.run(f"import sys; print('z' * {limit}, file=sys.stderr)")
    assert (one_more.truncated, len(one_more.stderr.partition("\n[")[0])) == (True, limit // 2)
    assert len(await session.get("output/stderr-2.txt")) == limit + 1


async def test_output_past_the_cap_of_a_full_disk_breaks_nothing(session: DockerSession) -> None:
    await session.shell("head -c 100M /dev/zero > full")
    long = await session.run("for _ in range(1000): print('x' * 1000)")
    assert (long.status, long.truncated) == ("ok", True)
    assert "bytes cut" in long.stdout
    assert "the whole is" not in long.stdout
    await session.shell("rm -rf full output; touch output")  # no folder can be made where a file is
    assert (await session.shell("seq 100000")).stdout.endswith("100000\n")


async def test_a_value_too_long_is_cut(session: DockerSession) -> None:
    one_line = await session.run("'y' * 5_000_000")
    assert one_line.value is not None
    assert len(one_line.value) < session.limits.output + 200


async def test_shell(session: DockerSession) -> None:
    await session.run("x = 1")
    done = await session.shell("pwd; echo $HOME; echo oops >&2; exit 4")
    assert (done.status, done.stdout, done.stderr, done.exit_code) == ("error", "/work\n/tmp\n", "oops\n", 4)
    started = time.monotonic()
    assert (await session.shell("sleep 100 & echo started")).stdout == "started\n"
    assert time.monotonic() - started < 2
    assert (await session.run("x")).value == "1"
    assert (await session.shell("kill -9 $$")).exit_code == 137
    assert (await session.shell("a\0b")).exit_code == 126


async def test_data_stack(session: DockerSession) -> None:
    shown = await session.run("import pandas as pd, numpy as np\ndf = pd.DataFrame({'a': [1, 2]})\ndf", seconds=30)
    assert shown.value == "   a\n0  1\n1  2"
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
    with pytest.raises(ValueError, match="2,147,483,648 bytes"):
        await session.put("huge", tmp_path / "huge")
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
    with pytest.raises(ValueError, match="bytes can be run"):
        await session.run("#" * 2_000_000)
    assert (await session.run("'\ud800'")).status == "ok"


async def test_files_move_while_code_runs(session: DockerSession) -> None:
    code = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nopen('went', 'w').write('x')"
    running = asyncio.create_task(session.run(code))
    await asyncio.sleep(0.2)
    assert not running.done()
    await session.put("go", b"")
    await running
    assert [file.path for file in await session.files()] == ["go", "went"]


async def test_a_data_stack_loaded_ahead_is_there_at_once(client: object) -> None:
    sandbox = DockerSandbox()
    try:
        session = await sandbox.session()
        await asyncio.wait_for(session._channel.ready.wait(), 30)
        started = time.monotonic()
        loaded = await session.run("import sys\n[m in sys.modules for m in ('numpy', 'pandas', 'matplotlib.pyplot')]")
        assert time.monotonic() - started < 1
        assert loaded.value == "[True, True, True]"
        draws = [(await session.run("import numpy, os\nd = numpy.random.rand()\nd")).value]
        await session.run("os._exit(0)")
        draws.append((await session.run("import numpy\nnumpy.random.rand()")).value)
        assert draws[0] != draws[1], "each fork draws numbers of its own"
    finally:
        await sandbox.aclose()


ADD = HostFunction(
    "add",
    "Add two numbers.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)


async def add(_name: str, arguments: dict[str, Any]) -> Any:
    return arguments["a"] + arguments["b"]


async def test_calls_of_host_functions(session: DockerSession) -> None:
    without = await session.run("import tools\ntools.add(a=1, b=2)")
    assert without.status == "error"
    await session.offer([ADD])
    assert (await session.run("import tools\nprint(tools.add(a=1, b=2))", on_call=add)).stdout == "3\n"
    assert "no function" in (await session.run("tools.add(a=1, b=2)")).error, "nobody answers"
    many = await session.run("sum(tools.add(a=n, b=1) for n in range(200))", on_call=add)
    assert many.value == str(sum(range(1, 201)))

    async def fail(_name: str, _arguments: dict[str, Any]) -> Any:
        raise LookupError("there is no such number")

    failed = await session.run("tools.add(a=1, b=2)", on_call=fail)
    assert "there is no such number" in failed.error
    assert "test_session" not in failed.error
    assert (await session.run("1 + 1")).value == "2"


@pytest.mark.parametrize("text", ["x", "\U0001f600", "\ud800"])
async def test_a_long_value_or_error_is_cut_once_and_costs_no_state(session: DockerSession, text: str) -> None:
    code = f"kept = {text!a} * 300_000"
    for last in ("kept", "raise ValueError(kept)"):
        execution = await session.run(f"{code}\n{last}")
        assert (execution.state, execution.status) == ("kept", "ok" if last == "kept" else "error")
        [cut] = re.findall(r"\[… (\d+) characters cut …\]", execution.value or execution.error)
        assert int(cut) >= 200_000


async def test_calls_side_by_side(session: DockerSession) -> None:
    await session.offer([ADD])

    async def slow(name: str, arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(0.3)
        return await add(name, arguments)

    await session.run("import tools\nfrom concurrent.futures import ThreadPoolExecutor")
    code = "with ThreadPoolExecutor(8) as pool: found = list(pool.map(lambda n: tools.add(a=n, b=n), range(8)))\nfound"
    done = await session.run(code, on_call=slow)
    assert done.value == str([2 * n for n in range(8)])
    assert done.seconds < 0.3, "the clock stands still while the host works"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"a": [1, None, True, "ä"]}, {"a": [1, None, True, "ä"]}),
        ((1, 2), [1, 2]),
        (Path("x"), "x"),
        ({1: 2}, {"1": 2}),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
async def test_what_a_host_function_returns(session: DockerSession, value: Any, seen: Any) -> None:
    async def give(*_: object) -> Any:
        return value

    await session.offer([ADD])
    assert (await session.run("import tools\ntools.add(a=1, b=1)", on_call=give)).value == repr(seen)


async def test_the_clock_stands_still_during_a_call(session: DockerSession) -> None:
    async def slow(*_: object) -> Any:
        await asyncio.sleep(0.8)
        return 7

    await session.offer([ADD])
    done = await session.run("import tools\ntools.add(a=1, b=1)", seconds=0.4, on_call=slow)
    assert (done.status, done.value) == ("ok", "7")
    late = await session.run("tools.add(a=1, b=1)\nwhile True: pass", seconds=0.4, on_call=slow)
    assert (late.status, late.state) == ("timeout", "kept")
    assert late.seconds < 0.8


async def test_too_many_calls_fail_in_the_code(client: object) -> None:
    sandbox = DockerSandbox(Limits(memory=256 << 20, disk=64 << 20, calls=3))
    try:
        session = await sandbox.session()
        await session.offer([ADD])
        done = await session.run("import tools\n[tools.add(a=1, b=n) for n in range(4)]", on_call=add)
        assert "more than 3 calls" in done.error
        assert (await session.run("tools.add(a=1, b=1)", on_call=add)).value == "2", "each execution has its own"
    finally:
        await sandbox.aclose()


async def test_handlers_end_with_the_execution(session: DockerSession) -> None:
    ended: list[str] = []

    async def never(*_: object) -> Any:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("cancelled")

    await session.offer([ADD])
    code = (
        "import threading, time, tools\n"
        "threading.Thread(target=lambda: tools.add(a=1, b=1), daemon=True).start()\ntime.sleep(0.2)"
    )
    assert (await session.run(code, on_call=never)).status == "ok"
    assert ended == ["cancelled"]


async def test_too_large_a_result_is_refused(session: DockerSession) -> None:
    async def large(*_: object) -> Any:
        return "x" * (5 << 20)

    await session.offer([ADD])
    done = await session.run("import tools\ntools.add(a=1, b=1)", on_call=large)
    assert "bytes of JSON" in done.error


@pytest.mark.parametrize("folder", ["", "src/"])
async def test_a_package_of_the_work_is_imported_from_anywhere(session: DockerSession, folder: str) -> None:
    """As at home, where its developer has run `pip install -e .`: before a package of ours of the same name."""
    await session.put(f"{folder}pandas/__init__.py", b"mine = True\n")
    elsewhere = await session.shell("cd /tmp && python3 -c 'import pandas; print(pandas.mine)'")
    assert (elsewhere.stdout, elsewhere.stderr) == ("True\n", "")
    tested = "tests/test_mine.py"
    await session.put(tested, b"import pandas\n\n\ndef test_mine():\n    assert pandas.mine\n")
    assert (await session.shell(f"pytest -q {tested}")).exit_code == 0


async def test_a_package_in_src_is_imported_by_code(session: DockerSession) -> None:
    await session.put("src/mine.py", b"number = 7\n")
    assert (await session.run("import mine\nmine.number")).value == "7"
