"""What all contenders do in turn, each in a fresh sandbox."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections import defaultdict
from collections.abc import Callable

from docker import DockerClient
from docker.errors import APIError

from benchmarks.sandbox import processes
from benchmarks.sandbox.contender import Contender, ContenderFailed
from benchmarks.sandbox.report import Series

PRINT = "print(1+1)"
STACK = "import numpy, pandas, matplotlib.pyplot"
FLOOD = 10_000_000
LATER = 20
DEADLINE = 1.0
GIVE_UP = 5.0
LEAVE_SECONDS = 3.0  # for a container whose removal goes on in the background

# The process takes a name that the host can watch for, and gives it up if it is interrupted.
RUNAWAY = """
import signal
{ignore}
with open("/proc/self/comm", "w") as comm:
    comm.write("{mark}")
try:
    while True:
        pass
finally:
    with open("/proc/self/comm", "w") as comm:
        comm.write("python")
"""
IGNORE = "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Measured:
    """Samples and notes as they come in."""

    def __init__(self) -> None:
        self._samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._notes: dict[tuple[str, str], str] = {}

    def add(self, metric: str, contender: str, *samples: float) -> None:
        self._samples[metric, contender] += samples

    def note(self, metric: str, contender: str, text: str) -> None:
        self._notes.setdefault((metric, contender), text.splitlines()[0] if text else "no reason given")

    def series(self) -> tuple[Series, ...]:
        keys = dict.fromkeys([*self._samples, *self._notes])
        return tuple(Series(*key, tuple(self._samples.get(key, ())), self._notes.get(key, "")) for key in keys)


def measure_contender(contender: Contender, client: DockerClient, image: str, measured: Measured) -> None:
    """One round of one contender, from its start to its end; what fails is noted."""
    name = contender.name
    metric = "cold"
    try:
        started, first = contender.start(image), contender.run(PRINT)
        _expect(first.head, "2\n")
        measured.add(metric, name, started.ms + first.ms)
        container = processes.newest(client, image)
        processes.rest(container)
        steps: dict[str, Callable[[], object]] = {
            "later": lambda: measured.add("later", name, *(contender.run(PRINT).ms for _ in range(LATER))),
            "memory": lambda: measured.add("memory", name, processes.memory(container)),
            "stack": lambda: measured.add("stack", name, contender.run(STACK).ms),
            "flood": lambda: _flood(contender, measured),
            "loop": lambda: _runaway(contender, "loop", "pass", image, measured),
            "stubborn": lambda: _runaway(contender, "stubborn", IGNORE, image, measured),
        }
        for metric in steps:
            steps[metric]()
    except (ContenderFailed, LookupError, PermissionError, ValueError) as error:
        measured.note(metric, name, str(error))
    _end(contender, client, image, measured)


def _flood(contender: Contender, measured: Measured) -> None:
    answer = contender.run(f"print('x' * {FLOOD})")
    if answer.bytes >= FLOOD:
        measured.add("flood", contender.name, answer.ms)
    else:
        measured.note("flood", contender.name, f"{answer.bytes} bytes came back")


def _runaway(contender: Contender, metric: str, ignore: str, image: str, measured: Measured) -> None:
    """Let code run past its deadline; where the next call fails, go on in a new sandbox."""
    mark = f"loop-{secrets.token_hex(4)}"
    contender.begin(RUNAWAY.format(ignore=ignore, mark=mark), DEADLINE, DEADLINE + GIVE_UP)
    seen, ended = _watch(mark, time.perf_counter() + DEADLINE + GIVE_UP)
    answer = contender.answer()
    if not seen:
        raise ValueError(f"the loop was not seen to run: {answer.error or answer.head}")
    measured.add(metric, contender.name, max(0.0, 1000 * (ended - answer.began - DEADLINE)))
    try:
        following = contender.run(PRINT, GIVE_UP, GIVE_UP)
        _expect(following.head, "2\n")
        measured.add(f"{metric}_next", contender.name, following.ms)
    except (ContenderFailed, ValueError) as error:
        measured.add(f"{metric}_next", contender.name, math.inf)
        measured.note(f"{metric}_next", contender.name, str(error))
        contender.stop()
        contender.start(image)
        contender.run(PRINT)


def _watch(mark: str, until: float) -> tuple[bool, float]:
    """Whether a process of this name ran, and when it ended or gave up the name (inf: not until then)."""
    pid = None
    while time.perf_counter() < until:
        if pid is None:
            pid = processes.find(mark)
            time.sleep(0.02)
        elif processes.gone(pid, mark):
            return True, time.perf_counter()
        else:
            time.sleep(0.001)
    return pid is not None, math.inf


def _expect(head: str, wanted: str) -> None:
    if head != wanted:
        raise ValueError(f"expected the output {wanted!r}, got {head[:60]!r}")


def _end(contender: Contender, client: DockerClient, image: str, measured: Measured) -> None:
    try:
        measured.add("stop", contender.name, contender.stop().ms)
    except ContenderFailed as error:
        measured.note("stop", contender.name, str(error))
    deadline = time.monotonic() + LEAVE_SECONDS
    while left := client.api.containers(all=True, filters={"ancestor": image}):
        if time.monotonic() > deadline:
            measured.note("stop", contender.name, "left its container behind")
            for row in left:
                with contextlib.suppress(APIError):  # one that is being removed
                    client.api.remove_container(row["Id"], force=True)
            return
        time.sleep(0.1)
