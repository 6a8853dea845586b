"""What the steps of an image's build share: their error, their scratch folder, commands that report progress."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.install import OnProgress

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


async def run_step(what: str, command: Sequence[str], on_progress: OnProgress) -> None:
    """Run a command, each line of its output shown as progress. ImageBuildFailed has the lines that matter."""
    process = await asyncio.create_subprocess_exec(
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
