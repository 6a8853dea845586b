"""What all branches of one run share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fastslow.agent.budget import Ledger
from fastslow.agent.changes import ChangeSet
from fastslow.agent.engine.types import Engine, Reply
from fastslow.agent.events import CheckFinished, TurnFinished
from fastslow.agent.gate import Gate
from fastslow.agent.modes import Mode, ModePolicy
from fastslow.agent.output import Form
from fastslow.agent.plan import Plan
from fastslow.agent.project import Project, catalogue
from fastslow.agent.prompts import prompt
from fastslow.agent.record.recorder import Recorder
from fastslow.agent.strategy import Strategy
from fastslow.agent.transcript import Transcript, with_hint
from fastslow.agent.workspace import Workspace
from fastslow.tools import Tool, Toolbox
from fastslow.tools.seen import Seen


@dataclass(slots=True)
class Run:
    """What all branches of one run share.

    session: as of `Request`. fixed: tools that are offered to the model all the time; toolsets: what lists the others.
    functions: tools that code in the sandbox may call. form: what the answer must be, None for words. changes: how many
    calls may have changed something so far. given: what stands in the place of the model's first reply: a plan that
    somebody else made. made: files that the run made or changed. seen: what its tools saw of them. spent_within: the
    model's replies in the runs that a call of this one was carried out by, None where nothing is kept. check: the last
    one, and checked: how many changes there were by then. changed: tells what the run has changed so far in its copy of
    a folder, None where it has none. project: what that folder tells agents; read: which of its nested instructions the
    model was told.
    """

    id: str
    session: str
    task: str
    files: tuple[str, ...]
    engine: Engine
    strategy: Strategy
    fixed: tuple[Tool, ...]
    functions: Toolbox
    policy: ModePolicy
    ledger: Ledger
    recorder: Recorder = field(default_factory=Recorder)
    gate: Gate = field(default_factory=Gate)
    workspace: Workspace | None = None
    form: Form | None = None
    given: Reply | None = None
    plan: Plan | None = None
    turns: int = 0
    repairs: int = 0
    changes: int = 0
    made: frozenset[str] = frozenset()
    seen: Seen = field(default_factory=Seen)
    spent_within: Callable[[str], Iterable[TurnFinished]] | None = None
    check: CheckFinished | None = None
    checked: int = -1
    changed: Callable[[], ChangeSet] | None = None
    project: Project | None = None
    read: set[str] = field(default_factory=set)
    toolsets: tuple[Callable[[], Sequence[Tool]], ...] = ()
    _toolbox: Toolbox = field(default_factory=Toolbox)

    def with_skills(self, history: Transcript, mode: Mode) -> Transcript:
        """What a turn is asked with: one that thinks is told what skills there are. They are no part of the history."""
        skills = self.project.skills if self.project and mode.thinks else ()
        return with_hint(history, prompt("skills", skills=catalogue(skills))) if skills else history

    def instructions_at(self, project: Project, path: object) -> str:
        """What the project says of work in the folder of a path, where the model was not told of it yet."""
        new = [one for one in project.on_the_way(path) if one[0] not in self.read] if isinstance(path, str) else []
        self.read |= {source for source, _ in new}
        return "".join(f"\n\nProject instructions ({source}):\n{text}" for source, text in new)

    @property
    def toolbox(self) -> Toolbox:
        """What is offered now; always the same object while no toolset has changed its list."""
        tools = self.fixed
        for listed in self.toolsets:
            tools += tuple(listed())
        if tools != self._toolbox.tools:
            self._toolbox = Toolbox(tools)
        return self._toolbox
