"""How interpreters come to be: forked from the supervisor, or copied from one that lives."""

import gc
import os
import socket

import processes
from frames import Frames, encode
from interpreter import Interpreter
from processes import CONTROL, Child, become_child

FORK_SECONDS = 10.0  # it takes 0.03 for a gigabyte, and seconds on a machine that is overloaded
BATCH = 1 << 16


def fresh_interpreter(config):
    """A fork of this very process, data stack and all. BlockingIOError when there are too many processes."""
    gc.freeze()  # the collector would touch, and so copy, every shared page
    control, theirs, outputs, writers = channels()
    base = processes.resident()
    try:
        pid = os.fork()
    except OSError:
        close_all(control, theirs, *outputs, *writers)
        raise
    if pid == 0:
        try:
            become_child(theirs.detach(), *writers)
            os.closerange(CONTROL + 1, 1024)
            Interpreter(socket.socket(fileno=CONTROL), config).serve()
        finally:
            os._exit(1)
    close_all(theirs, *writers)
    child = Child(pid, outputs, config, control)
    child.base = base
    return child


class Fork:
    """A copy of an interpreter on its way: `then(copy, "")` when it is there, else `then(None, why)`.

    It reports on a control socket of its own. children: by pid, those that live.
    """

    def __init__(self, loop, config, children, parent, then):
        self.loop, self.config, self.children = loop, config, children
        self.parent, self.then = parent, then
        self.frames = Frames()
        self.control, theirs, self.outputs, writers = channels()
        parent.forks.append(self)
        loop.watch(self.control, self.listen)
        loop.at(self, FORK_SECONDS, lambda: self.fail("the interpreter did not answer"))
        try:
            if parent.outbox:
                raise BlockingIOError("it is not listening")
            socket.send_fds(parent.control, [encode({"op": "fork"})], [theirs.fileno(), *writers])
        except OSError as error:
            self.fail(f"the interpreter could not be copied: {error}")
        finally:
            close_all(theirs, *writers)

    def listen(self, _mask):
        try:
            data = self.control.recv(BATCH)
            said = self.frames.feed(data)
            if not data or len(said) > 1 or (said and said[0][0].get("kind") != "forked"):
                raise ValueError("not a copy that has just been made")
            if not said:
                return
            pid = said[0][0].get("pid")
            if type(pid) is not int or pid < 2 or pid == os.getpid() or pid in self.children:
                raise ValueError("not the pid of a copy")
            child = Child(pid, self.outputs, self.config, self.control, self.frames)
        except (OSError, ValueError, RecursionError):
            self.fail("the interpreter's copy did not come up")
            return
        self.leave()
        child.base = self.parent.base
        self.then(child, "")

    def leave(self):
        self.parent.forks.remove(self)
        self.loop.cancel(self)
        self.loop.unwatch(self.control)

    def fail(self, why):
        self.leave()
        close_all(self.control, *self.outputs)
        self.then(None, why)


def channels():
    """For an interpreter: our control socket and its own, our ends of its outputs and its own."""
    control, theirs = socket.socketpair()
    control.setblocking(False)
    stdout, stderr = os.pipe(), os.pipe()
    return control, theirs, [stdout[0], stderr[0]], [stdout[1], stderr[1]]


def close_all(*ends):
    for end in ends:
        if isinstance(end, int):
            os.close(end)
        else:
            end.close()
