"""Everything that this room raises.

ToolError
├── ToolDefinitionError   (TypeError) a function cannot become a tool; says what is missing, and where
├── ToolTimeout           (TimeoutError) a call took longer than its tool may
└── ArgumentError         (ValueError) a call's arguments do not fit; the text is written for the model
"""

from __future__ import annotations

from typing import Literal


class ToolError(Exception):
    """Base. Raise it in a tool's body to tell the model, in one sentence, what went wrong and what to do."""

    status: Literal["error", "timeout"] = "error"


class ToolDefinitionError(ToolError, TypeError):
    """A function that cannot become a tool."""


class ToolTimeout(ToolError, TimeoutError):
    """A call that took longer than its tool's `timeout`."""

    status = "timeout"


class ArgumentError(ToolError, ValueError):
    """Arguments that do not fit the schema: field path, expected, got, and one valid example."""
