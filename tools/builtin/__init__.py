"""Tools that come with the framework: code, commands and files in the sandbox of whoever calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from fastslow.sandbox.sandbox import HostFunction
from fastslow.tools.builtin.edit import edit_file
from fastslow.tools.builtin.files import read_file, write_file, write_whole
from fastslow.tools.builtin.listing import list_files
from fastslow.tools.builtin.python import host_functions, python_tool
from fastslow.tools.builtin.search import search
from fastslow.tools.builtin.shell import shell
from fastslow.tools.tool import Tool

BUILTIN = ("python", "shell", "read_file", "write_file", "edit_file", "list_files", "search")

Editing: TypeAlias = Literal["replace", "whole"]
"""How files are changed: by parts, or whole."""


def builtin_tools(
    functions: Sequence[HostFunction] = (), *, networked: bool = False, edit: Editing = "replace"
) -> tuple[Tool, ...]:
    """The tools named in `BUILTIN`, all in the session of their caller (`Caller.open_session`).

    functions: what code may call, too. networked: code may connect somewhere, so that what it did cannot be known.
    edit: `"whole"` leaves `edit_file` out, and lets `write_file` replace a file that nobody has read.
    """
    python, command = python_tool(functions), shell
    if networked:
        python, command = replace(python, repeatable=False), replace(command, repeatable=False)
    changing = (write_file, edit_file) if edit == "replace" else (write_whole,)
    return (python, command, read_file, *changing, list_files, search)


__all__ = ["BUILTIN", "Editing", "builtin_tools", "host_functions"]
