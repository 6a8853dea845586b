"""What an agent can do: functions and schemas become tools; a call's arguments are checked and mended."""

from __future__ import annotations

from tools.arguments import parse_arguments
from tools.errors import ArgumentError, ToolDefinitionError, ToolError
from tools.function import tool
from tools.result import Returned, clip
from tools.tool import Caller, Effect, Tool, caller
from tools.toolbox import Toolbox

__all__ = [
    "ArgumentError",
    "Caller",
    "Effect",
    "Returned",
    "Tool",
    "ToolDefinitionError",
    "ToolError",
    "Toolbox",
    "caller",
    "clip",
    "parse_arguments",
    "tool",
]
