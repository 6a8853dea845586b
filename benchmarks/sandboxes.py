"""What the sandbox costs, beside the floors of the machine in the same run.

    python benchmarks/sandboxes.py [--rounds N] [--json]

Medians and 95th percentiles. The machine's own floors (a bare fork, a pipe, `docker run`) stand beside, since numbers
of another machine, or of a busy hour, say little by themselves. The goals are those that the project set itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sandbox import DockerSandbox, DockerSession, HostFunction, Limits, image_tag

ROOMY = Limits(memory=3 << 30, output=20 << 20)
STACK = "import numpy, pandas, matplotlib.pyplot"
ADD = HostFunction("add", "Add.", {"properties": {"a": {"type": "integer"}}, "required": ["a"]})


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds unless `unit` says otherwise. goal: "" for a floor."""

    name: str
    samples: tuple[float, ...]
    goal: float | None = None
    unit: str = "ms"

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        return sorted(self.samples)[min(len(self.samples) - 1, round(0.95 * (len(self.samples) - 1)))]


async def timed(action: Callable[[], Awaitable[Any]], count: int) -> tuple[float, ...]:
    samples = []
    for _ in range(count):
        started = time.perf_counter()
        await action()
        samples.append(1000 * (time.perf_counter() - started))
    return tuple(samples)


@contextlib.asynccontextmanager
async def sandbox_of(limits: Limits = ROOMY, pool: int = 0) -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(limits, pool=pool)
    try:
        yield sandbox
    finally:
        await sandbox.aclose()


async def filled(sandbox: DockerSandbox, count: int) -> None:
    """Wait until so many containers have the data stack loaded."""
    while sandbox.ready < count:
        await asyncio.sleep(0.02)


def floors(rounds: int) -> list[Row]:
    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    def docker_run() -> None:
        command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "true", image_tag()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def samples(action: Callable[[], None], count: int) -> tuple[float, ...]:
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            action()
            taken.append(1000 * (time.perf_counter() - started))
        return tuple(taken)

    return [
        Row("floor: fork of this process", samples(fork, 50)),
        Row("floor: docker run --network none true", samples(docker_run, max(3, rounds // 2))),
    ]


async def starts(rounds: int) -> list[Row]:
    async with sandbox_of() as cold:
        cold_samples = []
        for _ in range(rounds):
            started = time.perf_counter()
            session = await cold.session()
            await session.run("print(1+1)")
            cold_samples.append(1000 * (time.perf_counter() - started))
            await session.aclose()
    warm_samples, stack_samples = [], []
    async with sandbox_of(pool=2) as warm:
        await (await warm.session()).aclose()
        for number in range(2 * rounds):
            await filled(warm, 2)
            code, samples = (STACK, stack_samples) if number % 2 else ("print(1+1)", warm_samples)
            started = time.perf_counter()
            session = await warm.session()
            await session.run(code)
            samples.append(1000 * (time.perf_counter() - started))
            await session.aclose()
    return [
        Row("first result, warm pool", tuple(warm_samples), 3.0),
        Row("session with numpy, pandas, matplotlib ready", tuple(stack_samples), 15.0),
        Row("cold, no pool", tuple(cold_samples), 350.0),
    ]


async def calls(session: DockerSession, rounds: int) -> list[Row]:
    async def answer(_name: str, arguments: dict[str, Any]) -> Any:
        return arguments["a"] + 1

    await session.offer([ADD])
    await session.run("import time")
    later = await timed(lambda: session.run("print(1+1)"), 20 * rounds)
    flood = await timed(lambda: session.run("print('x' * 10_000_000)"), rounds)
    home = []
    for _ in range(rounds):
        code = "t = time.perf_counter()\nfor n in range(200): tools.add(n)\n(time.perf_counter() - t) / 200 * 1000"
        home.append(float((await session.run(code, on_call=answer)).value or "nan"))
    return [
        Row("later print(1+1)", later, 0.3),
        Row("10 MB of stdout", flood, 25.0),
        Row("call of a host function from code", tuple(home), 0.2),
    ]


async def forks(session: DockerSession, rounds: int) -> list[Row]:
    rows = []
    for name, code, goal in (
        ("fork of a session", STACK, 10.0),
        ("fork of a session, 100 MB", "heap = bytearray(100 << 20)", 10.0),
        ("fork of a session, 1 GB", "heap = bytearray(1 << 30)", None),
    ):
        await session.run(code)
        samples = []
        for _ in range(rounds):
            await asyncio.sleep(0.1)  # past the standby that follows a run
            started = time.perf_counter()
            copy = await session.fork()
            samples.append(1000 * (time.perf_counter() - started))
            await copy.aclose()
        rows.append(Row(name, tuple(samples), goal))
    return rows


async def stops(session: DockerSession, rounds: int) -> list[Row]:
    rows = []
    for name, code in (
        ("stop of a loop, past its deadline", "while True: pass"),
        ("stop of what ignores its interrupt", "import signal\nsignal.signal(2, signal.SIG_IGN)\nwhile True: pass"),
    ):
        samples = []
        for _ in range(max(3, rounds // 2)):
            await session.run("1")
            await asyncio.sleep(0.1)
            started = time.perf_counter()
            await session.run(code, seconds=0.3)
            samples.append(1000 * (time.perf_counter() - started) - 300)
        rows.append(Row(name, tuple(samples), 100.0))
    return rows


async def refills(count: int = 8) -> list[Row]:
    async with sandbox_of(Limits(), pool=count) as sandbox:
        started = time.perf_counter()
        await (await sandbox.session()).aclose()
        while sandbox.idle < count:
            await asyncio.sleep(0.01)
        rate = (count + 1) / (time.perf_counter() - started)
    return [Row("containers started ahead", (rate,), 4.0, "/s")]


async def measure(rounds: int, progress: Progress) -> list[Row]:
    parts: list[tuple[str, Callable[[], Awaitable[list[Row]]]]] = []
    async with sandbox_of() as sandbox:
        session = await sandbox.session()
        parts = [
            ("floors", lambda: asyncio.to_thread(floors, rounds)),
            ("calls", lambda: calls(session, rounds)),
            ("forks", lambda: forks(session, rounds)),
            ("stops", lambda: stops(session, rounds)),
            ("starts", lambda: starts(rounds)),
            ("refills", refills),
        ]
        rows: list[Row] = []
        bar = progress.add_task("measuring", total=len(parts))
        for name, part in parts:
            progress.update(bar, description=name)
            rows += await part()
            progress.advance(bar)
    return rows


def met(row: Row) -> str:
    if row.goal is None:
        return ""
    return "yes" if (row.median >= row.goal if row.unit == "/s" else row.median <= row.goal) else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print every sample")
    options = parser.parse_args()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        rows = asyncio.run(measure(options.rounds, progress))
    if options.json:
        json.dump({"load": os.getloadavg(), "rows": [asdict(row) for row in rows]}, sys.stdout, indent=1)
        return
    table = Table("", "median", "p95", "goal", "met", box=None)
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g} {row.unit}"
        table.add_row(row.name, f"{row.median:.2f} {row.unit}", f"{row.p95:.2f}", goal, met(row))
    Console().print(table, f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
