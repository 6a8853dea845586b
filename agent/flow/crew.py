"""Who carries the rows of a map out: this process, or others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Protocol, Self, TypeAlias

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.schedule import CONCURRENCY
from fastslow.agent.engine.types import Engine
from fastslow.agent.flow.calling import Caller
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.many import as_they_come
from fastslow.agent.record.jobs import StepResult
from fastslow.sandbox import Sandbox

Do: TypeAlias = Callable[[Row], Awaitable[StepResult]]
"""Carries one row out. Raises EngineError where the server is gone: the row is then to be done at another time."""


class Crew(Protocol):
    """Those who carry rows out, from the beginning of a map to its end: an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def carry_out(self, rows: Iterable[Row]) -> AsyncGenerator[StepResult, None]:
        """Results as they come. No more than `MapSpec.at_once` rows are taken beyond those that have ended. Closing the
        generator cancels what still goes on. EngineError where the server is gone."""
        ...


class Here:
    """A crew of this process alone. engine, sandbox: in the place of those that the spec names."""

    def __init__(self, spec: MapSpec, engine: Engine | None = None, sandbox: Sandbox | None = None) -> None:
        self.spec = spec
        self._engine = engine
        self._sandbox = sandbox
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._do = await self._stack.enter_async_context(opened(self.spec, self._engine, self._sandbox))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def carry_out(self, rows: Iterable[Row]) -> AsyncGenerator[StepResult, None]:
        async with aclosing(as_they_come((self._one(row) for row in rows), self.spec.at_once)) as results:
            async for result in results:
                yield result

    async def _one(self, row: Row) -> StepResult:
        return await self._do(row)


@asynccontextmanager
async def opened(spec: MapSpec, engine: Engine | None = None, sandbox: Sandbox | None = None) -> AsyncIterator[Do]:
    """What carries single rows out, in this process; it closes what it opened."""
    speaking = engine or engine_of(spec)
    try:
        await speaking.connect()
        if spec.sandboxed:
            from fastslow.agent.flow.running import runner  # a map of single calls needs no agent, and no Docker

            async with runner(spec, speaking, sandbox) as do:
                yield do
        else:
            yield Caller(spec, speaking)
    finally:
        if engine is None:
            await speaking.aclose()


def engine_of(spec: MapSpec) -> VLLM:
    """The model's server, as the spec names it."""
    url = spec.base_urls[0] if spec.base_urls else None
    return VLLM(url, spec.model, concurrency=max(CONCURRENCY, spec.at_once))
