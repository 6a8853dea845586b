"""What an agent can do: functions and schemas become tools; a call's arguments are checked and mended."""

from __future__ import annotations

from fastslow.tools.arguments import parse_arguments
from fastslow.tools.errors import ArgumentError, ToolDefinitionError, ToolError, ToolTimeout
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome, Status, clip
from fastslow.tools.tool import Caller, Effect, Place, Tool, caller
from fastslow.tools.toolbox import Toolbox
from fastslow.tools.toolset import Toolset

__all__ = [
    "ArgumentError",
    "Caller",
    "Effect",
    "Outcome",
    "Place",
    "Status",
    "Tool",
    "ToolDefinitionError",
    "ToolError",
    "ToolTimeout",
    "Toolbox",
    "Toolset",
    "caller",
    "clip",
    "parse_arguments",
    "tool",
]
