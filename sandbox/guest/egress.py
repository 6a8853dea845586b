"""The guest's half of the way out: connections to a port of the container's loopback, passed on as streams of frames.

What they say is the host's to judge: here are only bytes. Each side may send WINDOW bytes of a stream beyond what the
other gave credit for, so nothing piles up. A stream ends when both sides sent `net_close` as "both" or "broken".
"""

import selectors
import socket
import struct

PORT = 3128
STREAMS = 64  # at a time; the next connection waits
WINDOW = 256 << 10  # bytes
CHUNK = 64 << 10
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Forwarder:
    """Accepts connections. The owner of the selector calls `ready` for the keys that are ours, and `feed`."""

    def __init__(self, selector, send, port=PORT):
        self.selector, self.send = selector, send
        self.streams = {}
        self.last = 0
        self.listener = socket.create_server(("127.0.0.1", port), backlog=STREAMS)
        self.listener.setblocking(False)
        self.selector.register(self.listener, READ, self)

    def ready(self, key, mask):
        if key.data is self:
            self.accept()
        else:
            key.data.ready(mask)

    def feed(self, header, body):
        """A frame of the host."""
        stream = self.streams[header["stream"]]
        if header["op"] == "net_data":
            stream.deliver(body)
        elif header["op"] == "net_credit":
            stream.more_credit(header["bytes"])
        else:
            stream.host_closed(header["how"])

    def accept(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:  # it went away, or there are too many descriptors
            return
        self.last += 1
        self.streams[self.last] = Stream(self, self.last, connection)
        if len(self.streams) >= STREAMS:
            self.selector.unregister(self.listener)

    def forget(self, number):
        if len(self.streams) >= STREAMS:
            self.selector.register(self.listener, READ, self)
        del self.streams[number]


class Stream:
    """One connection.

    silent: it says nothing more. closed: it is over; the host knows. ending: how the host closed its side.
    """

    def __init__(self, forwarder, number, connection):
        self.forwarder, self.number, self.connection = forwarder, number, connection
        self.pending = bytearray()  # from the host
        self.credit = WINDOW
        self.owed = self.events = 0
        self.silent = self.closed = False
        self.ending = None
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tell("net_open")
        self.watch()

    def tell(self, kind, body=b"", **fields):
        self.forwarder.send({"kind": kind, "stream": self.number, **fields}, body)

    def ready(self, mask):
        try:
            if mask & WRITE:
                self.push()
            if mask & READ and not self.closed:
                self.take()
        except BlockingIOError:
            pass
        except OSError:  # whoever was there is gone
            self.close()
        self.watch()

    def take(self):
        data = self.connection.recv(min(CHUNK, self.credit))
        if data:
            self.credit -= len(data)
            self.tell("net_data", data)
        else:
            self.silent = True
            self.tell("net_close", how="half")

    def push(self):
        """Deliver what the connection takes now; what the host said at its end, once all is delivered."""
        if self.pending:
            sent = self.connection.send(self.pending)
            del self.pending[:sent]
            self.owed += sent
        if self.owed >= WINDOW // 4:
            self.tell("net_credit", bytes=self.owed)
            self.owed = 0
        if not self.pending and self.ending == "half":
            self.connection.shutdown(socket.SHUT_WR)
        elif not self.pending and self.ending == "both":
            self.close()

    def deliver(self, body):
        if not self.closed:
            self.pending += body
            self.ready(WRITE)

    def more_credit(self, count):
        self.credit += count
        self.watch()

    def host_closed(self, how):
        self.ending = how
        if how == "broken" and not self.closed:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            self.close()
        elif not self.closed:
            self.ready(WRITE)
        elif how != "half":
            self.forwarder.forget(self.number)

    def close(self):
        self.closed = True
        self.watch()
        self.connection.close()
        self.pending.clear()
        self.tell("net_close", how="both")
        if self.ending in ("both", "broken"):
            self.forwarder.forget(self.number)

    def watch(self):
        """Look for what can be done now."""
        events = 0
        if not self.closed:
            events = (READ if self.credit and not self.silent else 0) | (WRITE if self.pending else 0)
        if events == self.events:
            return
        selector = self.forwarder.selector
        if not self.events:
            selector.register(self.connection, events, self)
        elif events:
            selector.modify(self.connection, events, self)
        else:
            selector.unregister(self.connection)
        self.events = events
