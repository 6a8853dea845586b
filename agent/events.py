"""What a run says while it goes on. Every surface (terminal, JSON lines, servers) reads only these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fastslow.agent.changes import ChangeSet
from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.modes import Kind, Mode
from fastslow.agent.plan import OWN, Plan
from fastslow.agent.transcript import ToolCall
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import Egress, State
from fastslow.tools import Status


@dataclass(frozen=True, slots=True)
class RunStarted:
    """run: a unique, sortable id. tools: names offered to the model. files: names of those given. settings: of the
    agent, as JSON can hold them: what it takes to make another one like it. after: the run that it follows, if any.
    history: what was said before, where somebody else holds the conversation; each with its `role`. output: JSON schema
    of the answer that is asked for. key: that of its options. parent: the run in whose call it is carried out. tree:
    the folder that it works on a copy of, and the command that proves the work. plan: the one that it began with.
    outline: what the model was told of the folder. check: the command that proves the work of a run without a tree."""

    run: str
    task: str
    model: str
    profile: str
    tools: tuple[str, ...]
    files: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    after: str = ""
    history: tuple[Mapping[str, Any], ...] = ()
    output: Mapping[str, Any] | None = None
    key: str = ""
    parent: str = ""
    tree: Tree | None = None
    plan: Plan | None = None
    outline: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class RunResumed:
    """A run goes on that ended, or was killed, before. What it said then comes first, and is not done again.

    turns: model calls whose replies the journal holds. seconds: for which the run was carried out before.
    """

    run: str
    turns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know and nothing else says: a fallback taken, a reply that was mended."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """branch: `""` for the trunk, else the step's number. turn: counted over the run. reason: what chose the mode."""

    branch: str
    turn: int
    kind: Kind
    mode: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class TurnDelta:
    """Text of a turn as it arrives."""

    branch: str
    turn: int
    kind: Literal["thinking", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    branch: str
    turn: int
    mode: Mode
    reply: Reply


@dataclass(frozen=True, slots=True)
class PlanMade:
    plan: Plan


@dataclass(frozen=True, slots=True)
class StepStarted:
    """step counts from 1, as in `PlanMade.plan.steps`."""

    step: int
    do: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    step: int
    ok: bool
    result: str


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """The command that proves the work is run by us: 0 before the first turn, and then at each answer."""

    number: int
    command: str


Verdict: TypeAlias = Literal["green", "red", "flaky"]
"""What a check found: exit code 0; another one, or none in time; 0 the first time and another one the second."""


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """What a check found. output: head and tail of what it printed. restored: files that were put back as the user gave
    them while it ran. diff: what the run had changed by then, where the same failure came before."""

    number: int
    command: str
    verdict: Verdict
    exit_code: int
    output: str
    seconds: float
    restored: tuple[str, ...] = ()
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Consent:
    """A call was asked about, or denied by a rule. Nothing is said of calls that rules allow.

    decide: `"stop"` ends the run, which asks again when it is resumed. by: a rule, or a person. reason: why it was
    asked about or denied. note: what the person wants the model to be told. digest: of the tool and the arguments that
    the answer is for; `""` where it holds for no later life of the run.
    """

    branch: str
    call_id: str
    decide: Literal["allow", "deny", "stop"]
    by: Literal["rule", "person"]
    reason: str
    note: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """arguments: what the tool gets after parsing; for code, `code` holds its text. parent: the id of the call whose
    code makes this one, else `""`."""

    branch: str
    call: ToolCall
    arguments: Mapping[str, Any]
    parent: str = ""


@dataclass(frozen=True, slots=True)
class CallOutput:
    """Output of a running tool as it comes."""

    branch: str
    call_id: str
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class CallDisplay:
    """A figure, a table or the like that a running tool shows people; the model sees text only.

    data: by MIME type, the richest first, text or bytes. Hostile, as `sandbox.Display` is.
    """

    branch: str
    call_id: str
    data: Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class CallFinished:
    """status: how it ended, see `fastslow.tools.Status`. content: exactly what the model is shown; of a call by code,
    what a model would be. parent: as of the start. exit_code, silent, variables, written: see
    `fastslow.tools.Outcome`. data: JSON of what code got, of a call that it made; `""` where that is not kept."""

    branch: str
    call_id: str
    name: str
    status: Status
    content: str
    seconds: float
    parent: str = ""
    exit_code: int | None = None
    silent: bool = False
    variables: State = "kept"
    written: tuple[str, ...] = ()
    data: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class Compacted:
    """A branch's history neared the end of the context and goes on in a shorter one. before, after: tokens of its
    prompt."""

    branch: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class NetworkUsed:
    """A connection that code in the sandbox asked for is over, or was refused."""

    egress: Egress


@dataclass(frozen=True, slots=True)
class ModeUsage:
    """The row of one mode in the table at the end of a run."""

    turns: int = 0
    usage: Usage = field(default_factory=Usage)


class Exit(StrEnum):
    """Why a run ended."""

    ANSWERED = "answered"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # at a question about a call: by a person, or because nobody was there to answer it
    WAITING = "waiting"  # for an answer that a workflow asked for
    SERVER = "server"  # the model's server failed
    SANDBOX = "sandbox"  # the sandbox failed
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves, whatever its end.

    answer: the final text, or the best partial one. output: the answer as the model passed to `output=`, validated.
    plan: the last plan, if one was made. files: what the run made or changed, on the host. usage: by mode name
    (`"fast"`, `"think"`). reason: one sentence on the exit. events: everything said before the end. changes: to the
    folder that the run got a copy of, None where it got none. check: the last one, None where there was none.
    """

    run: str
    answer: str
    output: Any
    plan: Plan | None
    files: tuple[Path, ...]
    usage: Mapping[str, ModeUsage]
    exit: Exit
    reason: str
    seconds: float
    events: tuple[Event, ...] = field(repr=False, default=())
    changes: ChangeSet | None = None
    check: CheckFinished | None = None

    @property
    def only_denied(self) -> bool:
        """Whether the run called tools, and of what it called something was denied and nothing succeeded: whatever it
        answered, it did nothing."""
        calls = [e for e in self.events if isinstance(e, CallFinished) and e.name not in OWN]
        return any(call.status == "denied" for call in calls) and not any(call.ok for call in calls)


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Always the last event."""

    result: Result


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | Notice
    | TurnStarted
    | TurnDelta
    | TurnFinished
    | PlanMade
    | StepStarted
    | StepFinished
    | CheckStarted
    | CheckFinished
    | Consent
    | CallStarted
    | CallOutput
    | CallDisplay
    | CallFinished
    | Compacted
    | NetworkUsed
    | RunFinished
)
