"""`Case`: one task with a known answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from fastslow.agent.evals.repository import Repository
from fastslow.agent.events import Event, Result
from fastslow.tools import Tool

Judge: TypeAlias = Callable[[Result], str]
"""Of a finished run: empty when it is right, else what was expected and what came, in one line."""


def _anything(_: Result) -> str:
    """Right whatever was said: the tests of the case's repository decide."""
    return ""


@dataclass(frozen=True, slots=True)
class Case:
    """A task of a suite, and how its result is judged.

    id: stable, and unique in its suite. group: what is reported together. task: the user's words.
    follow_ups: what the user wants then, one after the other, each in a run that follows the one before.
    files: given to the run, by name. tools: makes those that are offered beside the built-in ones, anew each time that
    the case is run, so that a handler may keep what it was told. sandboxed: whether code may run.
    stop_when: says of the events so far that nothing after them matters, so that the run is ended there.
    repository: the folder that the run works in, whose tests decide in the judge's place.
    """

    suite: str
    group: str
    id: str
    task: str
    judge: Judge = _anything
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    tools: Callable[[], tuple[Tool, ...]] = tuple
    sandboxed: bool = True
    follow_ups: tuple[str, ...] = ()
    stop_when: Callable[[Sequence[Event]], bool] | None = None
    repository: Repository | None = None
