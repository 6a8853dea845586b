"""`fastslow map` as a program that is killed again and again, beside a server that answers with what it is asked."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from tests.engine.fake_server import serving
from tests.flow.echo import SCHEMA, Echo


class Map:
    """One command on a table, with a home of its own. start: the same command again."""

    def __init__(self, folder: Path, server: Echo, rows: int, *options: str) -> None:
        folder.mkdir()
        self.folder, self.out = folder, folder / "out.jsonl"
        with (folder / "in.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["id", "n"], *([number, f"v{number}"] for number in range(rows))])
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        files = ["--input", str(folder / "in.csv"), "--schema", str(folder / "schema.json"), "--out", str(self.out)]
        shared = ["--id", "id", "--base-url", server.url, "--at-once", "8", *options]
        self.command = [sys.executable, "-m", "fastslow.agent.surfaces.cli.main", "map", "Repeat {n}", *files, *shared]

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        environment = {**os.environ, "FASTSLOW_HOME": str(self.folder / "home")}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*self.command, *more, env=environment, stdout=pipe, stderr=pipe)

    async def finish(self) -> None:
        process = await self.start()
        _, words = await process.communicate()
        assert process.returncode == 0, words.decode()

    def lines(self) -> list[dict[str, Any]]:
        """Whole lines, without what differs from run to run; ValueError for one that is not whole."""
        said = [json.loads(line) for line in self.out.read_text().splitlines()] if self.out.exists() else []
        kept = ("id", "status", "output", "turns", "tokens")
        return sorted(({name: line[name] for name in kept} for line in said), key=lambda line: int(line["id"]))

    def count(self) -> int:
        """Lines so far."""
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0


async def until_lines(map_: Map, process: asyncio.subprocess.Process, count: int) -> None:
    """Waits until so many lines are there, or the process has ended."""
    while process.returncode is None and map_.count() < count:  # noqa: ASYNC110 - another process writes them
        await asyncio.sleep(0.01)


async def disturbed(map_: Map, kills: int, rows: int, chance: random.Random, *, workers: bool) -> int:
    """Kills the coordinator, or one of its workers, as lines come; starts again after each of the former. Returns how
    often the coordinator was started."""
    starts, process = 1, await map_.start()
    for kill in range(kills):
        await until_lines(map_, process, min(rows - 1, kill * rows // (kills + 1) + chance.randrange(1, 5)))
        if process.returncode is not None:
            break
        running = psutil.Process(process.pid).children()
        if workers and running:
            chance.choice(running).send_signal(signal.SIGKILL)
        else:
            process.kill()
            await process.communicate()
            starts, process = starts + 1, await map_.start()
    _, words = await process.communicate()
    if workers and process.returncode:  # a row, or a place, whose workers were shot three times is given up
        process = await map_.start("--retry", "failed")
        _, words = await process.communicate()
    assert process.returncode == 0, words.decode()
    return starts


async def kill_and_compare(folder: Path, kills: int, rows: int, *, workers: bool) -> None:
    """Whoever is killed, the lines are those of a map that nobody disturbed, and only rows whose results were not
    committed at a kill are asked again."""
    async with serving(Echo(delay=0.05)) as server:
        quiet = Map(folder / "quiet", server, rows)
        await quiet.finish()
        server.received.clear()
        killed = Map(folder / "killed", server, rows, "--workers", "2")
        starts = await disturbed(killed, kills, rows, random.Random(18), workers=workers)
        asked = Counter(server.received)
        await killed.finish()  # nothing is left to do
        assert server.received == asked
    assert killed.lines() == quiet.lines()
    assert [line["id"] for line in killed.lines()] == [str(number) for number in range(rows)]
    assert starts == (1 if workers else kills + 1)
    again = 8 if workers else 32  # in hand at a kill; and what had ended, but was not committed on a busy machine
    assert sum(asked.values()) <= rows + kills * again
