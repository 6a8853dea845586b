"""What the machine and Docker cost without any library."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.sandbox.report import FLOOR
from benchmarks.sandbox.shared import Measured

REPEATS = 20


def floors(image: str, measured: Measured) -> None:
    bare = ["docker", "run", "--rm", "--network", "none"]
    measured.add("floor_run", FLOOR, _timed(lambda: _quiet([*bare, image, "true"])))
    started = _quiet([*bare, "--detach", "--init", image, "sleep", "60"])
    container = started.stdout.decode().strip()
    try:
        measured.add(
            "floor_exec", FLOOR, *(_timed(lambda: _quiet(["docker", "exec", container, "true"])) for _ in "123")
        )
    finally:
        _quiet(["docker", "rm", "--force", container])
    measured.add("floor_pipe", FLOOR, *_pipe())
    # From a small process, as the sandbox's own forks are.
    code = f"import sys; sys.path[:0] = [{os.getcwd()!r}]; from benchmarks.sandbox.floors import forks; print(*forks())"
    measured.add("floor_fork", FLOOR, *map(float, _quiet([sys.executable, "-c", code]).stdout.split()))


def forks() -> list[float]:
    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return [_timed(fork) for _ in range(REPEATS)]


def _pipe() -> list[float]:
    code = "import sys\nfor line in sys.stdin: exec(line); sys.stdout.flush()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asking, saying = process.stdin, process.stdout

        def ask() -> None:
            asking.write(b"print(1+1)\n")
            asking.flush()
            saying.readline()

        ask()
        samples = [_timed(ask) for _ in range(REPEATS)]
        asking.close()
    return samples


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def _quiet(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, check=True, capture_output=True)
