"""`--workers N`: the rows of a map carried out by several processes on this machine, so on more than one core."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import cast

from fastslow.agent.events import Exit
from fastslow.agent.flow.elsewhere import LEAVING, Elsewhere, WorkerDied
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.words import LINE, Asked, Said, asked_line, read_said
from fastslow.agent.quoting import visible, without_controls
from fastslow.agent.record.jobs import StepResult

LAST_WORDS, LONGEST = 3, 200  # lines of its standard error that are told when it died, and characters of each
COMMAND = (sys.executable, "-P", "-m", "fastslow.agent.flow.worker")  # -P: nothing is imported from the user's folder


class Processes(Elsewhere):
    """A crew of `count` processes. They share `spec.at_once`, the model's servers and the journal of runs, and end with
    this process, however it ends."""

    def __init__(self, spec: MapSpec, count: int) -> None:
        count = min(count, spec.at_once)
        each = replace(spec, at_once=-(-spec.at_once // count))
        super().__init__([partial(Process.start, each)] * count, spec.at_once)


class Process:
    """A worker in a process of its own. What it says is checked: one that breaks the form is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._in_hand: dict[int, asyncio.Future[Said]] = {}
        self._last = 0  # number that was given
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._died = ""
        self._input = cast(asyncio.StreamWriter, process.stdin)  # all three are pipes
        self._overhearing = asyncio.create_task(self._overhear())
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, spec: MapSpec, command: tuple[str, ...] = COMMAND) -> Process:
        """WorkerDied; AgentError or SandboxError where it says that it cannot work."""
        pipe = asyncio.subprocess.PIPE
        process = cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                limit=LINE,
                start_new_session=True,  # Ctrl-C is for us: we end it, and it leaves nothing behind
            )
        )
        try:
            await process._ask(0, spec.to_json().encode() + b"\n")
        except BaseException:
            await process.end()
            raise
        return process

    async def do(self, row: Row) -> StepResult:
        self._last += 1
        try:
            line = asked_line(Asked(self._last, row))
        except ValueError as error:
            reason = f"the row is too long: {error}"
            return StepResult(row.key, row.id, Exit.FAILED, reason=reason, failure="too long")
        said = await self._ask(self._last, line)
        if said.done is None or said.done.key != row.key:
            self._process.kill()
            raise WorkerDied("it answered for another row")
        return said.done

    async def end(self) -> None:
        self._input.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), LEAVING)
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._listening
        self._overhearing.cancel()  # a program that it started may hold on to its standard error

    async def _ask(self, number: int, line: bytes) -> Said:
        if self._died:
            raise WorkerDied(self._died)
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._in_hand[number] = answer
        try:
            self._input.write(line)
            with suppress(ConnectionError):  # it is gone: `_listen` says so
                await self._input.drain()
            said = await answer
        finally:
            self._in_hand.pop(number, None)
        if said.failure:
            raise said.failure.error()
        return said

    async def _listen(self) -> None:
        how, output = "", cast(asyncio.StreamReader, self._process.stdout)
        try:
            while line := await output.readline():
                self._heard(read_said(line))
        except ValueError as error:
            how = f"it said what is no answer: {visible(str(error))}"
        with suppress(ProcessLookupError):
            if how:
                self._process.kill()
        status = await self._process.wait()
        await asyncio.wait([self._overhearing], timeout=1)
        words = "; ".join(self._words)
        self._died = how or f"it ended with status {status}" + (f" and said: {words}" if words else "")
        for answer in self._in_hand.values():
            if not answer.done():
                answer.set_exception(WorkerDied(self._died))

    def _heard(self, said: Said) -> None:
        answer = self._in_hand.get(said.number)
        if answer is None or answer.done():
            raise ValueError(f"an answer to number {said.number}, which was not asked")
        answer.set_result(said)

    async def _overhear(self) -> None:
        """Its standard error is read to the end, so that it never waits for us; the last lines are kept."""
        errors = cast(asyncio.StreamReader, self._process.stderr)
        try:
            while line := await errors.readline():
                self._words.append(visible(without_controls(line.decode(errors="replace")).strip()[:LONGEST]))
        except ValueError:  # a line without an end
            self._process.kill()
