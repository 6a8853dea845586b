"""A run from its first event to its result: whatever ends it, the last event says why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastslow.agent.budget import BudgetSpent, StepSpent
from fastslow.agent.errors import AgentError, EngineError, ToolsetFailed
from fastslow.agent.events import Event, Exit, NetworkUsed, Notice, Result, StepFinished
from fastslow.agent.gate import Stopped
from fastslow.agent.loop import Branch
from fastslow.agent.workspace import Workspace
from fastslow.sandbox import SandboxError
from fastslow.tools import ToolDefinitionError


@dataclass(slots=True)
class Life:
    """One run while it goes on. said: everything so far. cancelled: what ended it, to be raised once all is told."""

    trunk: Branch
    said: list[Event] = field(default_factory=list)
    exit: Exit = Exit.FAILED
    reason: str = ""
    made: tuple[Path, ...] = ()
    cancelled: asyncio.CancelledError | None = None

    @contextmanager
    def until_its_end(self) -> Iterator[None]:
        """What ends the run within this is kept, and raised no further."""
        try:
            yield
            self._judge()
        except (BudgetSpent, StepSpent) as over:
            self.exit, self.reason = Exit.BUDGET, str(over)
        except Stopped as over:
            self.exit, self.reason = Exit.STOPPED, str(over)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():
                self.exit, self.reason, self.cancelled = Exit.CANCELLED, "cancelled by the user", error
            else:  # nobody cancelled the run
                self.exit, self.reason = Exit.FAILED, "something that the run waited for was cancelled"
        except EngineError as error:
            self.exit, self.reason = Exit.SERVER, str(error)
        except SandboxError as error:
            self.exit, self.reason = Exit.SANDBOX, str(error)
        except (AgentError, ToolDefinitionError) as error:  # the latter: two tools of one name
            self.exit, self.reason = Exit.FAILED, str(error)

    def connection(self, workspace: Workspace) -> NetworkUsed:
        """The next one of the run's code that came to an end."""
        used = NetworkUsed(workspace.egress.popleft())
        self.said.append(used)
        return used

    async def collect(self, workspace: Workspace, folder: Path, below: str) -> Sequence[Notice]:
        """Bring the files out that the run made, and say what became of single ones. Where none come, the reason says
        so."""
        recorder = self.trunk.run.recorder
        if recorder.replaying:
            return recorder.untold()
        try:
            brought = await workspace.collect(folder, below)
        except (SandboxError, OSError, ValueError) as error:
            self.reason = f"{self.reason}. Files could not be brought out: {error}".lstrip(". ")
            return ()
        self.made = brought.files
        return list(map(Notice, brought.told))

    async def close(self, toolsets: AsyncExitStack) -> None:
        """Close what the run opened; where that fails, the reason says so."""
        try:
            await toolsets.aclose()
        except ToolsetFailed as error:
            self.reason = f"{self.reason}. {error}"

    def result(self, seconds: float) -> Result:
        """What the run leaves."""
        run, done = self.trunk.run, self.trunk.done
        answer = done.answer if done else self._partial()
        formed = self.exit is Exit.ANSWERED and self.trunk.run.form
        value = done.value if done and formed else None
        usage, said = run.ledger.usage, tuple(self.said)
        changes = run.changed() if run.changed else None
        ended = (self.exit, self.reason, seconds, said)
        return Result(run.id, answer, value, run.plan, self.made, usage, *ended, changes, run.check)

    def _judge(self) -> None:
        done, form = self.trunk.done, self.trunk.run.form
        if done is None or not done.ok:
            self.reason = done.why if done and done.why else "the model gave no usable answer"
        elif form and not done.formed:
            self.reason = f"the model gave no answer that fits {form.name}"
        else:
            self.exit, self.reason = Exit.ANSWERED, "answered"

    def _partial(self) -> str:
        """The best that an unfinished run can say: the results of its finished steps, else its last words."""
        steps = [f"Step {e.step}:\n\n{e.result}" for e in self.said if isinstance(e, StepFinished) and e.ok]
        return "\n".join(steps) or self.trunk.partial
