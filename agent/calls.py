"""From a call to its result: the one way to a tool's body, for the model's calls and for those of code that runs."""

from __future__ import annotations

import asyncio
import contextvars
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from fastslow.agent.budget import Ledger
from fastslow.agent.child import Parent, parent
from fastslow.agent.errors import AgentError
from fastslow.agent.events import CallDisplay, CallFinished, CallOutput, CallStarted, Event
from fastslow.agent.gate import Stopped, refusal
from fastslow.agent.run import Run
from fastslow.agent.transcript import ToolCall
from fastslow.agent.workspace import Workspace, shown
from fastslow.sandbox import CallFailed, Display, SandboxError, Session
from fastslow.tools import ArgumentError, Caller, Outcome, Tool, Toolbox, ToolError, caller, parse_arguments
from fastslow.tools.foreign import described, text_of
from fastslow.tools.tool import no_session

IN_DOUBT = (
    "This call was started, and then the run was interrupted: nobody knows whether it took effect. It was not run "
    "again. Find out whether it did before you repeat it."
)
DIED = (
    "The sandbox ended while this ran: it was killed, or took more memory than there is. It was started again, and "
    "files and variables are as they were before this call. Do less at once."
)
CUT_SHORT = "stopped: the code that called it ended"

Items: TypeAlias = AsyncGenerator[Event | Outcome, None]
"""What a call says on its way, and its outcome."""
Say: TypeAlias = Callable[[Event | Stopped | AgentError], None]
"""Takes what a running call says, and what ends the run in its midst."""


def needs(toolbox: Toolbox, calls: Sequence[ToolCall]) -> dict[int, list[int]]:
    """For which of the earlier calls of a turn each one waits. What changes the sandbox keeps its place among all that
    is done there: a second edit of a file stands on the first, and the test behind an edit is to see it."""
    waits: dict[int, list[int]] = {}
    inside: list[int] = []
    changing: list[int] = []
    for number, call in enumerate(calls):
        tool = toolbox.get(call.name) if call.name in toolbox else None
        if tool is None or tool.place != "sandbox":
            waits[number] = []
        elif tool.effect == "read":
            waits[number] = list(changing)
            inside.append(number)
        else:
            waits[number] = list(inside)
            inside.append(number)
            changing.append(number)
    return waits


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
        """Check a call's name and arguments, have it allowed, and let `body` do it with what its tool receives. Last
        come its outcome and its event. Raises `Stopped`, AskFailed.
        """
        started, say = time.monotonic(), self.run.recorder.say
        outcome = Outcome("it ended without an outcome", "error")
        tool: Tool | None = None
        try:
            tool = toolbox.get(call.name)
            arguments = parse_arguments(tool.parameters, call.arguments, tool.rewrite)
            received = tool.receive(arguments)
            consent = await self.run.gate.consent(self.branch, tool, call, received)
        except ArgumentError as error:
            yield say(CallStarted(self.branch, call, {}, parent))
            outcome = Outcome(str(error), "refused")
        else:
            if consent:
                yield consent
            yield say(CallStarted(self.branch, call, arguments, parent))
            if consent and consent.decide != "allow":
                doubtful = not tool.repeatable and self.run.recorder.in_doubt(self.branch, call.id)
                outcome = Outcome(IN_DOUBT, "in_doubt") if doubtful else Outcome(refusal(consent), "denied")
            else:
                async with aclosing(body(tool, call, received)) as items:
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
        content = await shown(outcome.text, None if parent else self.run.workspace, outcome.limit)
        how = (outcome.exit_code, outcome.silent, outcome.variables, outcome.written)
        data = ""
        if parent and outcome.ok:
            data = self.run.recorder.kept(self.branch, parent, outcome.text, outcome.data)
        return CallFinished(self.branch, call.id, call.name, outcome.status, content, seconds, parent, *how, data)

    def run_tool(self, tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> Items:
        """Run a tool once in the life of a run, however often that is interrupted: take the result that is recorded."""
        recorder = self.run.recorder
        if recorded := recorder.result(self.branch, call.id):
            for reply in self.run.spent_within(call.id) if self.run.spent_within else ():
                self.ledger.add(reply.mode, reply.reply)
            if recorded[1].ok:
                self.run.seen.recall(tool.name, received, recorded[1].written)
            return _told_again(*recorded)
        if not tool.repeatable and recorder.in_doubt(self.branch, call.id):
            return self._run_if_confirmed(tool, call, received)
        return self._run_body(tool, call, received)

    async def _run_if_confirmed(self, tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> Items:
        consent = await self.run.gate.confirm_rerun(self.branch, tool, call, received)
        if consent:
            yield consent
        if consent is None or consent.decide != "allow":
            yield Outcome(IN_DOUBT, "in_doubt")
            return
        async with aclosing(self._run_body(tool, call, received)) as items:
            async for item in items:
                yield item

    async def _run_body(self, tool: Tool, call: ToolCall, received: Mapping[str, Any]) -> Items:
        """Run a tool's body in a task of its own; pass on what it says, and what its code calls, meanwhile."""
        loop, workspace = asyncio.get_running_loop(), self.run.workspace
        said: asyncio.Queue[Event | Stopped | AgentError | None] = asyncio.Queue()

        def say(event: Event | Stopped | AgentError) -> None:
            loop.call_soon_threadsafe(said.put_nowait, event)

        context, used = contextvars.copy_context(), list[str]()
        context.run(caller.set, self._caller(call, say, used))
        gate, keeps = self.run.gate, self.run.recorder.keeps
        up = Parent(self.run.id, call.id, self.ledger, gate.ask, keeps, stop=lambda why: say(Stopped(why)))
        context.run(parent.set, up)
        task = loop.create_task(tool.run_body(received), context=context)
        task.add_done_callback(lambda _: said.put_nowait(None))
        try:
            while True:
                event = await self.ledger.in_time(said.get())
                if event is None:
                    break
                if isinstance(event, Exception):
                    raise event
                yield event
            outcome = task.result()
        except ToolError as error:
            outcome = Outcome(text_of(error), error.status)
        except SandboxError as error:
            outcome = await _after_death(workspace if used else None, tool, error)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        told = ""
        if workspace and tool.effect != "read":
            if workspace.record:
                await self.ledger.in_time(workspace.save())
            told = workspace.told()
        if self.run.project and tool.place == "sandbox":
            told += self.run.instructions_at(self.run.project, received.get("path"))
        yield replace(outcome, text=outcome.text + told) if told else outcome

    def _caller(self, call: ToolCall, say: Say, used: list[str]) -> Caller:
        """What a tool's body may ask and tell while it runs. used: gets what it used of the run's."""
        workspace, recorder = self.run.workspace, self.run.recorder

        async def open_session() -> Session:
            if workspace is None:
                return await no_session()
            used.append("session")
            return await workspace.session()

        def on_output(stream: Literal["stdout", "stderr"], text: str) -> None:
            say(CallOutput(self.branch, call.id, stream, text))

        def on_display(display: Display) -> None:
            say(recorder.say(CallDisplay(self.branch, call.id, display.data)))

        async def on_call(name: str, given: dict[str, Any]) -> Any:
            text = json.dumps(given)
            call_id = recorder.id_of_code(self.branch, call.id, name, text)
            return await self._answer(ToolCall(call_id, name, text), call.id, say)

        seconds = workspace.limits.seconds if workspace else Caller().seconds
        return Caller(open_session, seconds, on_output, on_display, on_call, self.run.seen)

    async def _answer(self, call: ToolCall, parent: str, say: Say) -> Any:
        """Carry out a call of code, whose exception CallFailed becomes. What ends the run does so all the same."""
        outcome, under_way = Outcome(CUT_SHORT, "in_doubt"), False
        try:
            async with aclosing(self.carry_out(self.run.functions, call, self.run_tool, parent)) as items:
                async for item in items:
                    if isinstance(item, Outcome):
                        outcome = item
                    else:
                        say(item)
                        under_way = not isinstance(item, CallFinished) and (under_way or isinstance(item, CallStarted))
        except (Stopped, AgentError) as over:
            say(over)  # past the code, which would take it for a failed call
            raise
        finally:
            if under_way:
                say(self.run.recorder.say(await self._finished(call, outcome, 0.0, parent)))
        if not outcome.ok:
            raise CallFailed(outcome.text)
        return outcome.data


async def _after_death(workspace: Workspace | None, tool: Tool, error: SandboxError) -> Outcome:
    """What a call gave whose sandbox failed. workspace: the run's, None for a sandbox of the tool's own."""
    if workspace is None:
        return Outcome(f"{tool.name} failed: {described(error)}", "error")
    if not await workspace.renew():
        raise error
    return Outcome(DIED, "died", variables="restored")


async def _told_again(within: Sequence[Event], finished: CallFinished) -> Items:
    """What a call said that finished in an earlier life of the run."""
    for event in within:
        yield event
    how = (finished.exit_code, finished.silent, finished.variables, finished.written)
    data = json.loads(finished.data) if finished.data else None
    yield Outcome(finished.content, finished.status, data, *how, limit=len(finished.content))
