"""Everything that this room raises.

ToolError
├── ToolDefinitionError   (TypeError) a function cannot become a tool; says what is missing, and where
└── ArgumentError         (ValueError) a call's arguments do not fit; the text is written for the model
"""

from __future__ import annotations


class ToolError(Exception):
    """Base. Raise it in a tool's body to tell the model, in one sentence, what went wrong and what to do."""


class ToolDefinitionError(ToolError, TypeError):
    """A function that cannot become a tool."""


class ArgumentError(ToolError, ValueError):
    """Arguments that do not fit the schema: field path, expected, got, and one valid example."""
