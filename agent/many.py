"""Many runs side by side: one agent, one event loop, one server that they share fairly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from fastslow.agent.errors import AgentError
from fastslow.agent.events import Exit, Result, TurnDelta
from fastslow.agent.options import OptionFields, RunOptions, merged
from fastslow.sandbox import SandboxError
from fastslow.tools.foreign import described

if TYPE_CHECKING:
    from fastslow.agent.agent import Agent

T = TypeVar("T")
CONCURRENCY = 32  # runs at once; each may hold a container of its own


@dataclass(frozen=True, slots=True)
class Task:
    """What one of many runs is to do. options: of this run, in the place of those of all."""

    text: str
    options: RunOptions | None = None


async def run_many(
    agent: Agent,
    tasks: Iterable[str | Task],
    options: RunOptions | None = None,
    *,
    concurrency: int = CONCURRENCY,
    **fields: Unpack[OptionFields],
) -> AsyncGenerator[tuple[int, Result], None]:
    """Carry out many tasks, `concurrency` at once; yields the number of a task (from 0) and its result as they come.

        async with aclosing(run_many(agent, tasks)) as results:
            async for number, result in results:
                print(number, result.answer)

    One bad task ends no other: a run that cannot start, for a missing file say, or that breaks off by a fault,
    yields a result that failed and says why. Only a server that cannot be reached at all raises (`AgentError`),
    before the first run. tasks are taken as there is room, so a generator of a million will do. options are those
    of `Agent.run`, for each run; where they or the agent name an `out`, each task gets a folder in it, by its
    number. Results hold no `TurnDelta`: the finished turns have the same text. Closing the generator cancels what
    still runs. How many calls of the model go to the server at once is the engine's affair:
    `VLLM(concurrency=...)`. Close the agent when all is done (`await agent.aclose()`).
    """
    if concurrency < 1:
        raise ValueError(f"at least 1 run must be allowed at once, got {concurrency}")
    common = merged(options, fields)
    await agent.engine.connect()
    runs = (_run(agent, number, task, common) for number, task in enumerate(tasks))
    async with aclosing(as_they_come(runs, concurrency)) as results:
        async for result in results:
            yield result


async def as_they_come(work: Iterable[Coroutine[Any, Any, T]], concurrency: int) -> AsyncGenerator[T, None]:
    """What coroutines return, `concurrency` of them at once; they end with the generator. An error of one ends it, once
    all is told that came with it."""
    waiting = iter(work)
    running: set[asyncio.Task[T]] = set()
    try:
        while True:
            running.update(map(asyncio.create_task, islice(waiting, concurrency - len(running))))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in sorted(done, key=_broke):
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _broke(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _run(agent: Agent, number: int, task: str | Task, common: RunOptions) -> tuple[int, Result]:
    text, options = (task.text, task.options or common) if isinstance(task, Task) else (task, common)
    if out := options.out or agent.out:
        options = replace(options, out=Path(out) / str(number))
    try:
        result = await agent.run(text, options)
    except (AgentError, SandboxError, OSError, ValueError) as error:  # the last: a text that is no Unicode, say
        return number, _failed(f"the run could not start: {error}")
    except Exception as error:  # a fault, of ours or of an engine or a strategy of the user's: the other runs go on
        return number, _failed(f"the run broke off: {described(error)}")
    events = tuple(event for event in result.events if not isinstance(event, TurnDelta))
    return number, replace(result, events=events)


def _failed(reason: str) -> Result:
    return Result("", "", None, None, (), {}, Exit.FAILED, reason, 0.0)
