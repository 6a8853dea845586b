"""A run's way into the journal, and through what the journal already holds of it.

A run is resumed by carrying it out again from its start: where the journal holds a model's reply or a tool's result,
that is taken, and nothing is asked or run. What is said again is matched with what was said then, and not written a
second time. So no state of the loop is ever stored, and the loop has no second way through. The method is that of
durable execution (https://docs.temporal.io/workflow-execution); events are matched by branch and call, since branches
that run side by side may come in another order the next time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from fastslow.agent.budget import StepSpent
from fastslow.agent.errors import JournalEnded
from fastslow.agent.events import (
    CallDisplay,
    CallFinished,
    CallOutput,
    CallStarted,
    Compacted,
    Consent,
    Event,
    NetworkUsed,
    Notice,
    StepFinished,
    StepStarted,
    TurnDelta,
    TurnFinished,
    TurnStarted,
)

E = TypeVar("E", bound=Event)
Key = tuple[object, ...]

PASSING = (TurnDelta, CallOutput)  # whole in what follows them


class Recorder:
    """Writes what a run says, before anything is done on the strength of it.

    write: gets each new event. past: what the journal holds of the run. replaying: nothing is live, and where the past
    ends the run ends (JournalEnded).
    """

    def __init__(
        self, write: Callable[[Event], None] | None = None, past: Iterable[Event] = (), *, replaying: bool = False
    ) -> None:
        self.replaying = replaying
        self._write = write
        self._said: defaultdict[Key, deque[Event]] = defaultdict(deque)
        self._results: dict[Key, deque[CallFinished]] = defaultdict(deque)
        self._within: dict[Key, list[Event]] = defaultdict(list)  # what was said in a call, by the call
        self._replies: dict[str, deque[TurnFinished | StepFinished]] = defaultdict(deque)  # up to the end of a step
        self._consents: dict[Key, Consent] = {}
        open_calls: set[Key] = set()
        for event in past:
            match event:
                case TurnFinished():
                    self._replies[event.branch].append(event)
                    continue
                case CallDisplay():
                    self._within[event.branch, event.call_id].append(event)
                    continue
                case CallStarted() | CallFinished() if event.parent:
                    self._within[event.branch, event.parent].append(event)
                    continue
                case Consent():
                    if event.decide != "stop":
                        self._consents[event.branch, event.call_id] = event
                    continue
                case NetworkUsed() | Compacted():
                    continue
                case StepFinished():
                    self._replies[str(event.step)].append(event)
                case CallStarted():
                    open_calls.add((event.branch, event.call.id))
                case CallFinished():
                    open_calls.discard((event.branch, event.call_id))
                    self._results[event.branch, event.call_id].append(event)
            self._said[_key(event)].append(event)
        self._open = open_calls

    @property
    def keeps(self) -> bool:
        """Whether the run can be resumed."""
        return self._write is not None

    def say(self, event: E) -> E:
        """Write an event, and give it back; one that was written before comes back as it was."""
        if isinstance(event, PASSING):
            return event
        if self._said and (known := self._said.get(_key(event))):
            if isinstance(event, StepFinished):
                while not isinstance(self._replies[str(event.step)].popleft(), StepFinished):
                    pass
            return known.popleft()  # type: ignore[return-value]  # the key holds the type
        if self._write:
            self._write(event)
        return event

    def untold(self) -> list[Notice]:
        """What a replay has not said again: of files, since none come out."""
        return [event for said in self._said.values() for event in said if isinstance(event, Notice)]

    def reply(self, branch: str) -> TurnFinished | None:
        """The next reply of a branch that was paid for already. Raises `StepSpent` where a step's time was over."""
        if past := self._replies.get(branch):
            following = past[0]
            if isinstance(following, StepFinished):
                raise StepSpent(following.result)
            past.popleft()
            return following
        if self.replaying:
            raise JournalEnded("the journal holds no further reply of the model")
        return None

    def result(self, branch: str, call_id: str) -> tuple[list[Event], CallFinished] | None:
        """What a finished call said on its way, and its result. Asked once for each call, before it would run."""
        if past := self._results.get((branch, call_id)):
            return self._within.pop((branch, call_id), []), past.popleft()
        if self.replaying:
            raise JournalEnded("the journal holds no further result of a tool")
        return None

    def consent(self, branch: str, call_id: str) -> Consent | None:
        """What was decided of a call before."""
        return self._consents.get((branch, call_id))

    def in_doubt(self, branch: str, call_id: str) -> bool:
        """Whether a call was started before, and nobody knows how it went on. Says so once."""
        key = (branch, call_id)
        doubtful = key in self._open
        self._open.discard(key)
        return doubtful


def _key(event: Event) -> Key:
    """What tells an event from the others of its run, however often and in which order they are said."""
    match event:
        case CallStarted():
            return CallStarted, event.branch, event.call.id
        case CallFinished() | CallDisplay():
            return type(event), event.branch, event.call_id
        case TurnStarted() | TurnFinished():
            return type(event), event.branch
        case StepStarted() | StepFinished():
            return type(event), event.step
        case Notice():
            return Notice, event.text
        case _:
            return type(event), getattr(event, "branch", "")
