"""Plays the supervisor to a real interpreter in a process of its own, without a container."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
CONFIG = {"output": 10_000, "displays": 100_000, "memory": 1 << 28, "upload": 1 << 20, "disk": 1 << 26, "calls": 100}
START = """
import json, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
guest, work, config = sys.argv[1:]
sys.path.insert(0, guest)
import calls, displays, interpreter, notebook, processes
for module in (displays, interpreter, notebook):
    module.WORK = work
notebook.PACKAGES = work + "/.packages"
notebook.let_pip_install()
import os
os.chdir(work)
os.dup2(int(os.environ.pop("CONTROL")), processes.CONTROL, inheritable=False)
interpreter.Interpreter(socket.socket(fileno=processes.CONTROL), json.loads(config)).serve()
"""

sys.path.insert(0, str(GUEST))
from frames import Frames, encode  # noqa: E402

Frame = tuple[dict[str, Any], bytes]


class Interpreter:
    """One interpreter: send it frames, and read what it says. calls: answered by `answer` while a cell runs."""

    def __init__(
        self, control: socket.socket, stdout: int, stderr: int, process: subprocess.Popen[bytes] | None
    ) -> None:
        self.control, self.stdout, self.stderr, self.process = control, stdout, stderr, process
        self.frames = Frames()
        self.heard: list[Frame] = []
        control.settimeout(10)

    @classmethod
    def start(cls, work: Path) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, str(GUEST), str(work), json.dumps(CONFIG)],
                env={"PATH": os.environ["PATH"], "CONTROL": str(theirs.fileno()), "MPLBACKEND": "Agg"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert process.stdout is not None
        assert process.stderr is not None
        return cls(ours, process.stdout.fileno(), process.stderr.fileno(), process)

    def close(self) -> None:
        """It ends once its control socket is closed."""
        self.control.close()
        if self.process is not None:
            with self.process:
                assert self.process.wait(5) == 0
        else:
            os.close(self.stdout)
            os.close(self.stderr)

    def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.control.sendall(encode(header, body))

    def hear(self) -> Frame:
        while not self.heard:
            data = self.control.recv(1 << 20)
            assert data, "the interpreter ended"
            self.heard += self.frames.feed(data)
        return self.heard.pop(0)

    def run(self, code: str, interrupt: int = 0) -> dict[str, Any]:
        """The outcome of a cell; its displays under "displays", its output under "stdout" and "stderr".

        Calls are answered with their own name and arguments; those of `bad` fail, those of `late` are held back
        until the next one comes. interrupt: send SIGINT after so many calls.
        """
        self.say({"op": "run"}, code.encode())
        displays, held = [], []
        while True:
            header, body = self.hear()
            if header["kind"] == "done":
                break
            if header["kind"] == "display":
                displays.append(unpacked(header["mime"], body))
            elif header["kind"] == "call" and header["name"] != "late":
                self.answer(header, body)
                interrupt -= 1
                if interrupt == 0:
                    self.interrupt()
                for call in held:
                    self.answer(*call)
                held = []
            else:
                held.append((header, body))
        return {**header, "displays": displays, "stdout": read(self.stdout), "stderr": read(self.stderr)}

    def answer(self, header: dict[str, Any], body: bytes) -> None:
        ok = header["name"] != "bad"
        said = [header["name"], json.loads(body)] if ok else "it went wrong"
        self.say({"op": "returned", "call": header["call"], "ok": ok}, json.dumps(said).encode())

    def offer(self, source: str) -> None:
        self.say({"op": "offer"}, source.encode())

    def interrupt(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGINT)

    def fork(self) -> Self:
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        with theirs:
            socket.send_fds(self.control, [encode({"op": "fork"})], [theirs.fileno(), out[1], err[1]])
        os.close(out[1])
        os.close(err[1])
        copy = type(self)(ours, out[0], err[0], None)
        said, _ = copy.hear()
        assert said["kind"] == "forked"
        return copy


def read(fd: int) -> str:
    """What is there to read."""
    data = b""
    while select.select([fd], [], [], 0)[0] and (more := os.read(fd, 1 << 16)):
        data += more
    return data.decode()


def unpacked(mime: list[list[Any]], body: bytes) -> dict[str, bytes]:
    found, start = {}, 0
    for kind, size in mime:
        found[kind] = body[start : start + size]
        start += size
    assert start == len(body)
    return found


def after(seconds: float, action: Any) -> None:
    """Sleep, then act."""
    time.sleep(seconds)
    action()
