"""What all branches of one run share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import BaseModel

from fastslow.agent.budget import Ledger
from fastslow.agent.engine.types import Engine
from fastslow.agent.gate import Gate
from fastslow.agent.modes import ModePolicy
from fastslow.agent.plan import Plan
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.workspace import Workspace
from fastslow.tools import Tool, Toolbox

_FILE = re.compile(r"\b[\w-]+\.(?:csv|html|json|md|parquet|pdf|png|svg|txt|xlsx)\b")


def file_names(text: str) -> set[str]:
    """Files of data, pictures or text that a text names."""
    return set(_FILE.findall(text))


@dataclass(slots=True)
class Run:
    """What all branches of one run share. offered: the tools that code in the sandbox may call. unmade: files that the
    task names and no call has told of."""

    task: str
    files: tuple[str, ...]
    engine: Engine
    toolbox: Toolbox
    policy: ModePolicy
    ledger: Ledger
    answer_tool: Tool
    offered: Toolbox
    recorder: Recorder = field(default_factory=Recorder)
    gate: Gate = field(default_factory=Gate)
    workspace: Workspace | None = None
    output: type[BaseModel] | None = None
    plan: Plan | None = None
    turns: int = 0
    repairs: int = 0
    confidence: float | None = None
    unmade: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.unmade = file_names(self.task) - set(self.files) if self.workspace else set()
