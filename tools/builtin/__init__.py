"""Tools that come with the framework: code, commands and files in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastslow.tools.builtin.files import file_tools
from fastslow.tools.builtin.python import python_tool
from fastslow.tools.builtin.report import OpenSession, was_undone
from fastslow.tools.builtin.shell import shell_tool
from fastslow.tools.tool import Tool


def sandbox_tools(
    open_session: OpenSession, functions: Sequence[Tool] = (), *, networked: bool = False
) -> tuple[Tool, ...]:
    """`python`, `shell`, `read_file`, `write_file` and `list_files`, all in one session.

    open_session: called at each use; gives the same session every time, and starts it at the first.
    functions: tools that code may call, too. networked: code may connect somewhere.
    With either, running code has an effect that is not said (`Tool.effect`).
    """
    python, shell = python_tool(open_session, functions), shell_tool(open_session)
    if networked:
        python, shell = replace(python, effect=None), replace(shell, effect=None)
    elif functions:
        python = replace(python, effect=None)
    return (python, shell, *file_tools(open_session))


__all__ = ["OpenSession", "sandbox_tools", "was_undone"]
