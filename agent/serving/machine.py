"""The machine we stand on: its memory and GPUs, and locks between our processes."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO, TypeAlias

import psutil

from fastslow.agent.folders import state_folder

Progress: TypeAlias = Callable[[str, float | None], None]
"""Called with what happens now and the fraction done (0 to 1), None where it is not known."""

GIB = 1024**3
END_SECONDS = 5.0  # that a command has to tidy up when it is interrupted


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


@asynccontextmanager
async def only_one(name: str, on_progress: Progress) -> AsyncIterator[None]:
    """Hold the lock `name`; waits while another of our processes holds it."""
    while (handle := try_lock(name)) is None:
        on_progress(f"waiting: another process is busy with the {name}", None)
        await asyncio.sleep(0.5)
    with handle:
        yield


async def side_by_side(*works: Coroutine[Any, Any, Any]) -> None:
    """Do them all at once. The first that fails ends the others, and its error is raised when they have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            if not task.cancelling():  # a second time would break off what it does to end
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_lines(command: Sequence[str], on_line: Callable[[str], None]) -> tuple[int, str]:
    """Run a command, hand on each line it prints; returns exit status and its last 15 lines.

    The command ends with us: whoever cancels this ends it, and what it started. A bar that is drawn over itself
    counts as a line for each time it is drawn.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 (tells mypy what PIPE means)
    decoder, rest, last = codecs.getincrementaldecoder("utf-8")("replace"), "", [""]
    try:
        while chunk := await process.stdout.read(1 << 16):
            *lines, rest = re.split(r"[\r\n]", rest + decoder.decode(chunk))
            for line in filter(None, map(str.strip, lines)):
                last = [*last[-14:], line]
                on_line(line)
        status = await process.wait()
    except BaseException:
        await _end(process)
        raise
    return status, "\n".join([*last, rest]).strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupt it, so that it tidies up (pip has hundreds of MB in /tmp); what is left then is killed."""
    try:
        with suppress(ProcessLookupError, TimeoutError):
            os.killpg(process.pid, signal.SIGINT)
            await asyncio.wait_for(process.wait(), END_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
