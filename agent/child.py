"""An agent as another one's tool: its run is a child of the other's, in the journal and in what it spends."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastslow.agent.approval import Ask
from fastslow.agent.budget import Ledger
from fastslow.agent.events import CallStarted, Exit, Result, RunFinished
from fastslow.agent.options import RunOptions
from fastslow.agent.output import Form
from fastslow.agent.record.journal import child_key
from fastslow.tools import Outcome, Tool, ToolError, caller
from fastslow.tools.result import as_data

if TYPE_CHECKING:
    from fastslow.agent.agent import Agent


@dataclass(frozen=True, slots=True)
class Parent:
    """The call within which a run is carried out. run, call: its ids. ledger: what its spending counts in, too. kept:
    the run of the call is in a journal. stop: ends the run of the call, which stopped at a question within this one."""

    run: str
    call: str
    ledger: Ledger
    ask: Ask | None
    kept: bool
    stop: Callable[[str], None] | None = None


parent: ContextVar[Parent | None] = ContextVar("parent", default=None)
"""Set where a tool's body runs."""


def agent_tool(agent: Agent, name: str, description: str, output: Any) -> Tool:
    """See `Agent.as_tool`. ConfigurationError for an output that cannot be asked for."""
    if output is not None:
        Form.of(output)

    async def carry_out(task: str) -> Outcome:
        up, on_output = parent.get(), caller.get().on_output
        options = RunOptions(output=output)
        if up:
            key = child_key(up.run, up.call) if up.kept and agent.journal else ""
            options = RunOptions(output=output, ask=up.ask, key=key)
        result: Result | None = None
        async for event in agent.stream_within(task, options, up):
            if isinstance(event, CallStarted) and on_output:
                on_output("stdout", f"{name}: {event.call.name}\n")
            if isinstance(event, RunFinished):
                result = event.result
        if result and result.exit is Exit.STOPPED and up and up.stop:
            up.stop(result.reason)  # its caller stops with it, and asks again when it is resumed
        if result is None or result.exit is not Exit.ANSWERED:
            raise ToolError(f"{name} came to no answer: {result.reason if result else 'it ended early'}")
        return Outcome(result.answer, data=as_data(result.answer if output is None else result.output))

    parameters = {
        "type": "object",
        "properties": {"task": {"type": "string", "description": "What to do, with all that must be known for it."}},
        "required": ["task"],
        "additionalProperties": False,
    }
    # Its run is found again by its key, so a call that a crash left in doubt goes on where it was.
    return Tool.from_schema(name, description, parameters, carry_out, timeout=None, effect="sandbox")
