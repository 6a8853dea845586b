"""A connection of code's as the host sees it: bytes both ways, under credits, over `net_*` frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastslow.sandbox.wire import Message, ProtocolError

WINDOW = 256 << 10  # bytes, as in the guest
CHUNK = 64 << 10

Send = Callable[[Message, bytes], Awaitable[None]]


class Stream:
    """`read` and `write` for the proxy, `feed…` for what the guest sends (ProtocolError for what ours would not).

    sent, received: bytes so far, as code sees them. host_done, guest_done: who said that it is over.
    """

    def __init__(self, number: int, send: Send) -> None:
        self.number = number
        self.sent = self.received = 0
        self.opened = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None
        self.host_done = self.guest_done = False
        self._send = send
        self._incoming = asyncio.StreamReader()
        self._half_closed = False  # the guest said that nothing more comes
        self._window = WINDOW  # what it may still send
        self._unacknowledged = 0  # taken out of what came, and not yet given back as credit
        self._credit = WINDOW  # what we may still send
        self._more = asyncio.Event()

    def feed(self, body: bytes) -> None:
        if self._half_closed or not 0 < len(body) <= self._window:
            raise ProtocolError(f"{len(body)} bytes on a stream that takes {0 if self._half_closed else self._window}")
        self._window -= len(body)
        if not self.host_done:
            self._incoming.feed_data(body)

    def feed_end(self) -> None:
        if self._half_closed:
            raise ProtocolError("a stream that is closed twice")
        self._half_closed = True
        self._incoming.feed_eof()

    def feed_credit(self, count: int) -> None:
        if self._credit + count > WINDOW:
            raise ProtocolError("credit for more than was sent")
        self._credit += count
        self._more.set()

    async def read(self, size: int = CHUNK) -> bytes:
        """What came; nothing at its end."""
        data = await self._incoming.read(size)
        self.sent += len(data)
        self._unacknowledged += len(data)
        if self._unacknowledged >= WINDOW // 4:
            self._window += self._unacknowledged
            count, self._unacknowledged = self._unacknowledged, 0
            await self._send({"op": "net_credit", "stream": self.number, "bytes": count}, b"")
        return data

    async def write(self, data: bytes) -> None:
        """Returns once all is sent, however long the other side takes."""
        while data:
            while not self._credit:
                self._more.clear()
                await self._more.wait()
            piece, data = data[: self._credit], data[self._credit :]
            self._credit -= len(piece)
            self.received += len(piece)
            await self._send({"op": "net_data", "stream": self.number}, piece)

    async def close(self, how: str) -> None:
        await self._send({"op": "net_close", "stream": self.number, "how": how}, b"")
