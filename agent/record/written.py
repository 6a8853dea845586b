"""What the journal tells of runs, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fastslow.agent.events import Event, Exit, RunFinished, RunStarted, TurnFinished
from fastslow.agent.record.contents import Contents


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A row of `fastslow runs`. exit: None while it runs, or after it was killed. forked: the run that it was forked
    from. after: the run that it follows. parent: the run in whose call it was carried out. Each `""` for none."""

    run: str
    task: str
    model: str
    started: datetime
    exit: Exit | None
    running: bool
    forked: str = ""
    after: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What the journal holds of a run.

    events: all but `RunFinished`. inputs: the user's files, by name, but for those that were lost. workspace: the files
    as the last finished call left them, None where no call was; a file that was too large to keep has None as its
    content. Its contents are read when they are asked for. stopped: later changes of it were not written down. seconds:
    for which the run was carried out. spent: replies of the model up to the last time that the run was out of its
    budget.
    """

    started: RunStarted
    events: tuple[Event, ...]
    finished: RunFinished | None
    inputs: Mapping[str, bytes]
    workspace: Contents | None
    seconds: float
    spent: tuple[TurnFinished, ...]
    stopped: bool = False

    @property
    def lost(self) -> tuple[str, ...]:
        """The user's files whose contents the journal does not hold any more."""
        return tuple(name for name in self.started.files if name not in self.inputs)
