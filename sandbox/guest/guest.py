"""What runs inside the container: a supervisor, and the interpreter that it forks. Standard library only.

    host <-- unix socket: frames --> supervisor <-- socket pair: frames --> interpreter --> its children
                                         ^---------------- pipes: stdout, stderr --------------'

The supervisor has the data stack imported before it forks, so an interpreter that had to be killed is
replaced in milliseconds. It is single-threaded and trusts the interpreter with nothing; but both are one
user, so code that is bent on it can kill the supervisor. Then the host sees the socket close, and the
session is over. The reverse holds too: when the host goes, everything here goes.
"""

import base64
import codecs
import collections
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # isolated mode leaves the script's own folder out

from files import Files, Refused
from frames import Frames, cut, encode
from interpreter import Interpreter

WORK = "/work"
SOCKET = "/run/fastslow/socket"
PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")
GRACE = 0.7  # seconds between the interrupt and the kill
PIPE = 1 << 16
FILES_PER_FRAME = 1000
SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Stream:
    """One output pipe: what comes is sent on up to the limit, and the tail of the rest is kept."""

    def __init__(self, name, fd, limit):
        self.name, self.fd, self.limit = name, fd, limit
        self.open = True
        os.set_blocking(fd, False)
        self.start()

    def start(self):
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.total = self.sent = self.kept = 0
        self.tail = collections.deque()

    def read(self):
        """The text to send on, perhaps empty; None when nothing was there to read."""
        try:
            data = os.read(self.fd, PIPE)
        except BlockingIOError:
            return None
        self.open = bool(data)
        text = self.decoder.decode(data, final=not data)
        self.total += len(text)
        self.kept += len(text)
        self.tail.append(text)
        while self.kept - len(self.tail[0]) >= self.limit:
            self.kept -= len(self.tail.popleft())
        fresh = text[: self.limit - self.sent]
        self.sent += len(fresh)
        return fresh

    def summary(self):
        cut = self.total > self.limit
        return {"total": self.total, "tail": "".join(self.tail)[-(self.limit // 2) :] if cut else ""}


class Child:
    """A process whose output is read: the interpreter, with its control socket, or a shell command."""

    def __init__(self, pid, stdout, stderr, limit, control=None):
        self.pid = pid
        self.control = control
        self.streams = [Stream("stdout", stdout, limit), Stream("stderr", stderr, limit)]
        self.frames = Frames()
        self.reply = None
        self.status = None  # exit code, negative for a signal, once it ended

    def ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def finished(self):
        return self.reply is not None or self.ended()

    def close(self):
        for stream in self.streams:
            os.close(stream.fd)
        if self.control is not None:
            self.control.close()


def humble():
    """Make this process give way: the supervisor gets the processor first, and lack of memory kills this
    one."""
    os.nice(5)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def alive(pid):
    """False for a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sound(reply):
    """Whether it is an outcome as `Interpreter.cell` makes them. Code can forge one: it fools itself only."""
    return (
        reply.get("status") in ("ok", "error")
        and isinstance(reply.get("value"), str | None)
        and isinstance(reply.get("error"), str)
        and type(reply.get("exit_code")) is int
        and 0 <= reply["exit_code"] <= 255
    )


def set_dumpable(value):
    """0: no process of our user may trace us, or read our memory and descriptors (prctl(2),
    PR_SET_DUMPABLE)."""
    ctypes.CDLL(None).prctl(4, value, 0, 0, 0)


def oom_kills():
    """How often the kernel killed something here for want of memory (cgroup v2, v1)."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError), open(path) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return 0


class Supervisor:
    """Serves the host: one request at a time, except that an interrupt may come while one runs."""

    def __init__(self, host, limits):
        self.host = host
        self.output = limits["output"]
        self.memory = limits["memory"]
        self.files = Files(limits["upload"])
        self.frames = Frames()
        self.interpreter = None
        self.lost = False  # an interpreter with state went away, and no result has said so yet
        self.selector = selectors.DefaultSelector()
        self.selector.register(host, selectors.EVENT_READ, "host")
        self.wake, write = os.pipe()
        for fd in (self.wake, write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.selector.register(self.wake, selectors.EVENT_READ, "wake")
        # A handler, not SIG_IGN: that would be inherited by every program the code starts.
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def serve(self):
        preload = list(PRELOAD)
        while True:
            messages = self.receive(0 if preload else None)
            if preload and not messages:
                with contextlib.suppress(ImportError):
                    importlib.import_module(preload.pop(0))
            for message in messages:
                self.answer(message)
                if message["op"] == "run":
                    preload = []  # it has its interpreter: what is not loaded by now, the code imports itself

    # -- the wire

    def receive(self, timeout):
        """Wait for whatever comes first, see to it, and return the host's messages."""
        messages = []
        for key, _ in self.selector.select(timeout):
            if key.data == "host":
                data = self.host.recv(1 << 20)
                if not data:
                    self.leave()
                messages += self.frames.feed(data)
            elif key.data == "wake":
                os.read(self.wake, 4096)
            elif isinstance(key.data, Stream):
                self.forward(key.data)
            else:
                self.listen(key.data)
        return messages

    def listen(self, child):
        """Read what the interpreter says; one that speaks nonsense or out of turn is killed."""
        try:
            data = child.control.recv(PIPE)
            messages = child.frames.feed(data)
            if not data or len(messages) > 1 or (messages and self.running is not child):
                raise ValueError("out of turn")
            if messages and not sound(messages[0]):
                raise ValueError("not an outcome")
        except (OSError, ValueError, RecursionError):
            self.selector.unregister(child.control)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            return
        if messages:
            child.reply = messages[0]

    def forward(self, stream):
        """Pass output on; outside of a run it is dropped, for nobody asked. False when there was none."""
        text = stream.read()
        if text and self.running is not None and stream in self.running.streams:
            self.send(kind="output", stream=stream.name, text=text)
        if not stream.open:
            self.selector.unregister(stream.fd)
        return bool(text) or (text is not None and stream.open)

    def drain(self, stream):
        """Read what the pipe holds; not for ever, since somebody may still be writing to it."""
        for _ in range(64):
            if not stream.open or not self.forward(stream):
                break

    def send(self, **message):
        try:
            self.host.sendall(encode({"id": self.request, **message}))
        except OSError:
            self.leave()

    def leave(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)

    def answer(self, message):
        op, self.request = message["op"], message["id"]
        if op == "run":
            self.run_cell(message["code"], message["seconds"])
        elif op == "shell":
            self.run_shell(message["code"], message["seconds"])
        elif op in ("put", "get", "files"):
            self.serve_file(op, message)

    def serve_file(self, op, message):
        try:
            if op == "put":
                data = base64.b64decode(message["data"])
                done = self.files.put(message["path"], message["offset"], data, message["final"])
            elif op == "get":
                done = self.files.get(message["path"], message["offset"], message["length"])
            else:
                done, found = {}, self.files.list()
                for start in range(0, len(found), FILES_PER_FRAME):
                    self.send(kind="files", files=found[start : start + FILES_PER_FRAME])
            self.send(kind="done", **done)
        except Refused as error:
            self.send(kind="refused", reason=error.kind, text=str(error))
        except FileNotFoundError:
            self.send(kind="refused", reason="missing", text=f"no file {message['path']!r} in the workspace")
        except OSError as error:
            text = f"{message.get('path', WORK)!r}: {os.strerror(error.errno)}"
            self.send(kind="refused", reason="invalid", text=text)

    # -- running

    def run_cell(self, code, seconds):
        if self.interpreter is not None and self.interpreter.ended():
            self.bury()
        if self.interpreter is None:
            self.interpreter = self.spawn(self.fork)
        lost, self.lost = self.lost, False
        child = self.interpreter
        child.reply = None
        for stream in child.streams:
            self.drain(stream)  # what was left running by an earlier cell has said since: nobody asked
        try:
            child.control.settimeout(GRACE)
            child.control.sendall(encode({"code": code}))
        except OSError:  # it died just now, or left threads that never let it listen again
            self.sweep(spare=False)
            self.see_dead(child)
        child.control.setblocking(False)
        outcome = self.watch(child, seconds)
        if child.ended():
            self.bury()
            lost, self.lost = True, False
        self.send(kind="done", state_lost=lost, **outcome)

    def run_shell(self, code, seconds):
        try:
            child = self.spawn(lambda: self.start_shell(code))
        except OSError as error:  # the code took the workspace's permissions away
            error = f"bash did not start: {error}"
            said = {"status": "error", "value": None, "error": error, "exit_code": 126}
            nothing = {"total": 0, "tail": ""}
            self.send(kind="done", state_lost=False, seconds=0, stdout=nothing, stderr=nothing, **said)
            return
        outcome = self.watch(child, seconds)
        self.forget(child)
        self.send(kind="done", state_lost=False, **outcome)

    def watch(self, child, seconds):
        """Let it run to its end or its limit; the outcome, its output passed on."""
        started, kills = time.monotonic(), oom_kills()
        for stream in child.streams:
            stream.start()
        self.running, stopped, limit = child, None, started + seconds
        while not child.finished():
            wait = limit - time.monotonic()
            if wait > 0:
                messages = self.receive(wait)
                orders = [(message["op"], message["id"]) for message in messages]
                wanted = ("interrupt", self.request) in orders
            if wait <= 0 and stopped:
                break
            if not stopped and (wait <= 0 or wanted):
                stopped = "timeout" if wait <= 0 else "interrupt"
                limit = time.monotonic() + GRACE
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGINT)
        if stopped:
            self.sweep(spare=child is not self.interpreter or child.reply is not None)
            self.see_dead(child)
        for stream in child.streams:
            self.drain(stream)
        self.running = None
        return {
            "seconds": time.monotonic() - started,
            "stdout": child.streams[0].summary(),
            "stderr": child.streams[1].summary(),
            **self.judge(child, stopped, seconds, oom_kills() > kills),
        }

    def judge(self, child, stopped, seconds, oom):
        """Status, value, error and exit code of what ran."""
        reply = child.reply
        if stopped == "timeout":
            error = f"Stopped at the limit of {seconds:g} seconds."
            if reply is not None and reply["error"]:
                error += "\n" + cut(reply["error"], self.output)
            return {"status": "timeout", "value": None, "error": error, "exit_code": 124}
        if reply is not None:
            value = None if reply["value"] is None else cut(reply["value"], self.output)
            error = cut(reply["error"], self.output)
            return {
                "status": reply["status"],
                "value": value,
                "error": error,
                "exit_code": reply["exit_code"],
            }
        error = ""
        status = child.status
        if oom:
            error = f"Killed: out of memory, the limit is {self.memory >> 20} MiB (files in /work count)."
        elif stopped:
            error = "Interrupted; it did not stop by itself and was killed."
        elif status < 0:
            error = f"Killed by signal {-status} ({signal.strsignal(-status)})."
        elif child.control is not None:
            error = f"The code ended the interpreter with exit status {status}."
        code = 128 - status if status < 0 else status
        if child.control is not None:
            return {"status": "died", "value": None, "error": error, "exit_code": 137}
        return {
            "status": "error" if code or stopped else "ok",
            "value": None,
            "error": error,
            "exit_code": code,
        }

    # -- processes

    def spawn(self, start):
        """Start a child, killing stray processes where they leave no room for it."""
        for _ in range(20):
            try:
                child = start()
                break
            except BlockingIOError:
                self.sweep(spare=True)
                time.sleep(0.05)
        else:
            self.leave()
        for stream in child.streams:
            self.selector.register(stream.fd, selectors.EVENT_READ, stream)
        if child.control is not None:
            self.selector.register(child.control, selectors.EVENT_READ, child)
        return child

    def start_shell(self, code):
        process = subprocess.Popen(
            ["bash", "-c", code],
            cwd=WORK,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=humble,
        )
        process.returncode = 0  # we wait for it ourselves
        with process.stdout, process.stderr:
            return Child(process.pid, os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno()), self.output)

    def fork(self):
        gc.freeze()  # the collector would touch, and so copy, every shared page
        mine, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe()]
        try:
            pid = os.fork()
        except OSError:
            for fd in sum(pipes, ()):
                os.close(fd)
            raise
        if pid == 0:
            try:
                self.become_interpreter(theirs, [write for _, write in pipes])
            finally:
                os._exit(1)
        theirs.close()
        for _, write in pipes:
            os.close(write)
        return Child(pid, pipes[0][0], pipes[1][0], self.output, mine)

    def become_interpreter(self, control, outputs):
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        for fd, output in enumerate(outputs, start=1):
            os.dup2(output, fd)
        control_fd = os.dup(control.fileno())
        os.set_inheritable(control_fd, False)
        os.dup2(control_fd, 3, inheritable=False)
        os.closerange(4, 1024)
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        humble()
        set_dumpable(1)
        Interpreter(socket.socket(fileno=3), self.output).serve()

    def sweep(self, spare):
        """Kill everything but us and, spared, the interpreter. All are stopped first: none can fork away."""
        spared = {os.getpid(), 1}
        if spare and self.interpreter is not None and not self.interpreter.ended():
            spared.add(self.interpreter.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)
        doomed = {int(name) for name in os.listdir("/proc") if name.isdigit()} - spared
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        limit = time.monotonic() + 2
        while any(map(alive, doomed)) and time.monotonic() < limit:
            time.sleep(0.002)
        for pid in spared:
            os.kill(pid, signal.SIGCONT)

    def see_dead(self, child):
        limit = time.monotonic() + 2
        while not child.finished():
            if time.monotonic() > limit:
                self.leave()
            time.sleep(0.002)

    def forget(self, child):
        for key in list(self.selector.get_map().values()):
            if key.data is child or key.data in child.streams:
                self.selector.unregister(key.fileobj)
        child.close()

    def bury(self):
        """The interpreter ended: the next cell starts a fresh one."""
        self.forget(self.interpreter)
        self.interpreter = None
        self.lost = True


def main():
    set_dumpable(0)
    sys.dont_write_bytecode = True
    host = socket.socket(socket.AF_UNIX)
    host.connect(SOCKET)
    fonts = "/opt/matplotlib"  # made with the image; matplotlib wants a folder that it can write
    if os.path.isdir(fonts):
        shutil.copytree(fonts, os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    Supervisor(host, json.loads(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
