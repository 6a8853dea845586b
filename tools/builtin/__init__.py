"""Tools that come with the framework: code, commands and files in the sandbox of whoever calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastslow.sandbox.sandbox import HostFunction
from fastslow.tools.builtin.files import list_files, read_file, write_file
from fastslow.tools.builtin.python import host_functions, python_tool
from fastslow.tools.builtin.shell import shell
from fastslow.tools.tool import Tool

BUILTIN = ("python", "shell", "read_file", "write_file", "list_files")


def builtin_tools(functions: Sequence[HostFunction] = (), *, networked: bool = False) -> tuple[Tool, ...]:
    """`python`, `shell`, `read_file`, `write_file` and `list_files`, all in the session of their caller
    (`Caller.open_session`).

    functions: what code may call, too. networked: code may connect somewhere, so that what it did cannot be known.
    """
    python, command = python_tool(functions), shell
    if networked:
        python, command = replace(python, repeatable=False), replace(command, repeatable=False)
    return (python, command, read_file, write_file, list_files)


__all__ = ["BUILTIN", "builtin_tools", "host_functions"]
