"""Plays hostile guests at the host: `python -m tests.fuzz.guests [--count N] [--seed S]`.

Each round is a whole run, with a journal and a folder for its files, whose sandbox is a guest that answers as the
seeded generator says: honestly, with lies about sizes, counts, names and digests, with floods, or with silence. The run
must end by itself, in time, and cost this machine no more than the limits say: bytes in the journal, bytes and files in
the folder, memory, and turns of others on the event loop. Prints what was played and what broke, and ends with status 1
if anything did.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from fastslow import Agent, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import DummySandbox, Limits, OnEgress
from fastslow.sandbox.channel import Channel
from fastslow.sandbox.session import DockerSession
from fastslow.sandbox.wire import Frame, FrameStream, GuestGone
from fastslow.tools import tool

LIMITS = Limits(
    seconds=0.5,
    output=2000,
    displays=5000,
    upload=100_000,
    disk=500_000,
    files=200,
    out=300_000,
    calls=20,
    traffic=100_000,
)
SLACK = 400_000  # bytes of a journal for tables, events and pages that are not full
SECONDS = 30.0  # for a round, on a busy machine
STALL = 0.25  # seconds of our processor's time for which others do not get their turn
MEMORY = 64 << 20
HONESTY = 0.95  # how often an answer is as it should be: else no guest gets far


@dataclass(frozen=True, slots=True)
class Round:
    """What one guest cost. broke: the promises that did not hold."""

    exit: str
    seconds: float
    lies: Counter[str]
    broke: tuple[str, ...]


class Guest:
    """Keeps files that it makes up, and lies now and then. lies: how often, by kind."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.files: dict[str, bytes] = {}
        self.told: dict[str, bytes] = {}
        self.arriving = bytearray()
        self.number = 0
        self.lies: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = FrameStream(reader, writer)
        with suppress(GuestGone, ConnectionError, asyncio.CancelledError):
            await stream.send({"kind": "hello"})
            while True:
                frame = await stream.receive()
                for header, body in self.answer(frame):
                    await stream.send(header, body)
                    if self.chance.random() < 0.01:
                        await asyncio.sleep(0.01)
        writer.close()

    def answer(self, frame: Frame) -> Iterator[tuple[dict[str, Any], bytes]]:
        header, op = frame.header, str(frame.header["op"])
        if "id" not in header or op == "interrupt":
            return
        say = {"files": self.list, "get": self.get, "put": self.put, "run": self.run, "shell": self.run}.get(op)
        if say is None:
            yield {"kind": "done", "id": header["id"]}, b""
            return
        lie = "" if self.chance.random() < HONESTY else self.chance.choice(LIES[op])
        if lie:
            self.lies[f"{op}: {lie}"] += 1
        for said, body in say(header, frame.body, lie):
            yield {"id": header["id"], **said}, body

    def change(self) -> None:
        for _ in range(self.chance.randrange(30)):
            path = self.chance.choice(["a", "b/c", "b/d", ".github/config", "x" * 200, "ä"]) + str(
                self.chance.randrange(90)
            )
            if self.chance.random() < 0.7:
                self.files[path] = self.chance.randbytes(self.chance.choice([0, 10, 1000, 20_000, 90_000]))
            else:
                self.files.pop(path, None)
        while sum(map(len, self.files.values())) > LIMITS.disk or len(self.files) > LIMITS.files:
            self.files.pop(next(iter(self.files)))

    def list(self, header: dict[str, Any], _body: bytes, lie: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        whole = header["since"] != self.number
        base = {} if whole else self.told
        rows: list[Any] = [row(path, data) for path, data in self.files.items() if base.get(path) != data]
        gone = [path for path in base if path not in self.files]
        if lie == "silence":
            return
        if lie in ("endless", "empty frames"):
            for _ in range(3000):
                yield {"kind": "files", "files": [row("same", b"x")] * (lie == "endless"), "gone": []}, b""
        rows += self.false_rows(lie)
        gone += ["never", *gone] if lie == "gone" else []
        left = [["x" * 900, "link"]] * self.chance.choice([100, 101]) if lie == "left" else [["pipe", "special"]]
        size = 64 if self.chance.random() < 0.99 else 1000
        for start in range(0, len(rows), size):
            yield {"kind": "files", "files": rows[start : start + size], "gone": []}, b""
        for start in range(0, len(gone), size):
            yield {"kind": "files", "files": [], "gone": gone[start : start + size]}, b""
        self.number, self.told = self.number + 1, dict(self.files)
        yield {"kind": "done", "number": self.number, "whole": whole, "left": left, "more": 0}, b""

    def false_rows(self, lie: str) -> list[Any]:
        match lie:
            case "changed for ever":
                return [
                    [*row(path, data)[:2], self.chance.randbytes(32).hex(), "", "100644"]
                    for path, data in self.files.items()
                ]
            case "many":
                return [[f"many/{n}", 0, "0" * 64, "", "100644"] for n in range(self.chance.choice([100, 10_000]))]
            case "vast":
                return [["vast", self.chance.choice([10**5, 10**9, 1 << 60]), "0" * 64, "", "100644"]]
            case "names":
                name = self.chance.choice(["../x", "/etc/passwd", "a\0", "x" * 5000, ".", "", ".git/config"])
                return [[name, 1, "0" * 64, "", "100644"]]
            case "nonsense":
                return [self.chance.choice([None, {}, [], ["a"], [[], [], [], [], []], [1, 2, 3, 4, 5]])]
            case "modes":
                mode = self.chance.choice(["120000", "040000", 33188, None, ["100644"]])
                return [["mode", 1, "0" * 64, "", mode]]
        return []

    def get(self, header: dict[str, Any], _body: bytes, lie: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        data = self.files.get(header["path"])
        start, length = header["offset"], header["length"]
        match lie:
            case "endless":
                yield {"kind": "done", "final": False}, b"x" * length
            case "crumbs":
                yield {"kind": "done", "final": False}, b"x"
            case "other":
                yield {"kind": "done", "final": True}, self.chance.randbytes(self.chance.choice([0, 10, 99_999]))
            case "late":
                return
            case _ if data is None or lie == "refused":
                yield {"kind": "refused", "reason": "missing", "text": "gone \x1b[31m"}, b""
            case _:
                part = data[start : start + length]
                yield {"kind": "done", "final": len(part) < length}, part

    def put(self, header: dict[str, Any], body: bytes, lie: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        if lie == "refused":
            yield {"kind": "refused", "reason": "invalid", "text": "No space left"}, b""
            return
        modes: list[Any] = []
        for path, mode, length, last in header["files"]:
            self.arriving += body[:length]
            body = body[length:]
            if last:
                self.files[path] = self.told[path] = bytes(self.arriving)
                self.arriving.clear()
                modes.append(mode or "100644")
        if lie == "other":
            modes.append(self.chance.choice([None, "100644", 0, []]))
        yield {"kind": "done", "modes": modes}, b""

    def run(self, header: dict[str, Any], _body: bytes, lie: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        self.change()
        total = 0
        match lie:
            case "calls":
                for number in range(1, self.chance.choice([5, 20, 21])):
                    body = self.chance.choice(
                        [b'{"a": [' + b"[]," * 3000 + b"1]}", b'{"text": "' + b"x" * 9000 + b'"}', b"{"]
                    )
                    yield {"kind": "call", "call": number, "name": self.chance.choice(["echo", "other"])}, body
            case "displays":
                for _ in range(self.chance.choice([4, 1200])):
                    yield {"kind": "display", "mime": [["text/html", 1000]]}, b"<" * 1000
            case "output":
                for _ in range(self.chance.choice([20, 3000])):
                    total += 100
                    yield {"kind": "output", "stream": "stdout"}, b"x" * 100
            case "silence":
                return
        done = {"status": "ok", "value": None, "error": "", "exit_code": 0, "seconds": 0.1, "state": "kept"}
        if lie == "nonsense":
            done[self.chance.choice(list(done))] = self.chance.choice([None, -1, [], "x" * 9000, {}])
        silent = {"total": 0, "file": None, "saved": 0}
        yield {"kind": "done", **done, "stdout": {**silent, "total": total}, "stderr": silent}, b""


LIES = {
    "files": [
        "changed for ever",
        "many",
        "vast",
        "names",
        "modes",
        "nonsense",
        "gone",
        "left",
        "endless",
        "empty frames",
        "silence",
    ],
    "get": ["endless", "crumbs", "other", "late", "refused"],
    "put": ["other", "refused"],
    "run": ["calls", "displays", "output", "silence", "nonsense"],
}
LIES["shell"] = LIES["run"]


def row(path: str, data: bytes) -> list[Any]:
    return [path, len(data), hashlib.sha256(data).hexdigest(), "", "100644"]


class Hostile(DummySandbox):
    """Sessions with guests of one generator."""

    def __init__(self, chance: random.Random, folder: Path) -> None:
        super().__init__(limits=LIMITS)
        self.chance, self.folder = chance, folder
        self.guests: list[Guest] = []
        self.servers: list[asyncio.Server] = []

    async def session(self, *, on_egress: OnEgress | None = None) -> Any:
        guest = Guest(self.chance)
        path = str(self.folder / f"s{len(self.guests)}")
        self.guests.append(guest)
        self.servers.append(await asyncio.start_unix_server(guest.serve, path))
        stream = FrameStream(*await asyncio.open_unix_connection(path, limit=1 << 20))

        async def end() -> None:
            pass

        channel = Channel(stream, LIMITS, end)
        await channel.open()
        return DockerSession(channel)

    async def aclose(self) -> None:
        for server in self.servers:
            server.close()
            await server.wait_closed()


@tool(effect="read")
def echo(text: str = "", a: str = "") -> str:
    """Give it back.

    Args:
        text: A text.
        a: Another.
    """
    return text + a


async def play(seed: int, folder: Path) -> Round:
    """One run against one guest."""
    chance = random.Random(seed)
    cells = [Reply(calls=(ToolCall(f"c{n}", "python", json.dumps({"code": str(n)})),)) for n in range(6)]
    sandbox, journal = Hostile(chance, folder), Journal(folder / "runs.db")
    agent = Agent(
        engine=ScriptedModel([*cells, Reply("done")]),
        tools=[echo],
        sandbox=sandbox,
        journal=journal,
        out=folder / "out",
    )
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.process_time() - before)

    memory, began = psutil.Process().memory_info().rss, time.monotonic()
    beating = asyncio.create_task(beat())
    broke = []
    try:
        async with asyncio.timeout(SECONDS):
            result = await agent.run("play")
        ended = result.exit.value
    except (Exception, TimeoutError) as error:
        ended = "raised"
        broke.append(f"it raised {error!r}")
    finally:
        beating.cancel()
        journal.close()
        await sandbox.aclose()
    cost = {
        "bytes of memory": (psutil.Process().memory_info().rss - memory, MEMORY),
        "ms of stall": (round(1000 * longest), round(1000 * STALL)),
        "seconds": (round(time.monotonic() - began), round(SECONDS)),
        **left_behind(folder),
    }
    broke += [f"{what}: {value:,} instead of {most:,}" for what, (value, most) in cost.items() if value > most]
    lies = sum((guest.lies for guest in sandbox.guests), Counter())
    return Round(ended, time.monotonic() - began, lies, tuple(f"seed {seed}: {what}" for what in broke))


def left_behind(folder: Path) -> dict[str, tuple[int, int]]:
    """What a run left on the disk, and how much that may be."""
    files = [path for path in folder.glob("out/**/*") if path.is_file()]
    return {
        "bytes of journal": ((folder / "runs.db").stat().st_size, LIMITS.out + 4 * LIMITS.traffic + SLACK),
        "bytes of files": (sum(path.stat().st_size for path in files), LIMITS.out),
        "files": (len(files), LIMITS.files),
        "hidden files": (sum(path.name.startswith(".") for path in folder.glob("out/**/*")), 0),
    }


@contextmanager
def hurried() -> Iterator[None]:
    """Silence is waited for in tenths of seconds; nothing else is another."""
    with (
        patch("fastslow.sandbox.session.FILE_SECONDS", 0.3),
        patch("fastslow.sandbox.session.ANSWER_SECONDS", 0.3),
        patch("fastslow.sandbox.channel.ANSWER_SECONDS", 0.3),
        patch("fastslow.agent.workspace.PAUSES", (0.01,)),
    ):
        yield


def rounds(seeds: range) -> list[Round]:
    """As many runs, one after the other."""
    found = []
    with hurried():
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="fastslow-guest-") as name:
                found.append(asyncio.run(play(seed, Path(name))))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="guests to play")
    parser.add_argument("--seed", type=int, default=0, help="the first one's")
    options = parser.parse_args()
    found = rounds(range(options.seed, options.seed + options.count))
    lies: Counter[str] = sum((each.lies for each in found), Counter())
    print(f"{len(found)} guests: {dict(Counter(each.exit for each in found))}")
    print(f"{lies.total()} lies: {dict(lies.most_common())}")
    broke = [line for each in found for line in each.broke]
    print(f"the slowest took {max(each.seconds for each in found):.1f} s")
    print("\n".join(broke) or "nothing broke")
    return 1 if broke else 0


if __name__ == "__main__":
    sys.exit(main())
