"""Code behind the proxy on the host, for tests: what a guest says and hears, without a container."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from typing import Any

from fastslow.sandbox import Egress, Network
from fastslow.sandbox.egress import EgressProxy
from fastslow.sandbox.netstream import WINDOW
from fastslow.sandbox.wire import Message


class Code:
    """Plays the guest for a proxy, in memory: code's connections as frames, under credits."""

    def __init__(self, *allow: str, names: dict[str, list[str]] | None = None) -> None:
        self.records: list[Egress] = []
        self.names = names or {}
        self.looked_up: list[str] = []
        self.proxy = EgressProxy(Network(allow), self.take, self.records.append, resolve=self.resolve)
        self.heard: dict[int, bytearray] = collections.defaultdict(bytearray)
        self.ends: dict[int, list[str]] = collections.defaultdict(list)
        self.credit: dict[int, int] = collections.defaultdict(lambda: WINDOW)
        self.over: set[int] = set()  # what was closed both ways from here
        self.generous = True  # give credit for all that comes
        self.news = asyncio.Event()
        self.last = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    async def take(self, header: Message, body: bytes) -> None:
        number = header["stream"]
        if header["op"] == "net_data":
            self.heard[number] += body
            if self.generous and number not in self.over:
                self.proxy.feed({"kind": "net_credit", "stream": number, "bytes": len(body)}, b"")
        elif header["op"] == "net_credit":
            self.credit[number] += header["bytes"]
        else:
            self.ends[number].append(header["how"])
            if header["how"] != "half" and number not in self.over:
                self.say(number, "net_close", how="both")
        self.news.set()

    def say(self, number: int, kind: str, body: bytes = b"", **fields: Any) -> None:
        if fields.get("how") == "both":
            self.over.add(number)
        self.credit[number] -= len(body)
        self.proxy.feed({"kind": kind, "stream": number, **fields}, body)

    def open(self, data: bytes = b"") -> int:
        self.last += 1
        self.say(self.last, "net_open")
        if data:
            self.say(self.last, "net_data", data)
        return self.last

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not happened():
                self.news.clear()
                await self.news.wait()

    async def upload(self, number: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            await self.until(lambda: self.credit[number])
            size = min(self.credit[number], 60_000)
            self.say(number, "net_data", bytes(left[:size]))
            left = left[size:]
            await asyncio.sleep(0)

    async def ask(self, data: bytes) -> bytes:
        """The whole answer to one request."""
        number = self.open(data)
        await self.until(lambda: self.ends[number])
        if self.ends[number] == ["half"]:
            self.say(number, "net_close", how="half")
        await self.until(lambda: self.ends[number][-1] != "half")
        return bytes(self.heard[number])

    async def connect(self, place: str) -> int:
        number = self.open(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        await self.until(lambda: self.heard[number])
        assert bytes(self.heard[number]) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        self.heard[number].clear()
        return number
