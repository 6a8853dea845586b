"""The interpreter without a container: here IPython and the data stack are absent, as in a bare image."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastslow.sandbox.sandbox import HostFunction
from fastslow.sandbox.stubs import source
from tests.sandbox.supervised import Interpreter, after

TEXT = {"type": "object", "properties": {"q": {"type": "string"}}}
FUNCTIONS = [HostFunction(name, f"The {name} one.", TEXT) for name in ("search", "late", "bad")]


@pytest.fixture
def interpreter(tmp_path: Path) -> Iterator[Interpreter]:
    started = Interpreter.start(tmp_path)
    started.offer(source(FUNCTIONS))
    yield started
    started.close()


def test_a_notebooks_manners(interpreter: Interpreter) -> None:
    run = interpreter.run
    first = run("x = 41\nprint('hello')\nx + 1")
    assert (first["status"], first["value"], first["stdout"], first["exit_code"]) == ("ok", "42", "hello\n", 0)
    assert first["threads"] == 0
    assert run("_ + 1")["value"] == "43"
    assert run("x;")["value"] is None
    assert run("x;  # that's all")["value"] is None
    assert run("'é;'")["value"] == "'é;'"
    assert run("  y = 1\n  y")["value"] == "1"
    assert run("")["status"] == "ok"
    assert run("for i in range(2): i")["value"] is None
    assert run("display(1, 'a')")["stdout"] == "1\n'a'\n"
    assert run("'z' * 100_000")["value"].count("z") < 10_001


def test_tracebacks_show_the_users_lines_only(interpreter: Interpreter, tmp_path: Path) -> None:
    run = interpreter.run
    run("def f(x):\n    return 1 / x")
    error = run("f(0)")["error"].replace("    ~^^^\n", "")  # newer Pythons mark the call, too
    assert error == (
        'Traceback (most recent call last):\n  File "<cell 2>", line 1, in <module>\n    f(0)\n'
        '  File "<cell 1>", line 2, in f\n    return 1 / x\n           ~~^~~\nZeroDivisionError: division by zero'
    )
    (tmp_path / "mine.py").write_text("def g():\n    raise KeyError('k') from ValueError('v')\n")
    mine = run("import sys; sys.path.insert(0, '.')\nimport mine\nmine.g()")["error"]
    assert "ValueError: v\n" in mine, "a cause that was never raised has no lines of its own"
    assert f'File "{tmp_path}/mine.py", line 2, in g' in mine
    assert run("import json\njson.loads('{')")["error"].count("File ") == 1
    assert run("import os\nos.environ['none such']")["error"].count("KeyError") == 1
    assert run("x = = 1")["error"] == '  File "<cell 6>", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax'
    assert "unindent does not match" in run("if 1:\n    2\n  3")["error"]
    assert "ExceptionGroup: g" in run("raise ExceptionGroup('g', [ValueError(1)])")["error"]


def test_exits(interpreter: Interpreter) -> None:
    said = interpreter.run("import sys; sys.exit('no way')")
    assert (said["status"], said["exit_code"], said["stderr"]) == ("error", 1, "no way\n")
    assert interpreter.run("sys.exit(0)")["status"] == "ok"
    assert interpreter.run("import os\nif os.fork() == 0: os._exit(0)\nos.wait()[1]")["value"] == "0"
    assert interpreter.run("pid = os.fork()\nif pid: os.waitpid(pid, 0)\n'one'")["value"] == "'one'"


def test_a_cell_that_awaits_runs_in_one_loop(interpreter: Interpreter) -> None:
    run = interpreter.run
    code = (
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 7\ntask = asyncio.create_task(f())\n"
    )
    assert run(code + "await asyncio.sleep(0)")["status"] == "ok"
    assert run("await task")["value"] == "7"
    assert run("asyncio.run(f())")["value"] == "7"
    assert run("await asyncio.to_thread(f.__call__) is None")["threads"] == 0


def test_without_ipython_plain_text_is_what_there_is(interpreter: Interpreter) -> None:
    rich = interpreter.run("class A:\n    def _repr_html_(self): return '<b>'\n    def __repr__(self): return 'A'\nA()")
    assert (rich["value"], rich["displays"]) == ("A", [])
    assert interpreter.run("%time 1")["error"].endswith("SyntaxError: invalid syntax")
    assert interpreter.run("get_ipython()")["value"] is None


def test_calls(interpreter: Interpreter) -> None:
    run = interpreter.run
    assert run("tools.search(q='a')")["value"] == "['search', {'q': 'a'}]"
    assert run("import tools\nfrom tools import aio\nawait aio.search()")["value"] == "['search', {}]"
    assert run("import asyncio\nasyncio.run(tools.aio.search())")["value"] == "['search', {}]"
    failed = run("tools.bad()")["error"]
    assert failed.splitlines()[-1] == "tools.ToolError: it went wrong"
    assert failed.count("File ") == 1
    assert (
        run("try: await tools.aio.bad()\nexcept tools.ToolError as error: print(error)")["stdout"] == "it went wrong\n"
    )
    assert "can hold, got set" in run("tools.search(q={1})")["error"]
    assert "at most" in run("tools.search(q='x' * 5_000_000)")["error"]
    assert run("len(tools.search(q='x' * 1_000_000)[1]['q'])")["value"] == "1000000", "larger than the socket's buffer"


def test_calls_side_by_side(interpreter: Interpreter) -> None:
    run = interpreter.run
    threads = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def ask(n):\n    return [(tools.late if n == 0 else tools.search)(q=str(n))[1]['q'] for _ in range(50)]\n"
        "with ThreadPoolExecutor(8) as pool: found = list(pool.map(ask, [0] + list(range(1, 8)) * 2))\n"
        "found == [[str(n)] * 50 for n in [0] + list(range(1, 8)) * 2]"
    )
    run("tools.search()")
    many = threads.replace("tools.late if n == 0 else tools.search", "tools.search")
    assert run(many)["value"] == "True"
    tasks = (
        "import asyncio\nothers = (tools.aio.search(q=str(n)) for n in range(1, 50))\n"
        "found = await asyncio.gather(tools.aio.late(q='0'), *others)\n"
    )
    assert run(tasks + "[int(one[1]['q']) for one in found] == list(range(50))")["value"] == "True"
    mixed = (
        "async def last():\n    await asyncio.sleep(0.1)\n    return await asyncio.to_thread(tools.search)\n"
        "found = await asyncio.gather(asyncio.to_thread(tools.late), tools.aio.late(), last())\n"
    )
    assert run(mixed + "[name for name, _ in found]")["value"] == "['late', 'late', 'search']"


def test_a_call_left_in_the_middle_leaves_the_frames_sound(interpreter: Interpreter) -> None:
    run = interpreter.run
    run("tools.search()")
    for code in ("tools.late()", "await tools.aio.late()", "import time; time.sleep(9)", "while True: pass"):
        threading.Thread(target=after, args=(0.2, interpreter.interrupt)).start()
        stopped = run(code)
        assert stopped["error"].splitlines()[-1] == "KeyboardInterrupt", code
        assert '"<cell ' in stopped["error"], code
    for number in (2, 3):  # late answers, of calls that nobody waits for now
        interpreter.say({"op": "returned", "call": number, "ok": True}, b"1")
    assert run("tools.search()")["value"] == "['search', {}]"
    for number in range(30):
        stopped = run("while True: tools.search(q='x' * 100_000)", interrupt=1 + number % 5)
        assert stopped["error"].splitlines()[-1] == "KeyboardInterrupt"
    assert run("tools.search()")["value"] == "['search', {}]"


def test_calls_of_child_processes_are_refused(interpreter: Interpreter) -> None:
    code = (
        "import os, sys\nif os.fork() == 0:\n    try: tools.search()\n"
        "    except RuntimeError as error: print(error, flush=True)\n    os._exit(0)\nos.wait()\n'on'"
    )
    done = interpreter.run(code)
    assert "child process" in done["stdout"]
    assert done["value"] == "'on'"


def test_a_copy_goes_its_own_way(interpreter: Interpreter) -> None:
    code = (
        "import asyncio, os, random\nx, pid = [1], os.getpid()\nasync def wait():\n"
        "    try: await asyncio.sleep(9)\n    finally: print('cleaned up')\n"
        "task = asyncio.create_task(wait())\nawait asyncio.sleep(0)\n5"
    )
    assert interpreter.run(code)["value"] == "5"
    copy = interpreter.fork()
    assert copy.run("x.append(2); x, _, pid == os.getpid()")["value"] == "([1, 2], 5, False)"
    ahead = copy.run("random.random()")["value"]
    assert copy.run("del task\nimport gc; gc.collect(); await asyncio.sleep(0.01)\ntools.search()")["stdout"] == ""
    again = copy.fork()
    assert again.run("x, await tools.aio.search()")["value"] == "([1, 2], ['search', {}])"
    again.close()
    copy.close()
    assert interpreter.run("x, task.done()")["value"] == "([1], False)"
    assert interpreter.run("random.random()")["value"] != ahead
    assert interpreter.run("task.cancel(); await asyncio.sleep(0.01)")["stdout"] == "cleaned up\n"
