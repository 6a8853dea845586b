"""How commands end on a signal: what they started ends first."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastslow.agent.surfaces.cli.status import CANCELLED
from fastslow.agent.surfaces.cli.text import terminal

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


def cancel_on_signals() -> None:
    """The first Ctrl-C (or SIGTERM) cancels the run, which then ends cleanly; the second ends at once."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("signals are handled for a running task")
    loop, cancelled = asyncio.get_running_loop(), False

    def on_signal() -> None:
        nonlocal cancelled
        if cancelled:
            terminal(stderr=True).show_cursor()
            os._exit(CANCELLED)
        cancelled = True
        # Not by a console of its own: what the view redraws would be written over it.
        print("Cancelling; press Ctrl-C again to end at once.", file=sys.stderr)  # noqa: T201
        task.cancel()

    for number in interrupts():
        loop.add_signal_handler(number, on_signal)
