"""The interpreter: runs cells as a notebook would. Lives in a child of the supervisor, or in a copy of such a child."""

import ast
import contextlib
import inspect
import linecache
import os
import select
import selectors
import signal
import socket
import sys
import textwrap
import threading
import traceback
import types

import calls
import notebook
import processes
from displays import Displays
from frames import fit

WORK = "/work"
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Selector(selectors.EpollSelector):
    """The event loop's. After a fork, the kernel's set of watched files is shared with the parent."""

    def abandon(self):
        self._selector.close()
        self._selector = select.epoll()


class Interpreter:
    """Runs cells in one namespace; `serve` never returns. config: limits, see `sandbox.Limits`."""

    def __init__(self, control, config):
        calls.control = self.control = calls.Control(control)
        self.output = config["output"]  # characters of a value or a traceback
        self.pid = os.getpid()
        self.spare = [os.dup(fd) for fd in (0, 1, 2)]  # code may close or replace its own
        self.streams = {}
        self.module = types.ModuleType("__main__")
        self.notebook = notebook.Notebook(self.module)
        self.displays = self.notebook.displays = Displays(config["displays"], self.notebook, self.send)
        self.module.display = self.displays.display
        self.module.get_ipython = self.notebook.shell
        self.loop = self.task = None  # of cells with `await`; the loop lives on between them
        self.interrupted = False
        self.relics = []  # loops and tasks from before a fork: to drop them would run their clean-up
        self.copies = []  # pids
        self.cells = 0

    # -- orders

    def serve(self):
        sys.modules["__main__"] = self.module
        sys.path.insert(0, WORK)
        sys.argv = [""]
        notebook.import_installed()
        hide_guest()
        reseed()
        self.cell("print(end='')")  # the first one pays for memory that the fork shared until now
        self.cells = 0
        while True:
            header, body, fds = self.control.order()
            if header["op"] == "run":
                self.run(body.decode())
            elif header["op"] == "offer":
                self.offer(body)
            elif header["op"] == "fork":
                self.fork(*fds)

    def send(self, header, body=b""):
        self.control.send(header, body)

    def run(self, code):
        try:
            outcome = self.cell(code)
        except KeyboardInterrupt:  # it came while the outcome was being put together
            outcome = {"status": "error", "value": None, "error": "KeyboardInterrupt", "exit_code": 1}
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self.pid:  # the code forked, and this is the child
            with contextlib.suppress(Exception):
                sys.stderr.write(outcome["error"] and outcome["error"] + "\n")
                sys.stderr.flush()
            os._exit(outcome["exit_code"])
        self.send({"kind": "done", **outcome, "threads": live_threads()})

    def offer(self, source):
        module = types.ModuleType("tools")
        module.ToolError, module._call, module._call_async = calls.ToolError, calls.call, calls.call_async
        exec(compile(source, "<tools>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the host's
        sys.modules["tools"] = self.module.tools = module

    def fork(self, control, stdout, stderr):
        """Make a copy, which serves whoever holds the other ends of these descriptors."""
        self.copies = [pid for pid in self.copies if os.waitpid(pid, os.WNOHANG)[0] == 0]
        try:
            pid = os.fork()
        except OSError as error:
            self.send({"kind": "refused", "text": f"the interpreter could not be copied: {error}"})
        else:
            if pid == 0:
                self.settle_in(control, stdout, stderr)
                return
            self.copies.append(pid)
        for fd in (control, stdout, stderr):
            os.close(fd)

    def settle_in(self, control, stdout, stderr):
        """In the copy: nothing of the parent's that is still in use may be touched."""
        for fd in self.spare:
            os.close(fd)
        self.control.socket.detach()  # its number is taken over
        processes.become_child(control, stdout, stderr)
        self.spare = [os.dup(fd) for fd in (0, 1, 2)]
        self.pid = self.displays.pid = os.getpid()
        calls.control = self.control = calls.Control(socket.socket(fileno=processes.CONTROL))
        self.copies = []
        self.drop_loop()
        reseed()
        self.send({"kind": "forked", "pid": self.pid})

    def drop_loop(self):
        loop, self.loop = self.loop, None
        if loop is None or loop.is_closed():
            return
        import asyncio

        self.relics.append((loop, asyncio.all_tasks(loop)))
        loop.selector.abandon()
        loop.close()
        asyncio.set_event_loop(None)

    # -- cells

    def cell(self, code):
        self.open_streams()
        self.cells += 1
        outcome = {"status": "ok", "value": None, "error": "", "exit_code": 0}
        figures = self.displays.figures
        try:
            signal.signal(signal.SIGINT, self.interrupt)
            self.notebook.watch(code)
            self.displays.start(code)
            value = self.evaluate(code, f"<cell {self.cells}>")
            figures.watch()
            figures.flush(value)
            if value is not None:
                self.module._ = value
                outcome["value"] = self.show(value)
        except SystemExit as ending:
            outcome["exit_code"] = exit_code(ending.code)
            outcome["status"] = "error" if outcome["exit_code"] else "ok"
            figures.flush()
        except BaseException as error:
            outcome.update(status="error", exit_code=1, error=fit(describe(error), self.output))
            figures.drop()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
        return outcome

    def open_streams(self):
        """Whatever the last cell did to its streams and folder, this one starts with sound ones."""
        for fd, spare in enumerate(self.spare):
            os.dup2(spare, fd)
        for name, fd in (("stdout", 1), ("stderr", 2)):
            stream = self.streams.get(name)
            if stream is None or stream.closed:
                stream = open(  # noqa: SIM115 - open as long as the interpreter
                    fd, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
                )
                self.streams[name] = stream
            setattr(sys, name, stream)
        try:
            os.getcwd()
        except FileNotFoundError:
            os.chdir(WORK)

    def evaluate(self, code, name):
        """Run the statements; the value of a last expression, unless a semicolon ends it."""
        if code[:1].isspace():
            code = textwrap.dedent(code)
        linecache.cache[name] = (len(code), None, [line + "\n" for line in code.split("\n")], name)
        code, tree = self.parse(code, name)
        parts = []
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not hidden(code, tree.body[-1]):
            last = ast.Expression(tree.body.pop().value)
            parts.append(compile(last, name, "eval", FLAGS, dont_inherit=True))
        if tree.body:
            parts.insert(0, compile(tree, name, "exec", FLAGS, dont_inherit=True))
        if any(part.co_flags & inspect.CO_COROUTINE for part in parts):
            return self.finish(self.steps(parts))
        value = None
        for part in parts:
            value = eval(part, self.module.__dict__)  # noqa: S307 - its very purpose
        return value

    async def steps(self, parts):
        """All of a cell that awaits somewhere: the rest of it may want the running loop, too."""
        value = None
        for part in parts:
            value = eval(part, self.module.__dict__)  # noqa: S307
            if part.co_flags & inspect.CO_COROUTINE:
                value = await value
        return value

    def parse(self, code, name):
        """The tree, and the code it stands for: magics are replaced in what is not Python."""
        try:
            return code, compile(code, name, "exec", FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)
        except SyntaxError as error:
            plain = None
            with contextlib.suppress(SyntaxError):
                plain = self.notebook.transform(code)
            if plain is None or plain.rstrip() == code.rstrip():
                raise error from None
        return plain, compile(plain, name, "exec", FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)

    def finish(self, coroutine):
        """Run it in a loop, one for all cells: tasks and connections live on."""
        import asyncio  # late: with ssl it costs each container 25 ms and 6 MB

        if self.loop is None or self.loop.is_closed():
            selector = Selector()
            self.loop = asyncio.SelectorEventLoop(selector)
            self.loop.selector = selector
            asyncio.set_event_loop(self.loop)
        self.interrupted = False
        task = self.task = self.loop.create_task(coroutine)
        try:
            return self.loop.run_until_complete(task)
        except asyncio.CancelledError as error:
            if not self.interrupted:
                raise
            raise KeyboardInterrupt().with_traceback(error.__traceback__) from None
        except KeyboardInterrupt:  # in another task
            task.cancel()
            with contextlib.suppress(BaseException):
                self.loop.run_until_complete(task)
            raise
        finally:
            self.task = None

    def interrupt(self, _number, frame):
        """SIGINT: a task that waits is cancelled, all else gets a KeyboardInterrupt, but never half-way in a frame."""
        if not self.control.interrupts(frame):
            return
        waiting = self.task is not None and sys.modules["asyncio"].current_task(self.loop) is None
        if waiting and not self.interrupted:
            self.interrupted = True
            self.task.cancel()
            self.loop.call_soon_threadsafe(lambda: None)  # wakes it
        else:
            raise KeyboardInterrupt

    def show(self, value):
        """The text of a cell's value; what is richer than text is displayed."""
        text, bundle = self.displays.describe(value)
        self.displays.publish(bundle)
        return None if text is None else fit(text, self.output)


def hidden(code, node):
    """Whether a semicolon follows."""
    line = code.split("\n")[node.end_lineno - 1].encode()
    return line[node.end_col_offset :].lstrip().startswith(b";")


def exit_code(code):
    if code is None or isinstance(code, int):
        return (code or 0) & 255
    sys.stderr.write(f"{code}\n")
    return 1


def describe(error):
    """The traceback with the lines of cells and of files in the workspace only."""
    summary = traceback.TracebackException.from_exception(error, capture_locals=False)
    prune(summary)
    return "".join(summary.format()).rstrip()


def prune(summary):
    """False for an exception that went through none of the user's lines: a library's own affair."""
    for inner in ("__cause__", "__context__"):
        linked = getattr(summary, inner)
        if linked is not None and not prune(linked):
            setattr(summary, inner, None)
    for part in getattr(summary, "exceptions", None) or ():
        prune(part)
    mine = [frame for frame in summary.stack if frame.filename.startswith(("<cell ", WORK + "/"))]
    theirs = len(summary.stack or ()) > len(mine)
    summary.stack = traceback.StackSummary.from_list(mine) if mine else None
    return bool(mine) or not theirs


def hide_guest():
    """A file of the code may have the name of a module of ours; boot.py's finder knows them."""
    for finder in [finder for finder in sys.meta_path if hasattr(finder, "sources")]:
        sys.meta_path.remove(finder)
        for name in finder.sources:
            sys.modules.pop(name, None)


def reseed():
    """Else each fork would draw the same numbers; Python's own `random` sees to it itself."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def live_threads():
    """Threads of the code that live on; those of an event loop's own pool wait for work only."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()) - 1
