"""The proxy behind `Network`: what code in a sandbox sends to the network ends here, on the host.

The guest listens on a port of the container's own loopback and passes each connection on as a stream of `net_*`
frames. Here each is served as by an HTTP/1.1 proxy, `CONNECT host:port` or `GET http://host/…`, one request a
connection. A target is checked once, by name and port (see `allow`), looked up once, and connected to at an address
that was checked. Nothing of a request but host and port is kept or logged.

Streams: the guest opens them, with numbers that count up. Each side may send WINDOW bytes beyond what the other gave
credit for, so neither holds more. `net_close` says `how`: "half", nothing more comes from here; "both", what was sent
is to be delivered and then it is over; "broken", it is over at once. A stream is forgotten when both sides said that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from fastslow.sandbox import wire
from fastslow.sandbox.forward import EgressDraft, Policy, Resolve, exchange, lookup
from fastslow.sandbox.netstream import WINDOW, Send, Stream
from fastslow.sandbox.sandbox import Egress, Network
from fastslow.sandbox.wire import GuestGone, Message, ProtocolError

STREAMS = 64  # at a time, as in the guest

log = logging.getLogger(__name__)


class EgressProxy:
    """Serves the connections of one container.

    network: ValueError for an entry that makes no sense.
    send: takes a frame to the guest; GuestGone when it is gone.
    on_egress: hears of each connection when it is over. resolve: looks names up, OSError for one that is not there.
    """

    def __init__(
        self,
        network: Network,
        send: Send,
        on_egress: Callable[[Egress], None] | None = None,
        *,
        resolve: Resolve = lookup,
    ) -> None:
        self._policy = Policy(network, resolve)
        self._send = send
        self._on_egress = on_egress
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._closed = False

    def feed(self, header: Message, body: bytes) -> None:
        """A frame of the guest. Raises ProtocolError for one that ours would not send."""
        kind = header.get("kind")
        number = wire.integer(header, "stream", 1, 1 << 62)
        if kind == "net_open":
            self._open(number)
            return
        stream = self._streams.get(number)
        if stream is None or stream.guest_done:
            raise ProtocolError("a word on a stream that is not open")
        if kind == "net_data":
            stream.feed(body)
        elif kind == "net_credit":
            stream.feed_credit(wire.integer(header, "bytes", 1, WINDOW))
        elif kind == "net_close":
            self._close(stream, wire.text(header, "how", 6))
        else:
            raise ProtocolError("a frame of unknown kind")

    async def aclose(self) -> None:
        """End all connections. Idempotent."""
        self._closed = True
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- streams

    def _open(self, number: int) -> None:
        if number <= self._last or len(self._streams) >= STREAMS:
            raise ProtocolError(f"stream {number} after {self._last}, with {len(self._streams)} open")
        self._last = number
        stream = self._streams[number] = Stream(number, self._send)
        stream.task = asyncio.create_task(self._serve(stream))

    def _close(self, stream: Stream, how: str) -> None:
        if how == "half":
            stream.feed_end()
        elif how in ("both", "broken"):
            stream.guest_done = True
            assert stream.task is not None  # noqa: S101 - `_open` made it
            asyncio.get_running_loop().call_soon(stream.task.cancel)  # not now: it may not have begun yet
            self._forget(stream)
        else:
            raise ProtocolError("a stream that is closed in an unknown way")

    def _forget(self, stream: Stream) -> None:
        if stream.host_done and stream.guest_done:
            self._streams.pop(stream.number, None)

    async def _serve(self, stream: Stream) -> None:
        draft = EgressDraft()
        how = "both"
        try:
            await exchange(stream, self._policy, draft)
        except asyncio.CancelledError:
            draft.reason = draft.reason or ("" if stream.guest_done else "the session ended")
        except GuestGone:
            draft.reason = "the session ended"
        except OSError as error:  # TimeoutError, too
            how = "broken"
            draft.reason = "idle for too long" if isinstance(error, TimeoutError) else "the connection broke"
        finally:
            stream.host_done = True
            self._forget(stream)
            try:
                self._report(stream, draft)
            finally:
                if not self._closed:
                    with contextlib.suppress(GuestGone):
                        await stream.close(how)

    def _report(self, stream: Stream, draft: EgressDraft) -> None:
        seconds = asyncio.get_running_loop().time() - stream.opened
        egress = Egress(
            draft.host,
            draft.port,
            draft.allowed,
            draft.address,
            stream.sent,
            stream.received,
            seconds,
            draft.reason,
        )
        log.info("egress %s", egress)
        if self._on_egress is not None:
            self._on_egress(egress)
