"""From a call to its result: the one way to a tool's body, for the model's calls and for those of code that runs."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from fastslow.agent.budget import Ledger
from fastslow.agent.events import CallDisplay, CallFinished, CallOutput, CallStarted, Event
from fastslow.agent.gate import Gate, Stopped, refusal
from fastslow.agent.record.recorder import IN_DOUBT, Recorder
from fastslow.agent.transcript import ToolCall
from fastslow.agent.workspace import Workspace, shown
from fastslow.sandbox import CallFailed, Display, SandboxError
from fastslow.tools import ArgumentError, Caller, Tool, Toolbox, ToolError, caller, parse_arguments

DIED = (
    "The sandbox ended while this ran: it was killed, or took more memory than there is. It was started again, and "
    "files and variables are as they were before this call. Do less at once."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call or a branch ended. answer: in words. structured: they are JSON that fits what was asked for. data:
    what a tool returned, for code that called it."""

    ok: bool
    answer: str
    structured: bool = False
    data: Any = None


Items: TypeAlias = AsyncGenerator[Event | Outcome, None]
"""What a call says on its way, and its outcome."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Carries out the calls of one branch. offered: the tools that code in the sandbox may call.

    What a finished call gave in an earlier life of the run is taken from the recorder, and nothing runs.
    """

    branch: str
    ledger: Ledger
    offered: Toolbox
    recorder: Recorder
    gate: Gate
    workspace: Workspace | None = None

    async def carry_out(
        self,
        toolbox: Toolbox,
        call: ToolCall,
        run: Callable[[Tool, ToolCall, Mapping[str, Any]], Items],
        parent: str = "",
    ) -> Items:
        """Check a call's name and arguments, have it allowed, and let `run` do it. Last come its outcome and its event.

        Raises `Stopped`.
        """
        started, say = time.monotonic(), self.recorder.say
        outcome = Outcome(False, "it ended without an outcome")
        try:
            tool = toolbox.get(call.name)
            arguments = parse_arguments(tool.parameters, call.arguments)
        except ArgumentError as error:
            yield say(CallStarted(self.branch, call, {}, parent))
            outcome = Outcome(False, str(error))
        else:
            consent = await self.gate.consent(self.branch, tool, call, arguments)
            if consent:
                yield consent
            yield say(CallStarted(self.branch, call, arguments, parent))
            if consent and consent.decide != "allow":
                outcome = Outcome(False, refusal(consent))
            else:
                async with aclosing(run(tool, call, arguments)) as items:
                    async for item in items:
                        if isinstance(item, Outcome):
                            outcome = item
                        else:
                            yield item
        yield outcome
        seconds = time.monotonic() - started
        content = await shown(outcome.answer, None if parent else self.workspace)
        yield say(CallFinished(self.branch, call.id, call.name, outcome.ok, content, seconds, parent))

    async def run_tool(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """Run a tool once in the life of a run, however often that is interrupted: take the result that is recorded."""
        recorded = self.recorder.result(self.branch, call.id)
        if recorded:
            within, finished = recorded
            for event in within:
                yield event
            yield Outcome(finished.ok, finished.content)
            return
        if self.recorder.in_doubt(self.branch, call.id) and not tool.repeatable:
            consent = await self.gate.confirm_rerun(self.branch, tool, call, arguments)
            if consent:
                yield consent
            if consent is None or consent.decide != "allow":
                yield Outcome(False, IN_DOUBT)
                return
        async with aclosing(self._run_body(tool, call, arguments)) as items:
            async for item in items:
                yield item

    async def _run_body(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """Run a tool's body in a task of its own; pass on what it says, and what its code calls, meanwhile."""
        loop = asyncio.get_running_loop()
        said: asyncio.Queue[Event | Stopped | None] = asyncio.Queue()
        numbers = itertools.count(1)

        def say(event: Event | Stopped | None) -> None:
            loop.call_soon_threadsafe(said.put_nowait, event)

        def on_output(stream: Literal["stdout", "stderr"], text: str) -> None:
            say(CallOutput(self.branch, call.id, stream, text))

        def on_display(display: Display) -> None:
            say(self.recorder.say(CallDisplay(self.branch, call.id, display.data)))

        async def on_call(name: str, given: dict[str, Any]) -> Any:
            return await self._answer(ToolCall(f"{call.id}.{next(numbers)}", name, json.dumps(given)), call.id, say)

        context = contextvars.copy_context()
        context.run(caller.set, Caller(on_output, on_display, on_call))
        task = loop.create_task(tool.call(arguments), context=context)
        task.add_done_callback(lambda _: say(None))
        try:
            while True:
                event = await self.ledger.in_time(said.get())
                if event is None:
                    break
                if isinstance(event, Stopped):
                    raise event
                yield event
            returned = task.result()
            outcome = Outcome(True, returned.text, data=returned.data)
        except ToolError as error:
            outcome = Outcome(False, str(error))
        except SandboxError:
            if self.workspace is None or not await self.workspace.renew():
                raise
            outcome = Outcome(False, DIED)
        finally:
            task.cancel()
            await asyncio.wait([task])
        if self.workspace and tool.effect != "read":
            outcome = replace(outcome, answer=outcome.answer + self.workspace.told())
            await self.workspace.save()
        yield outcome

    async def _answer(self, call: ToolCall, parent: str, say: Callable[[Event | Stopped], None]) -> Any:
        """Carry out a call of code, whose exception CallFailed becomes. A spent budget ends the run all the same."""
        outcome = Outcome(False, "stopped: the code that called it ended")
        finished = False
        try:
            async with aclosing(self.carry_out(self.offered, call, self.run_tool, parent)) as items:
                async for item in items:
                    if isinstance(item, Outcome):
                        outcome = item
                    else:
                        say(item)
                        finished = isinstance(item, CallFinished)
        except Stopped as stopped:
            say(stopped)  # past the code, which would take it for a failed call
            raise
        finally:
            if not finished:
                ended = CallFinished(self.branch, call.id, call.name, False, outcome.answer, 0.0, parent)
                say(self.recorder.say(ended))
        if not outcome.ok:
            raise CallFailed(outcome.answer)
        return outcome.data
