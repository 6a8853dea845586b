"""The interpreter: runs cells as a notebook would, with the standard library alone."""

import ast
import asyncio
import contextlib
import inspect
import linecache
import os
import signal
import sys
import textwrap
import traceback
import types
import weakref

from frames import Frames, cut, encode

WORK = "/work"
PIPE = 1 << 16


class Figures:
    """Saves the figures that a cell shows, or leaves open without having saved them."""

    def __init__(self):
        self.saved = weakref.WeakSet()
        self.patched = False

    def watch(self, code):
        """Hook into pyplot as soon as it is, or is about to be, imported."""
        if self.patched or not ("matplotlib.pyplot" in sys.modules or "matplotlib" in code):
            return
        try:
            from matplotlib import figure, pyplot
        except ImportError:
            return
        original, saved = figure.Figure.savefig, self.saved

        def savefig(figure, *arguments, **options):
            saved.add(figure)
            return original(figure, *arguments, **options)

        figure.Figure.savefig = savefig
        pyplot.show = lambda *_, **__: self.flush()
        self.patched = True

    def flush(self):
        """Save what is open and unsaved as figure-N.png, and close all, as a notebook does after a cell."""
        if not self.patched:
            return
        from matplotlib import pyplot

        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if figure not in self.saved and (figure.axes or figure.texts):
                index = 1
                while os.path.lexists(f"{WORK}/figure-{index}.png"):
                    index += 1
                figure.savefig(f"{WORK}/figure-{index}.png", bbox_inches="tight")
                sys.stdout.write(f"[saved figure-{index}.png]\n")
        pyplot.close("all")

    def drop(self):
        if self.patched:
            sys.modules["matplotlib.pyplot"].close("all")


class Interpreter:
    """Runs cells in one namespace, as a notebook would. Lives in the forked child; `serve` never returns."""

    FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def __init__(self, control, output):
        self.control = control
        self.output = output  # characters of a value or a traceback
        self.pid = os.getpid()
        self.spare = [os.dup(fd) for fd in (0, 1, 2)]  # code may close or replace its own
        self.streams = {}
        self.module = types.ModuleType("__main__")
        self.module.display = self.display
        self.figures = Figures()
        self.runner = None
        self.cells = 0

    def serve(self):
        sys.modules["__main__"] = self.module
        sys.path.insert(0, WORK)
        sys.argv = [""]
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else each fork would draw the same numbers
        frames = Frames()
        while data := self.control.recv(PIPE):
            for message in frames.feed(data):
                try:
                    outcome = self.cell(str(message["code"]))
                except KeyboardInterrupt:  # it came while the outcome was being put together
                    outcome = {"status": "error", "value": None, "error": "KeyboardInterrupt", "exit_code": 1}
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                if os.getpid() != self.pid:  # the code forked, and this is the copy
                    os._exit(0)
                self.control.sendall(encode(outcome))
        os._exit(0)

    def cell(self, code):
        self.open_streams()
        self.cells += 1
        outcome = {"status": "ok", "value": None, "error": "", "exit_code": 0}
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.figures.watch(code)
            value = self.evaluate(code, f"<cell {self.cells}>")
            if value is not None:
                self.module._ = value
                outcome["value"] = cut(self.text(value), self.output)
            self.figures.watch("")
            self.figures.flush()
        except SystemExit as ending:
            outcome["exit_code"] = self.exit_code(ending.code)
            outcome["status"] = "error" if outcome["exit_code"] else "ok"
            self.figures.flush()
        except BaseException as error:
            outcome.update(status="error", exit_code=1, error=cut(self.traceback(error), self.output))
            self.figures.drop()
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
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        tree = compile(code, name, "exec", self.FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        self.execute(compile(tree, name, "exec", self.FLAGS, dont_inherit=True))
        return last and self.execute(compile(last, name, "eval", self.FLAGS, dont_inherit=True))

    def execute(self, code):
        result = eval(code, self.module.__dict__)  # noqa: S307 - its very purpose
        if not code.co_flags & inspect.CO_COROUTINE:
            return result
        if self.runner is None:
            self.runner = asyncio.Runner()  # one loop for all cells: tasks and connections live on
        return self.runner.run(result)

    def display(self, *values):
        """Print values as a cell's last line would show them."""
        for value in values:
            sys.stdout.write(self.text(value) + "\n")

    def text(self, value):
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(value, (pandas.DataFrame, pandas.Series)):
            return repr(value)
        with pandas.option_context("display.width", 200, "display.max_columns", 50):
            return repr(value)

    def exit_code(self, code):
        if code is None or isinstance(code, int):
            return (code or 0) & 255
        sys.stderr.write(f"{code}\n")
        return 1

    def traceback(self, error):
        """The traceback with the lines of cells and of files in the workspace only."""
        summary = traceback.TracebackException.from_exception(error, capture_locals=False)
        self.prune(summary)
        return "".join(summary.format()).rstrip()

    def prune(self, summary):
        for inner in ("__cause__", "__context__"):
            linked = getattr(summary, inner)
            if linked is not None:
                self.prune(linked)
                if not linked.stack:  # a library's own affair
                    setattr(summary, inner, None)
        for part in getattr(summary, "exceptions", None) or ():
            self.prune(part)
        mine = [frame for frame in summary.stack if frame.filename.startswith(("<cell ", WORK + "/"))]
        summary.stack = traceback.StackSummary.from_list(mine) if mine else None
