"""Tasks that follow each other in one conversation, in a sandbox that stays warm between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from fastslow.agent.events import Event, RunStarted
from fastslow.agent.options import OptionFields, RunOptions, Unpack, merged
from fastslow.agent.workspace import Workspace

if TYPE_CHECKING:
    from fastslow.agent.agent import Agent


class Conversation:
    """Each task is a run of its own that follows the one before: `runs`, `show` and `resume` know them.

    Made by `Agent.conversation`. last: the run of the latest task, `""` before the first.
    """

    def __init__(self, agent: Agent, options: RunOptions) -> None:
        self._agent = agent
        self._options = options
        self._held = AsyncExitStack()
        self._workspace: Workspace | None = None
        self.last = options.after or ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._held.aclose()

    async def stream(
        self, task: str, *, by: Agent | None = None, **fields: Unpack[OptionFields]
    ) -> AsyncGenerator[Event, None]:
        """Carry out the next task, as `Agent.stream` does. Options count for this task alone, and so does `by`: another
        agent on the same sandbox and journal."""
        options = merged(replace(self._options, after=self.last or None), fields)
        async with aclosing((by or self._agent).stream_in(task, options, self._opened)) as events:
            async for event in events:
                if isinstance(event, RunStarted):
                    self.last = event.run
                yield event

    @property
    def workspace(self) -> Workspace | None:
        """The sandbox's side of it; None before the first task."""
        return self._workspace

    @asynccontextmanager
    async def _opened(self, workspace: Workspace) -> AsyncIterator[Workspace]:
        """The workspace of a run: the first one's goes on as that of all others."""
        if self._workspace is None:
            self._workspace = await self._held.enter_async_context(workspace)
        else:
            await self._workspace.hand_over(workspace)
        yield self._workspace
