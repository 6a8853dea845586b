"""A contender's command from its start to its end, watched from outside: once, once more, and killed in the middle."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.rows.contender import Contender, Server
from benchmarks.rows.contenders.table import write_rows

PAUSE = 0.2  # seconds between two looks at memory and CPU; one costs some milliseconds
MOST_SECONDS = 240.0  # of one start
LEAVING = 30.0  # seconds that what a killed command started has to go by itself
AGAIN = 0.1  # share of the rows that a second start asks, and then is taken to ask all
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "LANGSMITH_TRACING": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONDONTWRITEBYTECODE": "",  # bytecode is kept, as pip does it, too
}


class MeasurementFailed(RuntimeError):
    """A contender could not do what was asked; the message says what it said last."""


@dataclass(frozen=True, slots=True)
class Look:
    """All processes of a command at one time (`time.monotonic`): seconds of CPU so far, and resident megabytes."""

    at: float
    cpu: float
    rss: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one contender came to. Times in seconds, memory in megabytes (of all its processes together).

    start: from the command's start to its first request. asking: from there to the last answer; cpu, server_cpu: in
    that time. rss_first, rss_last: in the first and the last quarter of it. kept: bytes of journal or checkpoints a
    row. again: of a second start that finds all done; again_cpu: its CPU; both None where it asks all again.
    """

    name: str
    delay: float
    rows: int
    start: float
    asking: float
    wall: float
    cpu: float
    server_cpu: float
    rss: float
    rss_first: float
    rss_last: float
    kept: float
    again: float | None = None
    again_cpu: float | None = None
    killed: Killed | None = None

    @property
    def rate(self) -> float:
        return self.rows / self.asking

    @property
    def cpu_ms(self) -> float:
        return 1e3 * self.cpu / self.rows

    @property
    def server_share(self) -> float:
        """Of one core."""
        return self.server_cpu / self.asking


@dataclass(frozen=True, slots=True)
class Killed:
    """What a SIGKILL in the middle left, after the same command went on: rows that were asked about again, rows without
    a line, and lines that are broken or too many."""

    rows: int
    twice: int
    lost: int
    wrong: int


class Started:
    """A command that runs, watched."""

    def __init__(self, contender: Contender, python: str, server: Server, folder: Path) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        variables = {**kept, **QUIET, "PYTHONPATH": "", **contender.variables(folder)}
        self._errors = folder / "errors"
        self._before = _reaped()
        self.at = time.monotonic()
        with self._errors.open("wb") as errors:
            command = contender.command(python, server.url, folder)
            self._process = subprocess.Popen(command, cwd=folder, env=variables, stdout=errors, stderr=errors)
        self._known: dict[int, tuple[psutil.Process, float]] = {}
        self.looks: list[Look] = []
        self.wall = 0.0

    def watch(self, enough: Callable[[], bool] = lambda: False, pause: float = PAUSE) -> bool:
        """Until it ends, or there is enough; whether it ended. MeasurementFailed where it ended wrongly."""
        while self._process.poll() is None:
            self._look()
            if enough():
                return False
            if time.monotonic() - self.at > MOST_SECONDS:
                self.kill()
                raise MeasurementFailed(f"no end within {MOST_SECONDS:.0f} s")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(pause)
        self.wall = time.monotonic() - self.at
        cpu = max(_reaped() - self._before, self.looks[-1].cpu if self.looks else 0.0)
        self.looks.append(Look(time.monotonic(), cpu, 0.0))
        if self._process.returncode:
            said = self._errors.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise MeasurementFailed(f"it ended with {self._process.returncode}: {''.join(said)[:300]}")
        return True

    @property
    def cpu(self) -> float:
        """Seconds, of a command that ended."""
        return self.looks[-1].cpu

    def kill(self) -> None:
        """SIGKILL for the command alone; what it started has a while to see that, and is killed then."""
        self._look()
        self._process.kill()
        self._process.wait()
        others = [process for process, _ in self._known.values() if process.pid != self._process.pid]
        for process in psutil.wait_procs(others, timeout=LEAVING)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _look(self) -> None:
        rss = 0
        for process in _family(self._process.pid):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess), process.oneshot():
                times = process.cpu_times()
                rss += process.memory_info().rss
                self._known[process.pid] = (process, times.user + times.system)
        self.looks.append(Look(time.monotonic(), sum(cpu for _, cpu in self._known.values()), rss / 1e6))


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _reaped() -> float:
    """Seconds of CPU of all children that ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(contender: Contender, python: str, server: Server, delay: float, rows: int, folder: Path) -> Measured:
    """One start of the command, to its end."""
    folder.mkdir()
    (folder / "kept").mkdir()
    write_rows(folder, rows)
    server.reset()
    started = Started(contender, python, server, folder)
    started.watch()
    log = server.log()
    if (log["rows"], log["asked"]) != (rows, rows) or lines(folder)[0] != rows:
        raise MeasurementFailed(f"expected {rows} rows, asked {log['asked']} times, {lines(folder)[0]} have a line")
    first, last = log["first"], log["last"]
    span = [look.rss for look in started.looks if first <= look.at <= last] or [look.rss for look in started.looks]
    quarter = max(1, len(span) // 4)
    return Measured(
        contender.name,
        delay,
        rows,
        start=first - started.at,
        asking=last - first,
        wall=started.wall,
        cpu=started.cpu - cpu_at(started.looks, first),
        server_cpu=log["cpu"],
        rss=max(look.rss for look in started.looks),
        rss_first=statistics.median(span[:quarter]),
        rss_last=statistics.median(span[-quarter:]),
        kept=sum(path.stat().st_size for path in (folder / "kept").rglob("*") if path.is_file()) / rows,
    )


def again(contender: Contender, python: str, server: Server, rows: int, folder: Path) -> tuple[float, float] | None:
    """Seconds of a second start where all is done, and of its CPU; None where it asks all again."""
    server.reset()
    started = Started(contender, python, server, folder)
    ended = started.watch(lambda: server.log()["asked"] > AGAIN * rows, pause=0.05)
    if not ended:
        started.kill()
    return (started.wall, started.cpu) if ended and server.log()["asked"] == 0 else None


def killed(contender: Contender, python: str, server: Server, rows: int, folder: Path) -> Killed:
    """Kill the command in the middle, give it again, and count."""
    folder.mkdir()
    (folder / "kept").mkdir()
    write_rows(folder, rows)
    server.reset()
    started = Started(contender, python, server, folder)
    if started.watch(lambda: server.log()["rows"] >= rows / 2, pause=0.02):
        raise MeasurementFailed("it ended before it could be killed")
    started.kill()
    Started(contender, python, server, folder).watch()
    log, (told, wrong) = server.log(), lines(folder)
    return Killed(rows, log["asked"] - log["rows"], rows - told, wrong)


def lines(folder: Path) -> tuple[int, int]:
    """Rows that have a line, and lines that are broken or too many."""
    found, broken = Counter[str](), 0
    for path in [folder / "out.jsonl", *sorted((folder / "out").glob("*.json"))]:
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            try:
                said = json.loads(line)
                found[str(said["id"])] += said["output"]["urgency"] == "today"
            except (ValueError, KeyError, TypeError):
                broken += 1
    return sum(count > 0 for count in found.values()), broken + sum(abs(count - 1) for count in found.values())


def cpu_at(looks: Sequence[Look], at: float) -> float:
    """Seconds of CPU at a time between two looks.

    >>> cpu_at([Look(0, 0, 0), Look(2, 1, 0)], 1)
    0.5
    """
    place = bisect_left(looks, at, key=lambda look: look.at)
    if place in (0, len(looks)):
        return looks[min(place, len(looks) - 1)].cpu
    before, after = looks[place - 1], looks[place]
    return before.cpu + (after.cpu - before.cpu) * (at - before.at) / (after.at - before.at)
