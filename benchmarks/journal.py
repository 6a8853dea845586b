"""What the journal costs, beside the disk's own floor: `python -m benchmarks.journal [--json]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fastslow import Agent, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import Notice, RunStarted
from fastslow.agent.transcript import ToolCall
from fastslow.tools import tool

EVENTS = 500
RUNS = 256
NOTICE = Notice("x" * 500)


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(EVENTS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def events(folder: Path) -> tuple[float, float]:
    """Milliseconds of one event, and of a bare write and fsync of as many bytes."""
    write = Journal(folder / "events.db").writer("run")
    write(RunStarted("run", "task", "model", "profile", (), ()))
    with (folder / "raw").open("wb", buffering=0) as file:
        bare = median_ms(lambda: (file.write(b"x" * 600), os.fsync(file.fileno())))
    return median_ms(lambda: write(NOTICE)), bare


def runs(journal: Journal | None) -> float:
    """Seconds that many runs of two turns and one call take together, with a model that answers at once."""

    async def main() -> float:
        script = [Reply(calls=(ToolCall("c", "add", '{"a": 1, "b": 2}'),)), Reply("3")]
        agents = [Agent(engine=ScriptedModel(script), tools=[add], sandbox=None, journal=journal) for _ in range(RUNS)]
        started = time.perf_counter()
        await asyncio.gather(*(agent.run("task") for agent in agents))
        return time.perf_counter() - started

    return asyncio.run(main())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        event, bare = events(Path(name))
        without, kept = runs(None), runs(Journal(Path(name, "runs.db")))
    found = {"event_ms": event, "fsync_ms": bare, "runs_s": kept, "runs_without_journal_s": without}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write(
        f"an event                {event:.2f} ms, {event / bare:.1f} times a bare write and fsync ({bare:.2f})\n"
        f"{RUNS} runs at once        {kept:.2f} s, without a journal {without:.2f}: "
        f"{1000 * (kept - without) / RUNS:.1f} ms a run\n"
    )


if __name__ == "__main__":
    main()
