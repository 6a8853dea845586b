"""The agent of one step of a flow: like the flow's own, with what the step asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastslow.agent.agent import Agent
from fastslow.agent.output import Form
from fastslow.agent.tree.tree import Tree
from fastslow.tools import Tool, Toolset


def asked_agent(
    base: Agent,
    tools: tuple[Tool | Toolset | Callable[..., Any], ...],
    builtin: tuple[str, ...],
    files: Sequence[Path],
    check: str,
    tree: Tree | None,
) -> Agent:
    """It has a sandbox where something of it would be used."""
    sandbox = base.sandbox if builtin or files or check or tree else None
    return Agent(
        engine=base.engine,
        tools=(*base.tools.tools, *base.toolsets, *tools),
        builtin=builtin,
        sandbox=sandbox,
        think=base.think,
        policy=base.policy,
        strategy=base.strategy,
        budget=base.budget,
        instructions=base.instructions,
        system=base.system,
        journal=base.journal,
        approval=base.approval,
        ask=base.ask,
    )


def form_of(output: Any) -> Form | None:
    return None if output is None else Form.of(output)


def told_tool(tool: Tool | Toolset) -> Any:
    """What of a tool goes into the key of a step."""
    if isinstance(tool, Tool):
        return [tool.name, tool.description, tool.parameters]
    return type(tool).__qualname__
