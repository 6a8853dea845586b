"""The `python` tool."""

from __future__ import annotations

from dataclasses import replace

from tools.builtin.report import OpenSession, reported
from tools.function import tool
from tools.tool import Tool, on_output

# A wrong column name is the commonest slip in data code: what exists mends it at once.
COLUMNS = """
for _name, _value in list(globals().items()):
    if not _name.startswith("_") and type(_value).__name__ == "DataFrame":
        print(f"DataFrame {_name} has the columns {list(_value.columns)}")
"""


def python_tool(open_session: OpenSession) -> Tool:
    """Runs code in the session's interpreter, which keeps its variables."""

    @tool(timeout=None)  # the sandbox stops code at its own limit
    async def python(code: str) -> str:
        """Run Python code and see its output. Variables stay defined for the next call.

        Args:
            code: The code to run. Print what you need to know; the value of the last line is shown too.
        """
        session = await open_session()
        before = set(await session.files())
        execution = await session.run(code, on_output=on_output.get())
        if "KeyError" in execution.error:
            columns = await session.run(COLUMNS)
            execution = replace(execution, error=f"{execution.error}\n{columns.stdout}")
        made = [file.path for file in await session.files() if file not in before]
        told = f"Files written: {', '.join(made)}" if made else ""
        if told and execution.status == "ok":
            return f"{reported(execution, '')}\n{told}".strip()
        return reported(execution, "(no output: print what you need)")

    return python
