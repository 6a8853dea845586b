"""The interpreter's control socket: orders come in, displays and outcomes go out, and calls of host functions do both.

Whoever waits reads: a thread that waits for an answer, or the main thread for its next order, leads and hands out what
comes; others that wait sleep until told. Tasks are served by their event loop, which watches the socket too.
"""

import array
import collections
import contextlib
import json
import os
import select
import socket
import threading

from frames import CHUNK, Frames, encode

PIPE = 1 << 18
ROOM_FOR_FDS = socket.CMSG_SPACE(3 * array.array("i").itemsize)
control = None  # of this interpreter; a copy of it gets its own


class ToolError(Exception):
    """A call of a host function failed; the text is the host's."""


ToolError.__module__ = "tools"


class Waiter:
    """One call under way. loop and future: of a task; without them a thread waits."""

    def __init__(self, loop=None):
        self.thread = threading.get_ident()
        self.loop = loop
        self.future = loop and loop.create_future()
        self.answer = None

    def settle(self):
        if not self.future.done():  # else it was cancelled
            self.future.set_result(None)


class Control:
    """Frames to and from the supervisor, for all threads.

    A KeyboardInterrupt in the middle of a frame would break the stream for good. So the functions named in `guarded`
    are never interrupted, see `interrupts`; all that waits for others is outside of them.
    """

    def __init__(self, connection):
        self.socket = connection
        self.pid = os.getpid()
        self.frames = Frames()
        self.lock = threading.Lock()
        self.orders = collections.deque()  # (header, body, fds)
        self.waiters = {}  # number of a call -> Waiter
        self.called = 0
        self.leader = None  # the thread that reads
        self.sleepers = {}  # other threads that wait -> the lock that each waits at
        self.loops = {}  # event loops that watch the socket, by id
        self.main = threading.get_ident()
        self.interrupted = False

    # -- never interrupted

    def send(self, header, body=b""):
        data = encode(header, body)
        with self.lock:
            self.socket.sendall(data)

    def ask(self, waiter, name, body):
        with self.lock:
            self.called += 1
            self.waiters[self.called] = waiter
            self.socket.sendall(encode({"kind": "call", "call": self.called, "name": name}, body))
            return self.called

    def take(self):
        """Read what is there, and hand it out."""
        with self.lock:
            try:
                # Not `socket.recv_fds`: Python 3.11's forgets the flags, and waits.
                data, extra, _, _ = self.socket.recvmsg(PIPE, ROOM_FOR_FDS, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                os._exit(0)  # the supervisor is gone
            fds = array.array("i", b"".join(part for _, _, part in extra))
            for header, body in self.frames.feed(data):
                if header["op"] == "returned":
                    self.settle(header, body)
                else:
                    self.orders.append((header, body, fds))
                    self.wake(self.main)

    def settle(self, header, body):
        waiter = self.waiters.pop(header["call"], None)
        if waiter is None:  # it was given up: too late
            return
        waiter.answer = header["ok"], body
        if waiter.loop is None:
            self.wake(waiter.thread)
        elif waiter.thread == threading.get_ident():
            waiter.settle()
        else:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                waiter.loop.call_soon_threadsafe(waiter.settle)

    def lead(self, ready):
        """Whether this thread reads from now on, and if not, a lock to wait at before it looks again, or None."""
        thread = threading.get_ident()
        with self.lock:
            if ready():  # since it looked: somebody else has read it
                return False, None
            if self.leader in (None, thread):
                self.leader = thread
                return True, None
            gate = self.sleepers[thread] = threading.Lock()
            gate.acquire()
            return False, gate

    def leave(self):
        """This thread waits no more: another one may lead."""
        thread = threading.get_ident()
        with self.lock:
            self.sleepers.pop(thread, None)
            if self.leader == thread:
                self.leader = None
            if self.leader is None and self.sleepers:
                self.wake(next(iter(self.sleepers)))

    def wake(self, thread):
        gate = self.sleepers.pop(thread, None)
        if gate is not None:
            gate.release()

    guarded = frozenset(function.__code__ for function in (send, ask, take, lead, leave))

    # -- waiting

    def interrupts(self, frame):
        """Whether a KeyboardInterrupt may be raised at this frame; if not, `calm` raises it later."""
        while frame is not None:
            if frame.f_code in self.guarded:
                self.interrupted = True
                return False
            frame = frame.f_back
        return True

    def calm(self):
        if self.interrupted and threading.get_ident() == self.main:
            self.interrupted = False
            raise KeyboardInterrupt

    def wait(self, ready):
        """Read, or sleep, until `ready()`."""
        try:
            while not ready():
                self.calm()
                leads, gate = self.lead(ready)
                if leads:
                    select.select([self.socket], [], [])
                    self.take()
                elif gate is not None:
                    gate.acquire()
        finally:
            self.leave()

    def order(self):
        """The next thing that the supervisor wants of the main thread."""
        self.wait(lambda: self.orders)
        return self.orders.popleft()

    def call(self, name, arguments):
        """Call a function of the host, and wait for its value."""
        body, waiter = self.pack(arguments), Waiter()
        number = None
        try:
            number = self.ask(waiter, name, body)
            self.wait(lambda: waiter.answer)
            self.calm()
        finally:
            self.waiters.pop(number, None)
        return unpack(name, *waiter.answer)

    async def call_async(self, name, arguments):
        """The same in a task."""
        import asyncio

        loop = asyncio.get_running_loop()
        body, waiter = self.pack(arguments), Waiter(loop)
        if self.loops.get(id(loop)) is not loop:
            self.loops = {key: known for key, known in self.loops.items() if not known.is_closed()}
            self.loops[id(loop)] = loop
            loop.add_reader(self.socket, self.look)
        number = None
        try:
            number = self.ask(waiter, name, body)
            self.calm()
            await waiter.future
        finally:
            self.waiters.pop(number, None)
        return unpack(name, *waiter.answer)

    def look(self):
        if self.leader is None:  # else the one that leads has been told, too
            self.take()

    def pack(self, arguments):
        if os.getpid() != self.pid:
            raise RuntimeError(
                "tools cannot be called in a child process such as one of multiprocessing; call them in the main "
                "process and pass the results on"
            )
        body = json.dumps(arguments, default=plain).encode()
        if len(body) > CHUNK:
            raise ValueError(f"the arguments of a call are {CHUNK >> 20} MiB of JSON at most, got {len(body)} bytes")
        return body


def plain(value):
    """What JSON can hold for numpy's numbers and arrays, which are what models pass by accident."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"arguments of tools are values that JSON can hold, got {type(value).__name__}: {value!r:.100}")


def unpack(name, ok, body):
    value = json.loads(body)
    if not ok:
        raise ToolError(value if isinstance(value, str) else f"{name} failed: {value}")
    return value


def call(name, arguments):
    return control.call(name, arguments)


def call_async(name, arguments):
    return control.call_async(name, arguments)
