"""From a call to its result: the one way to a tool's body, for the model's calls and for those of code that runs."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from fastslow.agent.budget import Ledger
from fastslow.agent.child import Parent, parent
from fastslow.agent.events import CallDisplay, CallFinished, CallOutput, CallStarted, Event
from fastslow.agent.gate import Stopped, refusal
from fastslow.agent.run import Run
from fastslow.agent.transcript import ToolCall
from fastslow.agent.workspace import shown
from fastslow.sandbox import CallFailed, Display, SandboxError
from fastslow.tools import ArgumentError, Caller, Outcome, Tool, Toolbox, ToolError, caller, parse_arguments
from fastslow.tools.tool import no_session

IN_DOUBT = (
    "This call was started, and then the run was interrupted: nobody knows whether it took effect. It was not run "
    "again. Find out whether it did before you repeat it."
)
DIED = (
    "The sandbox ended while this ran: it was killed, or took more memory than there is. It was started again, and "
    "files and variables are as they were before this call. Do less at once."
)

Items: TypeAlias = AsyncGenerator[Event | Outcome, None]
"""What a call says on its way, and its outcome."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Carries out the calls of one branch. ledger: of the branch.

    What a finished call gave in an earlier life of the run is taken from the recorder, and nothing runs.
    """

    run: Run
    branch: str
    ledger: Ledger

    async def carry_out(
        self,
        toolbox: Toolbox,
        call: ToolCall,
        body: Callable[[Tool, ToolCall, Mapping[str, Any]], Items],
        parent: str = "",
    ) -> Items:
        """Check a call's name and arguments, have it allowed, and let `body` do it. Last come its outcome and its
        event. Raises `Stopped`.
        """
        started, say = time.monotonic(), self.run.recorder.say
        outcome = Outcome("it ended without an outcome", "error")
        tool: Tool | None = None
        try:
            tool = toolbox.get(call.name)
            arguments = parse_arguments(tool.parameters, call.arguments)
        except ArgumentError as error:
            yield say(CallStarted(self.branch, call, {}, parent))
            outcome = Outcome(str(error), "refused")
        else:
            consent = await self.run.gate.consent(self.branch, tool, call, arguments)
            if consent:
                yield consent
            yield say(CallStarted(self.branch, call, arguments, parent))
            if consent and consent.decide != "allow":
                outcome = Outcome(refusal(consent), "denied")
            else:
                async with aclosing(body(tool, call, arguments)) as items:
                    async for item in items:
                        if isinstance(item, Outcome):
                            outcome = item
                        else:
                            yield item
        yield outcome
        if tool and tool.effect != "read" and outcome.status not in ("refused", "denied"):
            self.run.changes += 1
            self.run.made |= frozenset(outcome.written)
        yield say(await self._finished(call, outcome, time.monotonic() - started, parent))

    async def _finished(self, call: ToolCall, outcome: Outcome, seconds: float, parent: str) -> CallFinished:
        content = await shown(outcome.text, None if parent else self.run.workspace)
        how = (outcome.exit_code, outcome.silent, outcome.variables, outcome.written)
        return CallFinished(self.branch, call.id, call.name, outcome.status, content, seconds, parent, *how)

    def run_tool(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """Run a tool once in the life of a run, however often that is interrupted: take the result that is recorded."""
        recorder = self.run.recorder
        if recorded := recorder.result(self.branch, call.id):
            for reply in self.run.spent_within(call.id) if self.run.spent_within else ():
                self.ledger.add(reply.mode, reply.reply)
            return _told_again(*recorded)
        if recorder.in_doubt(self.branch, call.id) and not tool.repeatable:
            return self._run_if_confirmed(tool, call, arguments)
        return self._run_body(tool, call, arguments)

    async def _run_if_confirmed(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        consent = await self.run.gate.confirm_rerun(self.branch, tool, call, arguments)
        if consent:
            yield consent
        if consent is None or consent.decide != "allow":
            yield Outcome(IN_DOUBT, "in_doubt")
            return
        async with aclosing(self._run_body(tool, call, arguments)) as items:
            async for item in items:
                yield item

    async def _run_body(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """Run a tool's body in a task of its own; pass on what it says, and what its code calls, meanwhile."""
        loop, workspace = asyncio.get_running_loop(), self.run.workspace
        said: asyncio.Queue[Event | Stopped | None] = asyncio.Queue()

        def say(event: Event | Stopped | None) -> None:
            loop.call_soon_threadsafe(said.put_nowait, event)

        context = contextvars.copy_context()
        context.run(caller.set, self._caller(call, say))
        context.run(parent.set, Parent(self.run.id, call.id, self.ledger, self.run.gate.ask, self.run.recorder.keeps))
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
            outcome = task.result()
        except ToolError as error:
            outcome = Outcome(str(error), error.status)
        except SandboxError:
            if workspace is None or not await workspace.renew():
                raise
            outcome = Outcome(DIED, "died", variables="restored")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if workspace and tool.effect != "read":
            if workspace.record:
                await self.ledger.in_time(workspace.save())
            outcome = replace(outcome, text=outcome.text + workspace.told())
        yield outcome

    def _caller(self, call: ToolCall, say: Callable[[Event | Stopped], None]) -> Caller:
        """What a tool's body may ask and tell while it runs."""
        numbers, workspace = itertools.count(1), self.run.workspace

        def on_output(stream: Literal["stdout", "stderr"], text: str) -> None:
            say(CallOutput(self.branch, call.id, stream, text))

        def on_display(display: Display) -> None:
            say(self.run.recorder.say(CallDisplay(self.branch, call.id, display.data)))

        async def on_call(name: str, given: dict[str, Any]) -> Any:
            return await self._answer(ToolCall(f"{call.id}.{next(numbers)}", name, json.dumps(given)), call.id, say)

        open_session = workspace.session if workspace else no_session
        seconds = workspace.limits.seconds if workspace else Caller().seconds
        return Caller(open_session, seconds, on_output, on_display, on_call)

    async def _answer(self, call: ToolCall, parent: str, say: Callable[[Event | Stopped], None]) -> Any:
        """Carry out a call of code, whose exception CallFailed becomes. A spent budget ends the run all the same."""
        outcome = Outcome("stopped: the code that called it ended", "error")
        finished = False
        try:
            async with aclosing(self.carry_out(self.run.functions, call, self.run_tool, parent)) as items:
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
                ended = CallFinished(self.branch, call.id, call.name, outcome.status, outcome.text, 0.0, parent)
                say(self.run.recorder.say(ended))
        if not outcome.ok:
            raise CallFailed(outcome.text)
        return outcome.data


async def _told_again(within: Sequence[Event], finished: CallFinished) -> Items:
    """What a call said that finished in an earlier life of the run."""
    for event in within:
        yield event
    how = (finished.exit_code, finished.silent, finished.variables, finished.written)
    yield Outcome(finished.content, finished.status, None, *how)
