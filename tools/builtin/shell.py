"""The `shell` tool."""

from __future__ import annotations

from fastslow.tools.builtin.execution import SECONDS, outcome_of, written
from fastslow.tools.fenced import unfenced_command
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller


@tool(timeout=None, effect="sandbox", place="sandbox")  # the sandbox stops commands at its own limit
async def shell(command: str, seconds: float = SECONDS) -> Outcome:
    """Run a bash command in the working folder and see its output, and its exit code where that is not 0.

    Args:
        command: The command line.
        seconds: How long it may take; more for a build or a long test run.
    """
    listener = caller.get()
    session, limit = await listener.open_session(), listener.limit(seconds)
    before = session.listed
    execution = await session.shell(unfenced_command(command), seconds=limit, on_output=listener.on_output)
    return outcome_of(execution, limit, listener.seconds, await written(session, before))
