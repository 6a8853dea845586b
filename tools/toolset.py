"""Tools with a lifetime: a connection that is opened for a run, and a list that may change while it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastslow.tools.tool import Tool


class Toolset(ABC):
    """Opened before a run's first turn, and closed when it ends.

    >>> class Clock(Toolset):
    ...     @asynccontextmanager
    ...     async def open(self):
    ...         async with connected() as clock:
    ...             yield lambda: clock.tools
    """

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Callable[[], Sequence[Tool]]]:
        """For one run, and in one task of its own from its opening to its end. What it gives is asked before each turn
        for the tools that there are now. Tools stand at the head of every prompt, so a list that changes costs the
        server's prefix cache."""
