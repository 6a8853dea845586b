"""The slow path of a map: a row that needs a sandbox is a run of an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastslow.agent.engine.types import Engine
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.record.jobs import StepResult


@asynccontextmanager
async def runner(spec: MapSpec, engine: Engine) -> AsyncIterator[Callable[[Row], Awaitable[StepResult]]]:
    raise NotImplementedError
    yield
