"""The `python` tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastslow.sandbox.sandbox import HostFunction, Session
from fastslow.sandbox.stubs import signature
from fastslow.tools.builtin.report import OpenSession, reported, written
from fastslow.tools.function import tool
from fastslow.tools.tool import Tool, caller

SILENT = "(no output: print what you need)"
# A wrong column name is the commonest slip in data code: what exists mends it at once.
COLUMNS = """
for _name, _value in list(globals().items()):
    if not _name.startswith("_") and type(_value).__name__ == "DataFrame":
        print(f"DataFrame {_name} has the columns {list(_value.columns)}")
"""


def python_tool(open_session: OpenSession, functions: Sequence[Tool] = ()) -> Tool:
    """Runs code in the session's interpreter, which keeps its variables.

    functions: tools that code may call as `tools.<name>(…)`; those whose names Python cannot spell are left out.
    Calls are answered by the caller's `on_call`.
    """
    offered = [HostFunction(one.name, one.description, one.parameters) for one in functions if _spelled(one)]
    told_to: list[Session] = []

    async def opened() -> Session:
        session = await open_session()
        if offered and session not in told_to:
            await session.offer(offered)
            told_to.append(session)
        return session

    @tool(timeout=None, effect="sandbox")  # the sandbox stops code at its own limit
    async def python(code: str) -> str:
        """Run Python code and see its output. Variables stay defined for the next call.

        Args:
            code: The code to run. Print what you need to know; the value of the last line is shown too.
        """
        session, listener = await opened(), caller.get()
        before = await session.files()
        execution = await session.run(
            code, on_output=listener.on_output, on_display=listener.on_display, on_call=listener.on_call
        )
        if "KeyError" in execution.error:
            columns = await session.run(COLUMNS)
            execution = replace(execution, error=f"{execution.error}\n{columns.stdout}")
        told = await written(session, before)
        if told and execution.status == "ok":
            return f"{reported(execution, '')}\n{told}".strip()
        return reported(execution, SILENT)

    if not offered:
        return python
    heads = "; ".join(f"tools.{signature(function)}" for function in offered)
    told = f"Code may call these functions, in loops too, and use what they return: {heads}."
    return replace(python, description=f"{python.description} {told} Several at once: await tools.aio.<name>(…).")


def _spelled(function: Tool) -> bool:
    try:
        signature(HostFunction(function.name, function.description, function.parameters))
    except ValueError:
        return False
    return True
