"""Run once by the build of the image: compiles what will be imported, and prepares what a read-only root cannot make:
commands, settings of git, fonts of plots.

Everything that it writes gets one fixed time, and none of it depends on hash seeds or on the clock: the same
packages on the same base are to make the same layer.
"""

import contextlib
import json
import multiprocessing
import os
import py_compile
import re
import shutil
import site
import subprocess
import sys
import time
from importlib.metadata import distributions
from importlib.util import cache_from_source, find_spec

PACKAGES = "/opt/packages"
PROJECT = ("/work/src", "/work")  # imported from anywhere, as if `pip install -e` had been run, and before our packages
MATPLOTLIB = "/opt/matplotlib"
COMMANDS = "/usr/local/bin"
EPOCH = 1_672_531_200  # 2023-01-01 UTC, as sandbox/steps.py

SCRIPT = """\
#!{python}
import sys

from {module} import {function}

if __name__ == "__main__":
    sys.exit({call}())
"""
FONTS = """

import sys  # added by the sandbox's image

from matplotlib import _fastslow_fonts

_fastslow_fonts.{extend}(sys.modules[__name__])
"""
# Nothing may wait for a person: no pager, no editor, no password; and a commit needs an identity. What a repository or
# the code itself sets goes before this.
GIT = """\
[user]
\tname = sandbox
\temail = sandbox@localhost
[safe]
\tdirectory = *
[init]
\tdefaultBranch = main
[core]
\tpager = cat
\teditor = true
[credential]
\tinteractive = false
"""


def compiled(source):
    with contextlib.suppress(py_compile.PyCompileError):  # files broken on purpose: templates, tests of parsers
        py_compile.compile(source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def sources(*roots):
    """Python files that have not been compiled yet."""
    for root in roots:
        for folder, names, files in os.walk(root):
            names.sort()
            paths = (os.path.join(folder, file) for file in sorted(files) if file.endswith(".py"))
            yield from (path for path in paths if not os.path.exists(cache_from_source(path)))


def replace(path, text):
    """Write a file unless it is like that already: a layer should hold what is new only. Code is compiled anew."""
    with contextlib.suppress(OSError), open(path) as file:
        if file.read() == text:
            return
    with open(path, "w") as file:
        file.write(text)
    with contextlib.suppress(OSError):
        os.unlink(cache_from_source(path))


def add_commands():
    """The commands of the packages: pip on the host would have them started by the host's Python."""
    os.makedirs(COMMANDS, exist_ok=True)
    python = shutil.which("python3")
    if not shutil.which("python"):  # Debian's own is `python3` alone, and whoever writes commands says `python`
        os.symlink(python, f"{COMMANDS}/python")
    for package in distributions(path=[PACKAGES]):
        for entry in package.entry_points.select(group="console_scripts"):
            # pip's goes by what `add_words` puts there.
            module, call = ("pip.__main__", "main") if package.name == "pip" else (entry.module, entry.attr)
            text = SCRIPT.format(python=python, module=module, function=call.partition(".")[0], call=call)
            replace(f"{COMMANDS}/{entry.name}", text)
            os.chmod(f"{COMMANDS}/{entry.name}", 0o755)  # noqa: S103 - a command for everybody
    programs = f"{PACKAGES}/bin"
    for name in sorted(os.listdir(programs)) if os.path.isdir(programs) else ():
        if not os.path.lexists(f"{COMMANDS}/{name}"):
            os.symlink(f"{programs}/{name}", f"{COMMANDS}/{name}")


def add_words():
    """What pip says where it has no network, and how plots find their glyphs."""
    with open("/opt/image/pip_main.py") as file:
        replace(os.path.join(os.path.dirname(find_spec("pip").origin), "__main__.py"), file.read())
    shutil.copyfile("/opt/image/fonts.py", f"{PACKAGES}/matplotlib/_fastslow_fonts.py")
    for module, extend in (("font_manager", "extend"), ("_mathtext", "extend_math")):
        path, ours = f"{PACKAGES}/matplotlib/{module}.py", FONTS.format(extend=extend)
        with open(path) as file:
            source = file.read()
        replace(path, source if source.endswith(ours) else source + ours)


def check():
    """End the build when a package of ours lacks what it needs: pip on the host could not know all of it."""
    said = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True).stdout
    with open("/opt/manifest.json") as file:
        ours = {package["name"] for package in json.load(file)["packages"]}
    wrong = [line for line in said.splitlines() if re.sub("[-_.]+", "-", line.split(" ")[0]).lower() in ours]
    if wrong:
        sys.exit("packages do not fit together: " + "; ".join(wrong))


def fixed_times(since):
    """Give what this build step has written the fixed time."""
    device = os.lstat("/").st_dev
    for folder, names, files in os.walk("/"):
        names[:] = [name for name in names if os.lstat(os.path.join(folder, name)).st_dev == device]
        for path in (folder, *(os.path.join(folder, name) for name in (*names, *files))):
            if os.lstat(path).st_mtime >= since:
                os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def main():
    started = int(time.time())
    with open(os.path.join(site.getsitepackages()[0], "fastslow.pth"), "w") as file:
        file.write("\n".join([*PROJECT, PACKAGES, ""]))
    sys.path.append(PACKAGES)
    add_commands()
    add_words()
    if shutil.which("git") and not os.path.exists("/etc/gitconfig"):
        replace("/etc/gitconfig", GIT)
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(compiled, sources(os.path.dirname(os.__file__), PACKAGES), chunksize=16)
    environment = {**os.environ, "MPLCONFIGDIR": MATPLOTLIB}
    stack = "import matplotlib.pyplot, numpy, pandas, duckdb, openpyxl, pyarrow, IPython"
    subprocess.run([sys.executable, "-c", stack], env=environment, check=True)
    check()
    for folder in ("/work", "/run/fastslow"):
        os.makedirs(folder, exist_ok=True)
    fixed_times(started)


if __name__ == "__main__":
    main()
