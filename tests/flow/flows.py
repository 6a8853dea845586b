"""Flows for tests: a script is written to a folder and carried out beside a scripted model."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastslow import Agent, Budget, Journal, ScriptedModel
from fastslow.agent.engine.types import Reply, Request, Usage
from fastslow.agent.flow.course import FlowEnd, carry_out, job_key, told_again
from fastslow.agent.flow.memory import answer
from fastslow.agent.flow.parameters import values_of, words_of
from fastslow.agent.flow.progress import FlowEvent
from fastslow.agent.flow.script import loaded
from fastslow.agent.flow.workflow import Setting
from fastslow.agent.record.jobs import Jobs, StepInfo

__all__ = ["FlowEvent", "Flows", "Jobs", "Journal", "StepInfo", "echo"]

Model = Callable[[Request], Reply]


def echo(request: Request) -> Reply:
    """Says what it was asked."""
    return Reply(f"<{request.messages[-1].content}>", usage=Usage(prompt=10, answer=5))


@dataclass
class Flows:
    """One script in a folder, and what came of carrying it out."""

    folder: Path
    model: Model = echo
    budget: Budget = field(default_factory=lambda: Budget(turns=None))
    said: list[FlowEvent] = field(default_factory=list)
    asked: int = 0  # calls of the model

    @property
    def script(self) -> Path:
        return self.folder / "flow.py"

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "runs.db")

    def write(self, text: str) -> None:
        self.script.write_text("from __future__ import annotations\n" + textwrap.dedent(text))

    def effects(self) -> list[str]:
        file = self.folder / "effects"
        return file.read_text().split() if file.exists() else []

    async def run(self, *words: str, **options: Any) -> FlowEnd:
        """Carry it out, or on, as another process would."""
        self.said.clear()
        journal = self.journal
        model = ScriptedModel([self.model] * 100)
        agent = Agent(engine=model, sandbox=options.pop("sandbox", None), journal=journal, **options)
        try:
            with loaded(self.script) as script:
                given = words_of(script.parameters, words)
                values = values_of(script.parameters, given, self.folder)
                key = job_key(script.path, given, self.folder)
                known = Jobs(journal).keyed("flow", key)
                if known and (end := told_again(Jobs(journal), known, values, {})):
                    return end
                with Jobs(journal).open("flow", "flow.py", key, {}) as job:
                    setting = Setting(agent, self.budget, self.folder / "out")
                    return await carry_out(script, values, job, setting, {}, self.said.append)
        finally:
            self.asked = len(model.requests)
            journal.close()

    def answer(self, choice: str, number: int | None = None, value: Any = None) -> None:
        journal = self.journal
        [info] = Jobs(journal).all()
        with Jobs(journal).open("flow", "flow.py", info.key.partition("/")[2], {}) as job:
            answer(job, number, choice, value)
        journal.close()
