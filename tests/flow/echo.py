"""A real HTTP server that answers each row of a map with the value that the row brings, and counts what it is asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter

from fastslow.agent.budget import Budget
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from tests.engine.fake_server import CHAT, FakeServer, Seen, read_request, said, send

SCHEMA = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"], "additionalProperties": False}


class Echo(FakeServer):
    """delay: seconds that an answer takes. received: how often each value was asked about."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay
        self.received: Counter[str] = Counter()
        self.keys: set[str] = set()  # that came with the questions
        self.asked = asyncio.Semaphore(0)

    async def busy(self, count: int) -> None:
        """Waits until as many rows were asked about."""
        for _ in range(count):
            await self.asked.acquire()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open[asyncio.current_task()] = writer
        try:
            while (seen := await read_request(reader)) is not None:
                if seen.path != CHAT:
                    await send(writer, self.answer(seen))
                    continue
                self.keys.add(seen.headers.get("authorization", ""))
                value = value_of(seen)
                self.received[value] += 1
                self.asked.release()
                await asyncio.sleep(self.delay)
                await send(writer, said(json.dumps({"n": value})))
        except ConnectionError:
            pass
        finally:
            writer.close()
            del self.open[asyncio.current_task()]


def value_of(seen: Seen) -> str:
    found = re.search(r"<n>\s*(\S+)\s*</n>|Repeat (v\d+)", seen.json["messages"][-1]["content"])
    assert found, seen.json
    return found[1] or found[2]


def spec_for(server: FakeServer, at_once: int = 8) -> MapSpec:
    each = Budget(turns=2)
    return MapSpec("job", "Repeat {n}", SCHEMA, base_urls=(server.url,), each=each, at_once=at_once)


def rows(count: int) -> list[Row]:
    return [Row(number, str(number), f"key-{number}", {"n": f"v{number}"}) for number in range(1, count + 1)]
