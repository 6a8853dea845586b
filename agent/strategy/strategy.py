"""What comes next in a branch: a strategy looks at a frozen state and says it; the loop carries it out.

A strategy is three pure functions. They ask no model, run no tool, read no clock and draw no random number, so that a
run can be carried out again from its journal and gives the same. `docs/strategies.md` writes one in 30 lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CheckFinished
from fastslow.agent.modes import Kind
from fastslow.agent.plan import PLAN, Plan
from fastslow.agent.transcript import Transcript
from fastslow.tools import Tool


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a branch of a run when a turn has ended, or before its first one.

    task: what the user wants. step: what this step of a plan is to do, `""` in the trunk. files: names of those that
    came with the task. tools: names offered to the model. structured: the user asked for an answer of a given form.
    kind, force: of the turn that ended. transcript: all that was said in the branch.
    turns: of each turn that called something the results, since the branch began (or began again).
    asked: how often an answer was asked for once more. plans: how many plans were carried out. troubled: a call within
    the last plan failed. repeats: calls in a row that gave what they had given before. made: files that the run made
    or changed. sure: probability that the first look (`Kind.TRIAGE`) gave a call of a tool; None without one. marks:
    what the strategy wrote down for itself (`Next.mark`).
    """

    task: str
    step: str = ""
    files: tuple[str, ...] = ()
    tools: frozenset[str] = frozenset()
    structured: bool = False
    kind: Kind = Kind.PLAN
    force: str | None = None
    transcript: Transcript = field(default_factory=Transcript)
    turns: tuple[tuple[CallFinished, ...], ...] = ()
    asked: int = 0
    plans: int = 0
    troubled: bool = False
    repeats: int = 0
    made: frozenset[str] = frozenset()
    sure: float | None = None
    marks: frozenset[str] = frozenset()

    @property
    def failures(self) -> int:
        """Turns in a row, up to now, none of whose calls did what it is for."""
        count = 0
        for turn in reversed(self.turns):
            for result in turn:
                if result.status == "ok":
                    return count
            count += 1
        return count

    @property
    def surprised(self) -> bool:
        """A plan could not be carried out, or a step of it failed, and no call has succeeded since."""
        for turn in self.turns[len(self.turns) - self.failures :]:
            for result in turn:
                if result.name == PLAN.name:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class Next:
    """Another turn. kind: what it is for, from which the policy takes how much it thinks. why: for people.

    force: the one tool that it must call; `ANY` for some tool, `NO_CALL` for none. hint: what the model is told first,
    at the end of the last message (of a sibling branch: no history is edited). restart: the branch begins again, and
    the model sees nothing of what was tried. room: so many times the usual tokens for the answer. opening: first words
    of the thinking, or of what stands in front of a file, for chat templates of ours. mark: kept in `State.marks`.
    """

    kind: Kind
    why: str
    force: str | None = None
    hint: str = ""
    restart: bool = False
    room: int = 1
    opening: str = ""
    mark: str = ""


NO_VALUE: Final = object()
"""In the place of a value, which may be None."""


@dataclass(frozen=True, slots=True)
class Done:
    """The branch is over. answer: in words. ok: it did what it was to do. value: what `output=` asked for, if the
    answer has that form. why: for people, where it is not ok."""

    answer: str
    ok: bool = True
    value: Any = NO_VALUE
    why: str = ""

    @property
    def formed(self) -> bool:
        """Whether the answer has the form that was asked for."""
        return self.value is not NO_VALUE


Move: TypeAlias = Next | Done


class Strategy(Protocol):
    """What comes next. `free` and `guided` are ours; `Agent(strategy=...)` takes another one."""

    @property
    def shares_history(self) -> bool:
        """Whether a step of a plan goes on in the conversation of the step before it, or sees its result alone."""

    @property
    def step_prompt(self) -> str:
        """Which text of `agent/prompts` begins a step."""

    @property
    def failed_prompt(self) -> str:
        """Which text of `agent/prompts` ends a plan of which a step failed; `results` ends the others."""

    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        """What to offer beside the user's own tools. builtin: those of the sandbox; none where no code runs."""

    def system(self, code: bool) -> str:
        """The head of the system prompt. code: code can be run; `$packages` and `$network` are filled in then."""

    def plan(self, plan: Plan, state: State) -> Plan:
        """The plan that is carried out where the model made this one."""

    def first(self, state: State) -> Next:
        """The branch's first turn."""

    def after_text(self, state: State, reply: Reply) -> Move:
        """After a turn without a call; of one of `Kind.TRIAGE` the probability is in the state."""

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        """After a turn's calls were carried out. results: in the order of the calls, without hints."""

    def after_check(self, state: State, done: Done, checks: tuple[CheckFinished, ...]) -> Move:
        """After the command that proves the work was red where the run would have been done. checks: those behind each
        such answer, the last one of all just now."""
