"""What the steps of an image's build share: their error, their scratch folder, commands that report progress."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.install import OnProgress

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = 1_672_531_200
"""2023-01-01 UTC: the time of every file in an image, so that the same content is the same layer."""


class ImageBuildFailed(SandboxError, RuntimeError):
    """A step of the build failed; the message names the step and its last words."""


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """A folder on the disk (temporary folders are often in memory), gone afterwards."""
    from platformdirs import user_cache_path

    cache = user_cache_path("fastslow", ensure_exists=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def from_thread(on_progress: OnProgress) -> OnProgress:
    """The same, to be called in another thread: `on_progress` itself runs in the event loop's."""
    loop = asyncio.get_running_loop()

    def report(what: str, fraction: float | None) -> None:
        loop.call_soon_threadsafe(on_progress, what, fraction)

    return report


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Like `asyncio.to_thread`, but a process that ends does not wait for it: the Docker daemon's answer can be minutes
    away, and it gives up what nobody listens to any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = function(*arguments, **named)
            tell = functools.partial(_settle, done, done.set_result, result)
        except Exception as error:
            tell = functools.partial(_settle, done, done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=work, daemon=True).start()
    return await done


def _settle(done: asyncio.Future[T], how: Callable[[Any], None], what: Any) -> None:
    if not done.done():  # else cancelled
        how(what)


async def run_step(what: str, command: Sequence[str], on_progress: OnProgress) -> None:
    """Run a command, each line of its output shown as progress. ImageBuildFailed has the lines that matter.

    At low priority: the image is wanted later than the model's server, which is often made beside it.
    """
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "10"),
        *command,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    seen: list[str] = []
    try:
        async for raw in process.stdout:
            seen.append(raw.decode("utf-8", "replace").strip())
            on_progress(f"{what}: {seen[-1][:90]}", None)
        status = await process.wait()
    except asyncio.CancelledError:
        os.killpg(process.pid, 9)
        await process.wait()
        raise
    if status:
        errors = [line for line in seen if line.startswith(("ERROR:", "E:"))] or [line for line in seen if line][-3:]
        raise ImageBuildFailed(
            f"{what}: `{' '.join(command[:4])} …` ended with status {status}: {' / '.join(errors)[-1500:]}"
        )
