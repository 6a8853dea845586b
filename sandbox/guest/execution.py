"""One run of code, or one shell command: its clock, what it says on its way, its calls, its outcome."""

import itertools
import signal
import time

from frames import CHUNK, fit
from streams import PIPE

HOLD = 0.001  # seconds that a little output may wait for more, or for the end of the run
CRUMBS = 8  # reads of one output within that time
DISPLAYS = 1000  # of one execution, however small


class Execution:
    """Made when it starts; `late()` is called when its time is up. The clock stands still while a call is answered.

    begun: the tick before anything of it could run.
    stopped: "timeout" or "interrupt" once it was told to end. reply: what the interpreter said at the end.
    """

    numbers = itertools.count(1)  # of calls, unique in the container

    def __init__(self, host, loop, config, session, child, header, begun, late):
        self.host, self.loop, self.config = host, loop, config
        self.session, self.child, self.request = session, child, header["id"]
        self.begun = begun
        self.seconds = self.left = header["seconds"]
        self.late = late
        self.stopped = self.reply = None
        self.calls = {}  # number on the wire -> the interpreter's own
        self.called = self.displayed = self.display_bytes = 0
        session.execution = child.execution = self
        child.session = session
        for stream in child.streams:
            stream.start()
        self.resume()

    # -- the clock

    def resume(self):
        self.since = time.monotonic()
        if not self.stopped:
            self.loop.at(self, self.left, self.late)

    def pause(self):
        self.left -= time.monotonic() - self.since
        self.loop.cancel(self)

    def used(self):
        running = 0 if self.calls else time.monotonic() - self.since
        return max(0.0, self.seconds - self.left + running)

    # -- what it says

    def take(self, stream, data):
        """Output: sent on when it is much, or in a moment. Until then one that comes in crumbs is left to gather."""
        if stream.take(data) >= PIPE:
            self.send_output(stream)
        if ("output", self) not in self.loop.timers:
            self.loop.at(("output", self), HOLD, self.send_outputs)
        stream.reads += 1
        if stream.reads == CRUMBS and stream.open:
            self.loop.unwatch(stream.fd)
            stream.widen()

    def send_outputs(self):
        for stream in self.child.streams:
            self.send_output(stream)
            if stream.reads >= CRUMBS and stream.open:
                self.loop.watch(stream.fd, stream.action)
            stream.reads = 0

    def send_output(self, stream):
        if stream.waiting:
            header = {"kind": "output", "id": self.request, "stream": stream.name}
            self.host.send(header, b"".join(stream.waiting))
            stream.waiting.clear()
            stream.waits = 0

    def display(self, header, body):
        """Passed on as far as the limits go; one that is not in order is dropped."""
        self.displayed += 1
        self.display_bytes += len(body)
        fits = self.display_bytes <= self.config["displays"] and self.displayed <= DISPLAYS
        if fits and displayable(header.get("mime"), len(body)):
            self.host.send({"kind": "display", "id": self.request, "mime": header["mime"]}, body)

    def call(self, header, body):
        """A host function is called: None, or why it cannot be."""
        if self.stopped:
            return "the execution was stopped"
        if self.called >= self.config["calls"]:
            return f"more than {self.config['calls']} calls of host functions in one execution"
        if len(body) > CHUNK:
            return f"arguments of {len(body):,} bytes, and at most {CHUNK:,} are passed on"
        if not self.calls:
            self.pause()
        self.called += 1
        number = next(self.numbers)
        self.calls[number] = header["call"]
        self.host.send({"kind": "call", "id": self.request, "call": number, "name": header["name"][:200]}, body)
        return None

    def returned(self, number):
        """The interpreter's own number of a call that was answered."""
        own = self.calls.pop(number)
        if not self.calls:
            self.resume()
        return own

    # -- the end

    def end(self, oom):
        """Its last output is sent; all of the outcome but the state. oom: something was killed for want of memory."""
        used = self.used()
        self.loop.cancel(self)
        self.loop.cancel(("output", self))
        self.send_outputs()
        for stream in self.child.streams:
            tail = stream.tail()
            for start in range(0, len(tail), CHUNK):
                header = {"kind": "tail", "id": self.request, "stream": stream.name}
                self.host.send(header, tail[start : start + CHUNK])
        stdout, stderr = (stream.summary() for stream in self.child.streams)
        self.session.execution = self.child.execution = None
        return {"seconds": used, "stdout": stdout, "stderr": stderr, **self.judge(oom)}

    def judge(self, oom):
        """Status, value, error and exit code."""
        child, reply = self.child, self.reply
        if self.stopped == "timeout":
            error = f"Stopped at the limit of {self.seconds:g} seconds."
            if reply is not None and reply["error"]:
                error += "\n" + fit(reply["error"], self.config["output"])
            return outcome("timeout", error=error, exit_code=124)
        if reply is not None:
            value = None if reply["value"] is None else fit(reply["value"], self.config["output"])
            return outcome(reply["status"], value, fit(reply["error"], self.config["output"]), reply["exit_code"])
        error, status = "", child.status
        if oom and status in (None, -signal.SIGKILL):
            limit = self.config["memory"] >> 20
            error = f"Killed: out of memory, the limit is {limit} MiB (files in /work count)."
        elif self.stopped:
            error = "Interrupted; it did not stop by itself and was killed."
        elif status is None:
            error = "The interpreter ended."
        elif status < 0:
            error = f"Killed by signal {-status} ({signal.strsignal(-status)})."
        elif child.control is not None:
            error = f"The code ended the interpreter with exit status {status}."
        if status is None:
            status = -signal.SIGKILL
        code = 128 - status if status < 0 else status
        if child.control is not None:
            return outcome("died", error=error, exit_code=code)
        return outcome("error" if code or self.stopped else "ok", error=error, exit_code=code)


def outcome(status, value=None, error="", exit_code=0):
    return {"status": status, "value": value, "error": error, "exit_code": exit_code}


def sound(reply):
    """Whether it is an outcome as an interpreter makes them. Code can forge one: it fools itself only."""
    return (
        reply.get("status") in ("ok", "error")
        and isinstance(reply.get("value"), str | None)
        and isinstance(reply.get("error"), str)
        and type(reply.get("exit_code")) is int
        and 0 <= reply["exit_code"] <= 255
        and type(reply.get("threads")) is int
    )


def displayable(mime, total):
    """Whether a display's types and sizes fit its data."""
    if not isinstance(mime, list) or not 1 <= len(mime) <= 20:
        return False
    rows = [row for row in mime if isinstance(row, list) and len(row) == 2]
    sizes = [size for kind, size in rows if isinstance(kind, str) and type(size) is int and size >= 0]
    return len(sizes) == len(mime) and sum(sizes) == total
