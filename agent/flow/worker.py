"""A worker of a map, as a process: `python -m fastslow.agent.flow.worker`. It is told what to do on standard input, and
says on standard output what came of it; it ends with its input, whoever closed that. `words` has the form of it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from fastslow.agent.errors import AgentError, RunBusy
from fastslow.agent.events import Exit
from fastslow.agent.flow.crew import Do, opened
from fastslow.agent.flow.elsewhere import LEAVING
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.words import LINE, Failure, Said, read_asked, said_line
from fastslow.agent.record.jobs import StepResult
from fastslow.sandbox import SandboxError
from fastslow.tools.foreign import described

Say: TypeAlias = Callable[[Said], None]
Open: TypeAlias = Callable[[MapSpec], AbstractAsyncContextManager[Do]]
TOO_LONG = "too long"  # the kind of failure of a row whose result does not fit a line


def main() -> None:
    asyncio.run(_work())


async def _work() -> None:
    reader = asyncio.StreamReader(limit=LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await work(reader, _voice())


def _voice() -> Say:
    """Whatever else this process prints goes to standard error, so that nothing comes between the lines."""
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(said: Said) -> None:
        try:
            lines.write(said_line(said))
            lines.flush()
        except BrokenPipeError:  # nobody listens any more: the end of the input comes, too
            pass

    return say


async def work(reader: asyncio.StreamReader, say: Say, opening: Open = opened) -> None:
    """Carry out what is asked until the input ends; what is in hand then is left, and closed."""
    try:
        async with opening(MapSpec.from_json(await reader.readline())) as do:
            say(Said())
            await _rows(reader, say, do)
    except (AgentError, SandboxError, OSError, ValueError) as error:
        say(Said(failure=Failure.of(error)))


async def _rows(reader: asyncio.StreamReader, say: Say, do: Do) -> None:
    running: set[asyncio.Task[None]] = set()
    try:
        while (line := await reader.readline()).endswith(b"\n"):  # what a dying coordinator began to say counts not
            asked = read_asked(line)
            task = asyncio.create_task(_one(asked.number, asked.row, say, do))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _one(number: int, row: Row, say: Say, do: Do) -> None:
    said = await said_of(number, row, do)
    try:
        say(said)
    except ValueError as error:
        result = StepResult(row.key, row.id, Exit.FAILED, reason=f"the result is too long: {error}", failure=TOO_LONG)
        say(Said(number, result))


async def said_of(number: int, row: Row, do: Do) -> Said:
    """What came of a row, its faults included."""
    try:
        return Said(number, await _when_free(row, do))
    except (AgentError, SandboxError, OSError) as error:
        return Said(number, failure=Failure.of(error))
    except Exception as error:  # a fault of ours: told where a person sees it
        return Said(number, failure=Failure("other", f"a worker broke off: {described(error)}"))


async def _when_free(row: Row, do: Do) -> StepResult:
    """A worker whose coordinator was killed has the row's run until it has left it."""
    until = time.monotonic() + LEAVING
    while True:
        try:
            return await do(row)
        except RunBusy:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
