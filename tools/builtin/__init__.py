"""Tools that come with the framework: code, commands and files in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from tools.builtin.files import file_tools
from tools.builtin.python import python_tool
from tools.builtin.report import OpenSession
from tools.builtin.shell import shell_tool
from tools.tool import Tool


def sandbox_tools(open_session: OpenSession, functions: Sequence[Tool] = ()) -> tuple[Tool, ...]:
    """`python`, `shell`, `read_file`, `write_file` and `list_files`, all in one session.

    open_session: called at each use; gives the same session every time, and starts it at the first.
    functions: tools that code may call, too.
    """
    return (python_tool(open_session, functions), shell_tool(open_session), *file_tools(open_session))


__all__ = ["OpenSession", "sandbox_tools"]
