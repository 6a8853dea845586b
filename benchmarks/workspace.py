"""What a call that changes nothing costs the host, by files in the workspace: `python -m benchmarks.workspace`.

Needs Docker and the sandbox image. Prints for an empty workspace and for a full one: processor time and wall clock of
this process for each call, bytes that the journal's file grew by, and the longest time for which another task of the
same event loop did not get its turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

from fastslow import Agent, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CallStarted, RunFinished, TurnFinished
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import DockerSandbox

MAKE = """
import os
for n in range({}):
    os.makedirs(f"d{{n // 500}}", exist_ok=True)
    open(f"d{{n // 500}}/f{{n}}.txt", "w").write(str(n))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a call that changes nothing, the median of several. stall_ms: the longest of others, as watching costs time.
    making_s: of the call that made the files."""

    files: int
    host_ms: float
    wall_ms: float
    stall_ms: float
    journal_bytes: float
    making_s: float
    making_stall_ms: float
    making_journal_bytes: int


class Beat:
    """A task beside the run that wants its turn each millisecond while it is `on`; late: the longest that it waited."""

    def __init__(self) -> None:
        self.on = asyncio.Event()
        self.late = 0.0

    async def go_on(self) -> None:
        while True:
            await self.on.wait()
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.late = max(self.late, time.perf_counter() - before - 0.001)


async def measure(files: int, calls: int, folder: Path) -> Cost:
    """One run: a call that makes the files, then calls that do nothing."""
    journal = Journal(folder / "runs.db")
    cells = [MAKE.format(files), *["1 + 1"] * calls]
    script = [Reply(calls=(ToolCall(f"c{n}", "python", json.dumps({"code": code})),)) for n, code in enumerate(cells)]
    sandbox = DockerSandbox()
    agent = Agent(engine=ScriptedModel([*script, Reply("done")]), sandbox=sandbox, journal=journal, out=folder / "out")
    beat = Beat()
    beating = asyncio.create_task(beat.go_on())
    found: list[tuple[float, float, float, int]] = []
    try:
        async with aclosing(agent.stream("measure")) as events:
            before = (0.0, 0.0, 0)
            async for event in events:
                if isinstance(event, CallStarted):
                    if len(found) % 2 == 0:
                        beat.on.set()
                    else:
                        beat.on.clear()
                    beat.late = 0.0
                    before = (time.process_time(), time.perf_counter(), size(folder))
                elif isinstance(event, CallFinished):
                    assert event.ok, event.content
                    host, wall = time.process_time() - before[0], time.perf_counter() - before[1]
                    await asyncio.sleep(0.002)  # the beat has had its turn
                    found.append((host, wall, beat.late, size(folder) - before[2]))
                elif isinstance(event, RunFinished):
                    assert event.result.exit == "answered", event.result.reason
                elif isinstance(event, TurnFinished):
                    await asyncio.sleep(0.2)  # the sandbox makes its copies now, and not while we measure
    finally:
        beating.cancel()
        await sandbox.aclose()
        journal.close()
    (_, making, making_stall, making_bytes), *rest = found

    def median(which: Callable[[tuple[float, float, float, int]], float]) -> float:
        return statistics.median(map(which, rest))

    quiet, watched = rest[::2], rest[1::2]
    return Cost(
        files,
        1000 * statistics.median(row[0] for row in quiet),
        1000 * median(lambda row: row[1]),
        1000 * max(row[2] for row in watched),
        median(lambda row: row[3]),
        making,
        1000 * making_stall,
        making_bytes,
    )


def size(folder: Path) -> int:
    """Bytes of the journal's file and its log."""
    return sum(path.stat().st_size for path in folder.glob("runs.db*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="files in the full workspace")
    parser.add_argument("--calls", type=int, default=7, help="calls that are measured")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    options = parser.parse_args()
    costs = []
    for files in (0, options.files):
        with tempfile.TemporaryDirectory() as name:
            costs.append(asyncio.run(measure(files, options.calls, Path(name))))
    if options.json:
        sys.stdout.write(json.dumps([asdict(cost) for cost in costs]) + "\n")
        return
    for cost in costs:
        sys.stdout.write(
            f"{cost.files:6} files: a call that changes nothing takes {cost.host_ms:.1f} ms of this process "
            f"({cost.wall_ms:.0f} ms of wall clock), a stall of {cost.stall_ms:.1f} ms and {cost.journal_bytes:,.0f} "
            f"bytes of journal; the call that made them {cost.making_s:.2f} s, {cost.making_stall_ms:.1f} ms and "
            f"{cost.making_journal_bytes:,} bytes\n"
        )
    sys.stdout.write(f"host time: {costs[1].host_ms / costs[0].host_ms:.1f} times that of an empty workspace\n")


if __name__ == "__main__":
    main()
