"""The toolsets of a run: whatever goes wrong in one of them ends the run with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

from fastslow.agent.errors import ToolsetFailed
from fastslow.tools import Tool, Toolset


async def opened(stack: AsyncExitStack, toolset: Toolset) -> Callable[[], Sequence[Tool]]:
    """Open one, to be closed with the stack; gives what lists its tools. Both raise ToolsetFailed."""
    name = type(toolset).__name__
    with as_failure(f"the toolset {name} could not be opened"):
        listed = await stack.enter_async_context(toolset.open())

    def tools() -> Sequence[Tool]:
        with as_failure(f"the toolset {name} could not list its tools"):
            return tuple(listed())

    return tools


@contextmanager
def as_failure(what: str) -> Iterator[None]:
    """Any exception becomes ToolsetFailed: a toolset is its author's own code, as the body of a tool is."""
    try:
        yield
    except Exception as error:
        raise ToolsetFailed(f"{what}: {type(error).__name__}: {error}") from error
