"""One measurement of one contender, in a process and an environment of its own; prints one line of JSON.

    python runner.py <contenders/file.py:Class> <its distributions, by commas> <url> <case> <turns> <runs> [encoded]

A run of two turns comes first and does not count: connections, schemas and caches are made there. With `encoded`,
nothing is timed: counted is what goes through `json.JSONEncoder.encode`. Standard library only.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import inspect
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TICK = 0.005  # seconds that the watcher of the event loop sleeps
DONE = "All done"  # how the scripted answer begins
WARM_UP_TURNS = 2


def _load(path: Path, name: str) -> Any:
    """A module under a name of its own: the contenders' files are called as what they import."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # some frameworks look a tool's module up
    spec.loader.exec_module(module)
    return module


def rss() -> float:
    """Resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def _watch(late: list[float]) -> None:
    """Sleep over and over, and note by how much each sleep was too long."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - began - TICK)


async def _all(contender: Any, tasks: Sequence[str]) -> list[str]:
    """Carry all tasks out at once, in the way that the contender has for that."""
    if hasattr(contender, "many"):
        return list(await contender.many(tasks))
    if inspect.iscoroutinefunction(contender.run):
        return list(await asyncio.gather(*map(contender.run, tasks)))
    if len(tasks) == 1:
        return [contender.run(tasks[0])]
    with ThreadPoolExecutor(len(tasks)) as threads:
        loop = asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(threads, contender.run, task) for task in tasks)))


class Counted:
    """Counts the characters of all JSON that is made, which are its bytes as far as it is ASCII."""

    def __init__(self) -> None:
        self.characters = 0
        encode = json.JSONEncoder.encode

        def counting(encoder: json.JSONEncoder, value: Any) -> str:
            text = encode(encoder, value)
            self.characters += len(text)
            return text

        json.JSONEncoder.encode = counting  # type: ignore[method-assign]


async def measure(contender: Any, case: str, turns: int, runs: int) -> dict[str, float]:
    await _all(contender, [task(f"{case}.warm", WARM_UP_TURNS)])
    counted = Counted() if "encoded" in sys.argv else None
    late: list[float] = []
    watcher = asyncio.create_task(_watch(late)) if runs > 1 else None
    await asyncio.sleep(0)
    wall, cpu = time.perf_counter(), time.process_time()
    answers = await _all(contender, [task(f"{case}.{number}", turns) for number in range(runs)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await asyncio.sleep(0 if watcher is None else 3 * TICK)  # so that a stall at the very end is seen
    if watcher:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    if wrong := [text for text in answers if not text.startswith(DONE)]:
        raise AssertionError(f"{len(wrong)} of {runs} runs ended wrongly: {wrong[0][:200]!r}")
    measured = {"wall": wall, "cpu": cpu, "rss": rss(), "stall": max(late, default=0.0)}
    if counted:
        measured["encoded"] = counted.characters
    return measured


def task(case: str, turns: int) -> str:
    return f"case-{case} takes {turns} turns. Ask the tools, one after the other, then say that all is done."


async def main() -> None:
    place, distributions, url, case, turns, runs = sys.argv[1:7]
    answers = os.fdopen(os.dup(1), "w")  # libraries print; the answer gets a descriptor of its own
    os.dup2(2, 1)
    file, _, name = place.partition(":")
    tools = _load(HERE / "eight.py", "eight").TOOLS
    cls = getattr(_load(HERE / file, "contender"), name)
    measured: dict[str, Any] = {"rss_import": rss()}
    contender = cls(url, tools)
    measured |= await measure(contender, case, int(turns), int(runs))
    measured["versions"] = [f"{each} {importlib.metadata.version(each)}" for each in distributions.split(",") if each]
    print(json.dumps(measured), file=answers, flush=True)
    os._exit(0)  # some keep threads that never end


if __name__ == "__main__":
    asyncio.run(main(), debug=False)
