"""The `python` tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastslow.sandbox.sandbox import HostFunction
from fastslow.sandbox.stubs import signature
from fastslow.tools.builtin.execution import SECONDS, outcome_of, written
from fastslow.tools.fenced import unfenced_python
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import Tool, caller


@tool(timeout=None, effect="sandbox", place="sandbox")  # the sandbox stops code at its own limit
async def python(code: str, seconds: float = SECONDS) -> Outcome:
    """Run Python code and see its output. Variables stay defined for the next call.

    Args:
        code: The code to run. Print what you need to know; the value of the last line is shown too.
        seconds: How long it may take; more for code that runs long.
    """
    listener = caller.get()
    session, limit = await listener.open_session(), listener.limit(seconds)
    before = session.listed
    execution = await session.run(
        unfenced_python(code),
        seconds=limit,
        on_output=listener.on_output,
        on_display=listener.on_display,
        on_call=listener.on_call,
    )
    return outcome_of(execution, limit, listener.seconds, await written(session, before))


def host_functions(tools: Sequence[Tool]) -> tuple[HostFunction, ...]:
    """Tools that code may call as `tools.<name>(…)`; those whose names Python cannot spell are left out."""
    offered = [HostFunction(one.name, one.description, one.parameters) for one in tools]
    return tuple(function for function in offered if _is_spelled(function))


def python_tool(functions: Sequence[HostFunction] = ()) -> Tool:
    """Runs code in the caller's session, which keeps its variables. functions: the model is told that code may call
    them; a call that a crash left in doubt is then not made again by itself."""
    if not functions:
        return python
    heads = "; ".join(f"tools.{signature(function)}" for function in functions)
    told = f"Code may call these functions, in loops too, and use what they return: {heads}."
    description = f"{python.description} {told} Several at once: await tools.aio.<name>(…)."
    return replace(python, description=description, repeatable=False)


def _is_spelled(function: HostFunction) -> bool:
    try:
        signature(function)
    except ValueError:
        return False
    return True
