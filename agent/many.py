"""Many runs side by side: one agent, one event loop, one server that they share fairly."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fastslow.agent.agent import Agent
from fastslow.agent.errors import AgentError
from fastslow.agent.events import Exit, Result, TurnDelta
from fastslow.sandbox import SandboxError

T = TypeVar("T")
CONCURRENCY = 32  # runs at once; each may hold a container of its own


@dataclass(frozen=True, slots=True)
class Task:
    """What one of many runs is to do. files: copied into its sandbox."""

    text: str
    files: tuple[str | Path, ...] = ()


async def run_many(
    agent: Agent,
    tasks: Iterable[str | Task],
    *,
    output: type[BaseModel] | None = None,
    concurrency: int = CONCURRENCY,
) -> AsyncGenerator[tuple[int, Result], None]:
    """Carry out many tasks, `concurrency` at once; yields the number of a task (from 0) and its result as they come.

        async with aclosing(run_many(agent, tasks)) as results:
            async for number, result in results:
                print(number, result.answer)

    One bad task ends no other: a run that cannot start, for a missing file say, yields a result that failed and says
    why. Only a server that cannot be reached at all raises (`AgentError`), before the first run. tasks are taken as
    there is room, so a generator of a million will do. output is a pydantic model that each answer must fit. An agent
    with `out=` gets a folder in it for each task, by its number. Results hold no `TurnDelta`: the finished turns have
    the same text. Closing the generator cancels what still runs. How many calls of the model go to the server at once
    is the engine's affair: `VLLM(concurrency=...)`. Close the agent when all is done (`await agent.aclose()`).
    """
    if concurrency < 1:
        raise ValueError(f"at least 1 run must be allowed at once, got {concurrency}")
    await agent.engine.connect()
    runs = (_run(agent, number, task, output) for number, task in enumerate(tasks))
    async with aclosing(as_they_come(runs, concurrency)) as results:
        async for result in results:
            yield result


async def as_they_come(work: Iterable[Coroutine[Any, Any, T]], concurrency: int) -> AsyncGenerator[T, None]:
    """What coroutines return, `concurrency` of them at once; they end with the generator."""
    waiting = iter(work)
    running: set[asyncio.Task[T]] = set()
    try:
        while True:
            running.update(map(asyncio.create_task, islice(waiting, concurrency - len(running))))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(agent: Agent, number: int, task: str | Task, output: type[BaseModel] | None) -> tuple[int, Result]:
    task = Task(task) if isinstance(task, str) else task
    if agent.out:
        out = agent.out / str(number)
        agent = copy.copy(agent)
        agent.out = out
    try:
        result = await agent.run(task.text, files=task.files, output=output)
    except (AgentError, SandboxError, OSError, ValueError) as error:  # the last: a text that is no Unicode, say
        return number, Result("", "", None, None, (), {}, Exit.FAILED, f"the run could not start: {error}", 0.0)
    events = tuple(event for event in result.events if not isinstance(event, TurnDelta))
    return number, replace(result, events=events)
