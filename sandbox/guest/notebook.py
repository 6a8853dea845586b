"""The door to IPython, opened when code asks for it: magics, `get_ipython()`, display formatters.

Cells are run by our own interpreter, in a tenth of the time. Without IPython in the image, all this is not there.
"""

import contextlib
import importlib
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile

from displays import text_of

WORK = "/work"
PACKAGES = f"{WORK}/.packages"  # where pip installs to: the root is read-only, and nothing in /tmp may be executed
PROGRAMS = ("bash", "sh", "python", "python3", "perl", "ruby", "node")


def let_pip_install():
    """Have pip, from wherever it is started, install into a folder that code imports from and commands are found in."""
    settings = {
        "PYTHONUSERBASE": PACKAGES,
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INPUT": "1",
        "PIP_RETRIES": "1",  # what the host's proxy refuses once it refuses again
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_WARN_SCRIPT_LOCATION": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.environ["PATH"] = f"{os.environ['PATH']}:{PACKAGES}/bin"


def import_nothing_of_the_works():
    """In the guest itself, which the image's `.pth` would let import what lies there."""
    sys.path[:] = [path for path in sys.path if path != WORK]


def import_installed():
    major, minor = sys.version_info[:2]
    sys.path[1:1] = [f"{WORK}/src", f"{PACKAGES}/lib/python{major}.{minor}/site-packages"]


def pip(line):
    """`%pip install name`."""
    if importlib.util.find_spec("pip") is None:
        raise ModuleNotFoundError("%pip: this image has no pip; add the packages to the image instead")
    with tempfile.TemporaryDirectory(dir=WORK, prefix=".pip-") as scratch:  # /tmp is small
        subprocess.run(
            [sys.executable, "-m", "pip", *shlex.split(line)],
            env={**os.environ, "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            check=True,
        )
    importlib.invalidate_caches()


def script(line, cell):
    """`%%script program arguments`, and `%%bash` and the like: the cell is the program's input."""
    sys.stdout.flush()
    subprocess.run(shlex.split(line), input=cell, text=True, check=True)


class Notebook:
    """Makes the shell at first need. module: the code's namespace. displays: set once it is there."""

    def __init__(self, module):
        self.module = module
        self.displays = None
        self.made = None
        self.watched = False

    def watch(self, code):
        """Let IPython find our shell whoever asks for it: to make it costs 12 ms, which most cells do not need."""
        if self.watched or not ("IPython.core.interactiveshell" in sys.modules or "IPython" in code):
            return
        with contextlib.suppress(ImportError):
            from IPython.core.interactiveshell import InteractiveShell

            InteractiveShell.initialized = classmethod(lambda _: self.shell() is not None)
            self.watched = True

    def shell(self):
        """IPython's shell, or None where there is no IPython."""
        if self.made is None:
            with contextlib.suppress(ImportError):
                self.made = make_shell(self)
        return self.made

    def transform(self, code):
        """Python for a cell with magics; the code itself where there is nothing to be done."""
        shell = self.shell()
        return code if shell is None else shell.transform_cell(code)

    def publisher(self, displays):
        """What takes a bundle: of a cell's displays, or of those of a `%%capture` around it."""
        return displays.show if self.made is None else self.made.display_pub.publish

    def formats(self, kind):
        """Whether somebody has told IPython how to show values of this type."""
        if self.made is None:
            return False
        formatters = self.made.display_formatter.formatters
        return any(
            formatter.type_printers and any(base in formatter.type_printers for base in kind.__mro__)
            for mime, formatter in formatters.items()
            if mime != "text/plain"
        )


def make_shell(notebook):
    from IPython.core.display_functions import display
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, **_):
            notebook.displays.show(data)

        def clear_output(self, wait=False):
            pass  # what was sent is sent

    class Hook(DisplayHook):
        """Of cells within cells, such as those of `%%capture`."""

        def __call__(self, result=None):
            if result is not None and not self.quiet():
                notebook.module._ = result
                display(result)

    class Shell(InteractiveShell):
        def init_user_ns(self):
            """No In, Out, exit and open: the namespace is the code's own."""
            self.user_ns["_dh"] = self.history_manager.dir_hist  # of `%cd`
            self.user_ns_hidden.update(dict.fromkeys(("_dh", "display", "get_ipython", "tools")))

        def system(self, cmd):
            """`!command`"""
            sys.stdout.flush()
            done = subprocess.run(["bash", "-c", self.var_expand(cmd, depth=1)], stdin=subprocess.DEVNULL)
            self.user_ns["_exit_code"] = done.returncode

        def getoutput(self, cmd, split=True, depth=0):
            """`lines = !command`"""
            from IPython.utils.text import LSString, SList

            command = ["bash", "-c", self.var_expand(cmd, depth=depth + 1)]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            return SList(done.stdout.splitlines()) if split else LSString(done.stdout)

    config = Config()
    config.HistoryManager.enabled = False
    folder = os.path.join(tempfile.gettempdir(), "ipython")
    last = notebook.module.__dict__.get("_")
    shell = Shell.instance(
        config=config,
        user_module=notebook.module,
        ipython_dir=folder,
        colors="nocolor",
        display_pub_class=Publisher,
        displayhook_class=Hook,
    )
    notebook.module._ = last  # the shell has begun its own
    figure = "matplotlib.figure", "Figure"
    shell.display_formatter.mimebundle_formatter.for_type_by_name(
        *figure, lambda value, **_: notebook.displays.figures.show(value)
    )
    plain = shell.display_formatter.formatters["text/plain"]
    for module, name in (("frame", "DataFrame"), ("series", "Series")):
        plain.for_type_by_name(f"pandas.core.{module}", name, lambda value, printer, _: printer.text(text_of(value)))
    shell.set_hook("show_in_pager", lambda _, data, **__: print_page(data), 99)
    register = shell.register_magic_function
    register(pip, "line", "pip")
    register(lambda line: None, "line", "matplotlib")  # figures are always shown inline
    register(script, "cell", "script")
    for program in PROGRAMS:
        register(lambda line, cell, program=program: script(f"{program} {line}", cell), "cell", program)
    return shell


def print_page(data):
    sys.stdout.write((data["text/plain"] if isinstance(data, dict) else str(data)) + "\n")
