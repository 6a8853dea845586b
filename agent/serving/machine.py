"""The machine we stand on: its memory and GPUs, and locks between our processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeAlias

import psutil

from fastslow.agent.folders import state_folder

Progress: TypeAlias = Callable[[str, float | None], None]
"""Called with what happens now and the fraction done (0 to 1), None where it is not known."""

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Machine:
    """What a model may use. `memory` is the RAM free now, `gpu_memory` that of the largest GPU, in bytes."""

    cores: int
    memory: int
    gpu_memory: int = 0

    @property
    def has_gpu(self) -> bool:
        return self.gpu_memory > 0


def this_machine() -> Machine:
    return Machine(len(os.sched_getaffinity(0)), psutil.virtual_memory().available, _gpu_memory())


def _gpu_memory() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    sizes = [int(line) for line in done.stdout.split() if line.isdigit()]
    return max(sizes, default=0) * 1024**2


def try_lock(name: str) -> TextIO | None:
    """Take the lock `name`, or None while another of our processes holds it.

    Closing the returned handle frees it, and so does our death.
    """
    handle = (state_folder() / f"{name}.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


@contextmanager
def only_one(name: str, on_progress: Progress) -> Iterator[None]:
    """Hold the lock `name`; waits while another of our processes holds it."""
    while (handle := try_lock(name)) is None:
        on_progress(f"waiting: another process is busy with the {name}", None)
        time.sleep(0.5)
    with handle:
        yield


def run_lines(
    command: list[str], on_line: Callable[[str], None], env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command, hand on each line it prints; returns exit status and its last 15 lines.

    The command ends with us: an exception (Ctrl-C too) terminates it.
    """
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=env,
    ) as process:
        assert process.stdout is not None  # noqa: S101 (tells mypy what PIPE means)
        try:
            for line in process.stdout:
                text = line.strip()
                if text:
                    last = [*last[-14:], text]
                    on_line(text)
        except BaseException:
            process.terminate()
            raise
    return process.returncode, "\n".join(last)
