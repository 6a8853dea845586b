"""How commands end on a signal: what they started ends first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TERMINATED = 143  # 128 + SIGTERM, as a shell says it


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Do the work on an event loop. Ctrl-C (KeyboardInterrupt) and SIGTERM (SystemExit) cancel it, and end us then."""
    try:
        return asyncio.run(_cancelled_by_sigterm(work))
    except asyncio.CancelledError:
        raise SystemExit(TERMINATED) from None


async def _cancelled_by_sigterm(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def interrupts() -> tuple[signal.Signals, ...]:
    """The signals by which a person or a supervisor ends us. Not Ctrl-C where whoever started us had it ignored, as
    shells do for what runs in the background: the terminal's Ctrl-C is then meant for another."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return (signal.SIGTERM,) if ignored else (signal.SIGINT, signal.SIGTERM)
