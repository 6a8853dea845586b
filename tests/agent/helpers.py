"""Small makers for the loop's tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from fastslow import Event, Journal
from fastslow.agent.engine.scripted import SCRIPTED
from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.transcript import ToolCall
from fastslow.tools import tool

_numbers = count(1)
WEAK = replace(SCRIPTED, name="weak", strategy="guided")


def says(content: str, **fields: Any) -> Reply:
    return Reply(content, usage=Usage(prompt=10, cached=5, answer=3, seconds=0.5), **fields)


def calls(*wanted: tuple[str, dict[str, Any]], **fields: Any) -> Reply:
    made = tuple(ToolCall(f"call-{next(_numbers)}", name, json.dumps(arguments)) for name, arguments in wanted)
    return Reply(calls=made, usage=Usage(prompt=10, answer=5), **fields)


def plan(*steps: str | dict[str, Any], goal: str = "the goal") -> Reply:
    listed = [step if isinstance(step, dict) else {"do": step} for step in steps]
    return calls(("plan", {"goal": goal, "steps": listed}))


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@tool(effect="read")
def fail(why: str) -> str:
    """Fail always.

    Args:
        why: What to say.
    """
    raise RuntimeError(why)


class Dies(Journal):
    """Loses power right before it would write down an event of a kind."""

    def __init__(self, path: Path, kind: type[Event]) -> None:
        super().__init__(path)
        self.kind = kind

    def writer(self, run: str, inputs: Sequence[Path] = ()) -> Callable[[Event], None]:
        write = super().writer(run, inputs)

        def written(event: Event) -> None:
            if isinstance(event, self.kind):
                raise SystemError
            write(event)

        return written
