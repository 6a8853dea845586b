"""Output on its way to the host: at once up to a limit; of more, the tail is kept and all of it goes to a file."""

import collections
import contextlib
import fcntl
import itertools
import os

WORK = "/work"
PIPE = 1 << 16  # bytes that a pipe holds
FLOOD = 1 << 20  # the most that one can be made to hold without a privilege (pipe(7))


class Spill:
    """A file of the workspace that takes the whole output, as far as there is room. `saved` bytes are in it."""

    numbers = itertools.count(1)

    def __init__(self, name, room):
        self.room = room
        self.saved = 0
        self.fd = None
        with contextlib.suppress(OSError):
            os.makedirs(f"{WORK}/output", exist_ok=True)
        for number in itertools.islice(self.numbers, 100):
            self.path = f"output/{name}-{number}.txt"
            try:
                self.fd = os.open(f"{WORK}/{self.path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                continue  # the code's own, never overwritten
            except OSError:
                pass
            break

    def write(self, data):
        """As much as fits: a full disk ends the file, never the output."""
        data = data[: self.room - self.saved]
        if self.fd is not None and data:
            written = 0
            with contextlib.suppress(OSError):
                written = os.write(self.fd, data)
            self.saved += written
            if written < len(data):
                self.close()

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Stream:
    """One output pipe of a child. limit: bytes that are sent on. room: bytes of the file that takes more."""

    def __init__(self, name, fd, limit, room):
        self.name, self.fd, self.limit, self.room = name, fd, limit, room
        self.half = max(1, limit // 2)
        self.open, self.wide = True, False
        self.reads = 0  # lately
        self.action = None  # what the loop calls when there is something to read
        os.set_blocking(fd, False)
        self.start()

    def start(self):
        self.widen(PIPE)
        self.total = self.kept = 0
        self.chunks = collections.deque()  # all while it fits, then the tail
        self.waiting, self.waits = [], 0  # to be sent on, and its bytes
        self.spill = None

    def pull(self):
        """What the pipe holds, None for nothing; `open` turns false at its end."""
        try:
            data = os.read(self.fd, FLOOD)
        except BlockingIOError:
            return None
        self.open = bool(data)
        if len(data) == PIPE:
            self.widen()
        return data

    def widen(self, size=FLOOD):
        """A larger pipe takes a flood with fewer turns; all containers share what a user may have of it."""
        if self.wide != (size > PIPE):
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, size)
                self.wide = size > PIPE

    def take(self, data):
        """Count it and keep what is to be kept; how many bytes wait to be sent on now."""
        fresh = data[: max(0, self.limit - self.total)]
        if fresh:
            self.waiting.append(fresh)
            self.waits += len(fresh)
        self.total += len(data)
        self.kept += len(data)
        self.chunks.append(data)
        if self.total > self.limit:
            if self.spill is None:
                self.spill = Spill(self.name, self.room)
                for chunk in self.chunks:
                    self.spill.write(chunk)
            else:
                self.spill.write(data)
            while self.kept - len(self.chunks[0]) >= self.half:
                self.kept -= len(self.chunks.popleft())
        return self.waits

    def ends_line(self):
        """Whether what it said so far, if anything, ends with a whole line."""
        return not self.chunks or self.chunks[-1].endswith(b"\n")

    def tail(self):
        """The last `limit / 2` bytes of an output that went past its limit, else nothing."""
        if self.spill is None:
            return b""
        return b"".join(self.chunks)[-self.half :]

    def summary(self):
        if self.spill is None:
            return {"total": self.total, "file": None, "saved": 0}
        self.spill.close()
        return {"total": self.total, "file": self.spill.path if self.spill.saved else None, "saved": self.spill.saved}

    def close(self):
        if self.spill is not None:
            self.spill.close()
        os.close(self.fd)
