"""What a workflow says while it goes on. Its surfaces read only these, and what the journal holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fastslow.agent.record.jobs import StepResult


@dataclass(frozen=True, slots=True)
class StepBegan:
    """place: within which part of the flow, see `memory.place`."""

    key: str
    name: str
    place: str


@dataclass(frozen=True, slots=True)
class StepMoved:
    """What a step does now, for people to watch."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """remembered: from an earlier life of the flow; nothing was done now."""

    result: StepResult
    place: str
    remembered: bool


@dataclass(frozen=True, slots=True)
class Logged:
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that the flow waits at. number: counted over the job. choices: what may be answered."""

    key: str
    number: int
    question: str
    choices: tuple[str, ...]


FlowEvent: TypeAlias = StepBegan | StepMoved | StepEnded | Logged | Asked
OnEvent: TypeAlias = Callable[[FlowEvent], None]
