"""The guest's end of the channel to the host."""

import contextlib
import os
import signal

from files import Refused
from frames import Frames, encode

BATCH = 1 << 18  # bytes that are held back for one write at most


class Host:
    """Frames from and to the host. What is sent goes out with `flush`, in one write."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.frames = Frames()
        self.outgoing, self.size = [], 0

    def receive(self):
        try:
            data = os.read(self.reader, 1 << 20)
        except ConnectionError:  # it closed with something of ours unread
            data = b""
        if not data:
            self.leave()
        return self.frames.feed(data)

    def send(self, header, body=b""):
        data = encode(header, body)
        self.outgoing.append(data)
        self.size += len(data)
        if self.size > BATCH:
            self.flush()

    def flush(self):
        if not self.outgoing:
            return
        view = memoryview(b"".join(self.outgoing))
        self.outgoing, self.size = [], 0
        try:
            while view:
                view = view[os.write(self.writer, view) :]
        except OSError:
            self.leave()

    def done(self, request, body=b"", **fields):
        self.send({"kind": "done", "id": request, **fields}, body)

    def refuse(self, request, text, reason="invalid"):
        self.send({"kind": "refused", "id": request, "reason": reason, "text": text})

    @contextlib.contextmanager
    def refusing(self, header):
        """What goes wrong with a file becomes the answer to the request."""
        try:
            yield
        except Refused as error:
            self.refuse(header["id"], str(error), error.kind)
        except FileNotFoundError:
            self.refuse(header["id"], f"no file {header.get('path')!r} in the workspace", "missing")
        except OSError as error:
            self.refuse(header["id"], f"{header.get('path', '/work')!r}: {os.strerror(error.errno)}")

    def leave(self):
        """Nobody is there any more: everything ends."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
