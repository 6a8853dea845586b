"""What an agent can do: functions and schemas become tools; a call's arguments are checked and mended."""

from __future__ import annotations

from fastslow.tools.arguments import parse_arguments
from fastslow.tools.errors import ArgumentError, ToolDefinitionError, ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Returned, clip
from fastslow.tools.tool import Caller, Effect, Tool, caller
from fastslow.tools.toolbox import Toolbox

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
