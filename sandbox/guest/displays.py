"""What a cell shows besides its text: MIME bundles of tables, figures and the like, within a budget of bytes."""

import base64
import contextlib
import io
import json
import os
import sys
import weakref

from frames import MAX_BODY

WORK = "/work"
MAX_SVG = 1 << 20
# A class with one of these has more to show than its repr (IPython's display protocol).
METHODS = (
    *("_repr_html_", "_repr_mimebundle_", "_ipython_display_", "_repr_markdown_", "_repr_svg_", "_repr_png_"),
    *("_repr_jpeg_", "_repr_pdf_", "_repr_latex_", "_repr_json_", "_repr_javascript_"),
)
# Richest first; what is not here (a chart as its library's own JSON) is richer still.
ORDER = (
    *("text/html", "image/svg+xml", "image/png", "image/jpeg", "image/gif", "application/pdf", "text/markdown"),
    *("text/latex", "application/json", "application/javascript", "text/plain"),
)
MAX_TYPES = 20


class TooLarge(Exception):
    """More bytes than there is room for."""


class Room(io.BytesIO):
    """A file in memory that refuses to grow past a limit."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def write(self, data):
        if self.tell() + len(data) > self.limit:
            raise TooLarge
        return super().write(data)


class Displays:
    """Sends what is displayed. notebook: the door to IPython (notebook.py). send: takes a frame."""

    def __init__(self, limit, notebook, send):
        self.limit, self.left = limit, limit
        self.notebook, self.send = notebook, send
        self.pid = os.getpid()
        self.figures = Figures(self)

    def start(self, code):
        """A cell begins."""
        self.left = self.limit
        self.figures.watch(code)

    def display(self, *values, **options):
        """Show values as a cell's last line would. What is richer than text is sent besides."""
        if options:  # IPython's: display_id, raw, metadata …
            from IPython.display import display

            return display(*values, **options)
        for value in values:
            text, bundle = self.describe(value)
            if text is not None:
                self.notebook.publisher(self)({**bundle, "text/plain": text})
        return None

    def show(self, bundle):
        """Print a bundle's text, and send it if there is more to it."""
        if "text/plain" in bundle:
            sys.stdout.write(f"{bundle['text/plain']}\n")
        if set(bundle) != {"text/plain"}:
            self.publish(bundle)

    def describe(self, value):
        """The text of a value, None if it showed itself, and its MIME bundle, empty for what is but text."""
        if self.figures.is_figure(value):
            return repr(value), self.figures.show(value)
        shell = self.notebook.shell() if self.rich(value) else None
        if shell is None:
            return text_of(value), {}
        with pandas_wide():
            bundle = dict(shell.display_formatter.format(value)[0])
        return bundle.get("text/plain"), bundle if len(bundle) > 1 else {}

    def rich(self, value):
        kind = type(value)
        if kind.__module__ != "builtins" and any(hasattr(kind, method) for method in METHODS):
            return True
        return self.notebook.formats(kind)

    def publish(self, bundle):
        """Send a bundle; its largest parts stay behind where they do not fit."""
        if not bundle or os.getpid() != self.pid:  # a child process has no way out of its own
            return
        parts = sorted(encoded(bundle), key=lambda part: ORDER.index(part[0]) if part[0] in ORDER else -1)[-MAX_TYPES:]
        whole, room = size(parts), min(self.left, MAX_BODY)
        while size(parts) > room:
            parts.remove(max(parts, key=lambda part: len(part[1])))
        if not parts or (len(bundle) > 1 and [kind for kind, _ in parts] == ["text/plain"]):
            note = f"[a display of {whole} bytes left out: one execution displays {self.limit} bytes at most]"
            parts = [("text/plain", note.encode())]
        if size(parts) <= room:
            self.left -= size(parts)
            mime = [[kind, len(data)] for kind, data in parts]
            self.send({"kind": "display", "mime": mime}, b"".join(data for _, data in parts))


class Figures:
    """Shows and saves the figures that a cell leaves open, as a notebook does, and closes them."""

    def __init__(self, displays):
        self.displays = displays
        self.saved = weakref.WeakSet()  # by the code itself, or by us
        self.shown = weakref.WeakSet()
        self.savefig = None  # matplotlib's own, once ours is in its place

    def watch(self, code=""):
        """Hook into pyplot as soon as it is, or is about to be, imported."""
        if self.savefig or not ("matplotlib.pyplot" in sys.modules or "matplotlib" in code):
            return
        try:
            from matplotlib import figure, pyplot
        except ImportError:
            return
        original = self.savefig = figure.Figure.savefig

        def savefig(figure, *arguments, **options):
            self.saved.add(figure)
            return original(figure, *arguments, **options)

        figure.Figure.savefig = savefig
        pyplot.show = lambda *_, **__: self.flush()

    def is_figure(self, value):
        return self.savefig is not None and isinstance(value, sys.modules["matplotlib.figure"].Figure)

    def flush(self, value=None):
        """Show what is open and was not shown, but for `value`, which is about to be; close all."""
        if self.savefig is None:
            return
        from matplotlib import pyplot

        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if figure is not value and figure not in self.shown and (figure.axes or figure.texts):
                self.displays.publish(self.show(figure))
        pyplot.close("all")

    def drop(self):
        if self.savefig is not None:
            sys.modules["matplotlib.pyplot"].close("all")

    def show(self, figure):
        """The bundle of a figure, which is saved as figure-N.png unless it was saved already."""
        picture = io.BytesIO()
        self.savefig(figure, picture, format="png", bbox_inches="tight")
        self.shown.add(figure)
        if figure not in self.saved:
            self.saved.add(figure)
            index = 1
            while os.path.lexists(f"{WORK}/figure-{index}.png"):
                index += 1
            with open(f"{WORK}/figure-{index}.png", "wb") as file:
                file.write(picture.getbuffer())
            sys.stdout.write(f"[saved figure-{index}.png]\n")
        bundle = {"image/png": picture.getvalue(), "text/plain": repr(figure)}
        with contextlib.suppress(TooLarge):  # of a million points, say; it is given up half-way
            drawing = Room(MAX_SVG)
            self.savefig(figure, drawing, format="svg", bbox_inches="tight", metadata={"Date": None})
            bundle["image/svg+xml"] = drawing.getvalue()
        return bundle


def is_frame(value):
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))


def pandas_wide():
    """pandas' settings for tables that people read."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return contextlib.nullcontext()
    return pandas.option_context("display.width", 200, "display.max_columns", 50)


def text_of(value):
    if not is_frame(value):
        return repr(value)
    with pandas_wide():
        return repr(value)


def size(parts):
    return sum(len(data) for _, data in parts)


def encoded(bundle):
    """The parts of a bundle as (type, bytes); what is neither text nor bytes goes as JSON."""
    parts = []
    for kind, data in bundle.items():
        if isinstance(data, str) and kind.startswith(("image/", "application/pdf")) and "xml" not in kind:
            data = base64.b64decode(data)
        elif not isinstance(data, (bytes, str)) or (kind == "application/json" and isinstance(data, str)):
            data = json.dumps(data, default=str)
        parts.append((str(kind), data.encode("utf-8", "replace") if isinstance(data, str) else data))
    return parts
