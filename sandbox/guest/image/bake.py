"""Run once by the build of the image: compiles what will be imported, and prepares what a read-only root cannot make.

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
from importlib.util import cache_from_source

PACKAGES = "/opt/packages"
MATPLOTLIB = "/opt/matplotlib"
EPOCH = 1_672_531_200  # 2023-01-01 UTC, as sandbox/steps.py


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
        file.write(PACKAGES + "\n")
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(compiled, sources(os.path.dirname(os.__file__), PACKAGES), chunksize=16)
    environment = {**os.environ, "MPLCONFIGDIR": MATPLOTLIB}
    stack = "import matplotlib.pyplot, numpy, pandas, duckdb, openpyxl, pyarrow, IPython"
    subprocess.run([sys.executable, "-c", stack], env=environment, check=True)
    check()
    if not shutil.which("python"):  # Debian's own is `python3` alone, and whoever writes commands says `python`
        os.symlink(shutil.which("python3"), "/usr/local/bin/python")
    for folder in ("/work", "/run/fastslow"):
        os.makedirs(folder, exist_ok=True)
    fixed_times(started)


if __name__ == "__main__":
    main()
