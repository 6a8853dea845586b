"""The toolsets of a run: whatever goes wrong in one of them ends the run with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastslow.agent.errors import ToolsetFailed
from fastslow.tools import Tool, Toolset
from fastslow.tools.foreign import GRACE, Ended, described, ended, tried

CLOSING = 30.0  # seconds that a toolset gets to close


@asynccontextmanager
async def opened(toolset: Toolset) -> AsyncGenerator[Callable[[], Sequence[Tool]], None]:
    """Open one; gives what lists its tools. Opening, listing and closing raise ToolsetFailed.

    It lives in a task of its own, from its opening to its end: a connection that breaks cancels the task that opened
    it (https://anyio.readthedocs.io/en/stable/cancellation.html), and that must not be the run's.
    """
    name = type(toolset).__name__
    listing: asyncio.Future[Callable[[], Sequence[Tool]]] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def live() -> None:
        async with toolset.open() as listed:
            listing.set_result(listed)
            await over.wait()

    life = asyncio.create_task(ended(live))

    def why() -> str:
        error = asyncio.CancelledError() if life.cancelled() else life.result().error
        return described(error) if error else "it ended by itself"

    def tools() -> Sequence[Tool]:
        if life.done():
            raise ToolsetFailed(f"the toolset {name} broke down: {why()}")
        end = tried(lambda: tuple(listing.result()()))  # a toolset is its author's own code, as a tool's body is
        if end.error:
            raise ToolsetFailed(f"the toolset {name} could not list its tools: {described(end.error)}") from end.error
        return end.value or ()

    try:
        either: list[asyncio.Future[Any]] = [life, listing]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not listing.done():
            raise ToolsetFailed(f"the toolset {name} could not be opened: {why()}")
        yield tools
    finally:
        if not life.done():
            await _close(life, over, seconds=CLOSING if listing.done() else 0.0)
            if not life.done():
                raise ToolsetFailed(f"a toolset could not be closed: {name} took over {CLOSING + GRACE:g} seconds")
            if listing.done() and not life.cancelled() and life.result().error:
                raise ToolsetFailed(f"a toolset could not be closed: {why()}")


async def _close(life: asyncio.Task[Ended[None]], over: asyncio.Event, seconds: float) -> None:
    """Let a toolset end, and cancel it where it does not."""
    over.set()
    try:
        if seconds:
            await asyncio.wait([life], timeout=seconds)
    finally:
        if not life.done():
            life.cancel()
            await asyncio.wait([life], timeout=GRACE)
