"""The `shell` tool."""

from __future__ import annotations

from fastslow.tools.builtin.report import OpenSession, reported, written
from fastslow.tools.function import tool
from fastslow.tools.tool import Tool, caller


def shell_tool(open_session: OpenSession) -> Tool:
    """Runs a command in the session's workspace."""

    @tool(timeout=None, effect="sandbox")  # the sandbox stops commands at its own limit
    async def shell(command: str) -> str:
        """Run a bash command in the working folder and see its output.

        Args:
            command: The command line.
        """
        session = await open_session()
        before = await session.files()
        execution = await session.shell(command, on_output=caller.get().on_output)
        told = reported(execution, "(no output)")
        return f"{told}\n{await written(session, before)}".strip()

    return shell
