"""A set of tools with unique names in a stable order: the tools stand at the head of every prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from fastslow.tools.errors import ArgumentError, ToolDefinitionError
from fastslow.tools.function import tool as make_tool
from fastslow.tools.tool import Tool


class Toolbox:
    """The tools of a run. `tools` holds them in the order in which they were given.

    Functions become tools as by `@tool`. Raises ToolDefinitionError for two tools of one name.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self.tools = tuple([item if isinstance(item, Tool) else make_tool(item) for item in tools])
        self._by_name: dict[str, Tool] = {}
        for item in self.tools:
            if item.name in self._by_name:
                raise ToolDefinitionError(f"two tools are named {item.name!r}; rename one: @tool(name=...)")
            self._by_name[item.name] = item

    def get(self, name: str) -> Tool:
        """The tool of that name; ArgumentError, written for the model, where there is none."""
        if name in self._by_name:
            return self._by_name[name]
        near = get_close_matches(name[:64], self._by_name, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        names = ", ".join(self._by_name) or "(none)"
        raise ArgumentError(f"There is no tool named {name[:64]!r}.{hint} The tools are: {names}.")

    def __len__(self) -> int:
        return len(self.tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name
