"""A virtual environment for each peer, made once and kept in the user's cache; and one benchmark at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from platformdirs import user_cache_path


class NotInstalled(SystemExit):
    """pip could not install what a peer needs; ends the program unless somebody can do without the peer."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One run at a time: two would disturb each other's numbers, and take each other's containers for their own."""
    with (user_cache_path("fastslow", ensure_exists=True) / "benchmarks.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemExit("another benchmark runs; wait for its end") from error
        yield


def environment(name: str, requirements: Sequence[str]) -> str:
    """The Python of a peer's own environment, which is made if need be (20 s, 50 to 300 MB)."""
    digest = hashlib.sha256(f"{sys.version} {requirements}".encode()).hexdigest()[:8]
    folder = user_cache_path("fastslow") / "benchmarks" / f"{name}-{digest}"
    python, complete = folder / "bin/python", folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        complete.touch()
    return str(python)


def _run(command: list[str]) -> None:
    done = subprocess.run(["nice", "-n", "10", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise NotInstalled(f"`{shown}` ended with {done.returncode}: {done.stderr[-1000:]}")
