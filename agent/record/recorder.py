"""A run's way into the journal, and through what the journal already holds of it.

A run is resumed by carrying it out again from its start: where the journal holds a model's reply or a tool's result,
that is taken, and nothing is asked or run. What is said again is matched with what was said then, and not written a
second time. So no state of the loop is ever stored, and the loop has no second way through. The method is that of
durable execution (https://docs.temporal.io/workflow-execution); events are matched by branch and call, since branches
that run side by side may come in another order the next time.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastslow.agent.budget import StepSpent
from fastslow.agent.errors import JournalEnded
from fastslow.agent.events import (
    CallDisplay,
    CallFinished,
    CallOutput,
    CallStarted,
    CheckFinished,
    CheckStarted,
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
KEPT = 1 << 20  # characters of JSON that are kept of what the calls of one piece of code gave, in all


@dataclass(frozen=True, slots=True)
class Told:
    """A call that finished: what was decided of it and held, what else was said in it, and its end."""

    consent: Consent | None
    within: Sequence[Event]
    finished: CallFinished


@dataclass(slots=True)
class Code:
    """The calls that the code of one call made. count: the last one's number. made: ids of those that the record holds
    and that the code, which runs again, has not made again yet, by name and arguments. kept: characters of results."""

    count: int = 0
    kept: int = 0
    made: dict[tuple[str, str], deque[str]] = field(default_factory=dict)


class Recorder:
    """Writes what a run says, before anything is done on the strength of it.

    write: gets each new event. past: what the journal holds of the run. replaying: nothing is live, and where the past
    ends the run ends (JournalEnded). keeps: whether the run can be resumed.
    """

    def __init__(
        self, write: Callable[[Event], None] | None = None, past: Iterable[Event] = (), *, replaying: bool = False
    ) -> None:
        self.replaying = replaying
        self.keeps = write is not None
        self._write = write
        self._said: defaultdict[Key, deque[Event]] = defaultdict(deque)
        self._results: defaultdict[Key, deque[Told]] = defaultdict(deque)
        self._within: defaultdict[Key, list[Event]] = defaultdict(list)  # what was said in a call, by the call
        self._replies: defaultdict[str, deque[TurnFinished | StepFinished]] = defaultdict(deque)  # to a step's end
        self._consents: defaultdict[Key, list[Consent]] = defaultdict(list)  # of calls that did not finish
        self._open: Counter[Key] = Counter()
        self._code: defaultdict[Key, Code] = defaultdict(Code)
        self._other: set[Key] = set()
        for event in past:
            if self._take(event):
                self._said[_key(event)].append(event)

    def _take(self, event: Event) -> bool:
        """Sort an event of the past in; whether it is one that is said again."""
        match event:
            case TurnFinished():
                self._replies[event.branch].append(event)
                return False
            case CallDisplay():
                self._within[event.branch, event.call_id].append(event)
                return False
            case Consent():
                if event.decide != "stop":
                    self._consents[event.branch, event.call_id].append(event)
                return False
            case NetworkUsed() | Compacted():
                return False
            case StepFinished():
                self._replies[str(event.step)].append(event)
            case CallStarted():
                self._open[event.branch, event.call.id] += 1
                if event.parent:
                    self._within[event.branch, event.parent].append(event)
                    self._take_call_of_code(event)
            case CallFinished():
                return self._take_end(event)
        return True

    def _take_call_of_code(self, event: CallStarted) -> None:
        code, call = self._code[event.branch, event.parent], event.call
        number = call.id.rpartition(".")[2]
        code.count = max(code.count, int(number) if number.isdecimal() else 0)
        code.made.setdefault((call.name, call.arguments), deque()).append(call.id)

    def _take_end(self, event: CallFinished) -> bool:
        key = event.branch, event.call_id
        if event.parent:
            self._within[event.branch, event.parent].append(event)
            if event.status == "in_doubt" or (event.ok and not event.data):
                return False  # what code would get for it again is not known
        elif code := self._code.pop(key, None):  # it will not run again
            for call_id in (one for ids in code.made.values() for one in ids):
                self._forget((event.branch, call_id))
        self._open[key] -= 1
        consents, within = self._consents.pop(key, []), self._within.pop(key, [])
        decided = "deny" if event.status == "denied" else "allow"
        consent = next((one for one in reversed(consents) if one.decide == decided), None)
        others = [one for one in consents if one is not consent]
        self._results[key].append(Told(consent, [*others, *within], event))
        return True

    def _forget(self, key: Key) -> None:
        """A call of code, whose id code that runs later may give to another one."""
        self._open.pop(key, None)
        self._results.pop(key, None)
        self._consents.pop(key, None)
        for kind in (CallStarted, CallFinished):
            self._said.pop((kind, *key), None)

    def say(self, event: E) -> E:
        """Write an event, and give it back; one that was written before comes back as it was."""
        if isinstance(event, PASSING):
            return event
        if self._said and (known := self._said.get(_key(event))):
            if isinstance(event, StepFinished):
                while not isinstance(self._replies[str(event.step)].popleft(), StepFinished):
                    pass
            told = known.popleft()
            if isinstance(told, CallFinished):
                past = self._results[told.branch, told.call_id]
                if past and past[0].finished is told:  # nobody asked for it, since nothing would have run
                    past.popleft()
            return told  # type: ignore[return-value]  # the key holds the type
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

    def result(self, branch: str, call_id: str) -> tuple[Sequence[Event], CallFinished] | None:
        """What a finished call said on its way, and its result. Asked once for each call, before it would run."""
        if past := self._results.get((branch, call_id)):
            told = past.popleft()
            return told.within, told.finished
        if self.replaying:
            raise JournalEnded("the journal holds no further result of a tool")
        return None

    def check(self, number: int) -> CheckFinished | None:
        """What the check of that number found before."""
        if past := self._said.get((CheckFinished, number)):
            return past[0]  # type: ignore[return-value]  # the key holds the type
        if self.replaying:
            raise JournalEnded("the journal holds no further check")
        return None

    def consents(self, branch: str, call_id: str) -> tuple[bool, Sequence[Consent]]:
        """Whether a call is only told again, so that nothing of it runs; and what was decided of it before."""
        if past := self._results.get((branch, call_id)):
            return True, [consent] if (consent := past[0].consent) else ()
        return self.replaying, self._consents.pop((branch, call_id), ())

    def id_of_code(self, branch: str, parent: str, name: str, arguments: str) -> str:
        """The id of a call that code makes. Code that runs again gives a call the id that it had, wherever it comes."""
        code = self._code[branch, parent]
        if ids := code.made.get((name, arguments)):
            known = ids.popleft()
            if not ids:
                del code.made[name, arguments]
            return known
        code.count += 1
        made = f"{parent}.{code.count}"
        if code.made:
            self._other.add((branch, made))
        return made

    def kept(self, branch: str, parent: str, text: str, data: Any) -> str:
        """JSON of what a call gave to code, for when that runs again; nothing where it is too much. text: the same as
        the model would read it."""
        code = self._code[branch, parent]
        if not self.keeps or code.kept + len(text) > KEPT:
            return ""
        try:
            told = json.dumps(data)
        except (ValueError, RecursionError):  # a number of thousands of digits
            return ""
        if code.kept + len(told) > KEPT:
            return ""
        code.kept += len(told)
        return told

    def is_other(self, branch: str, call_id: str) -> bool:
        """Whether code that runs again made this call in the place of one that it made before."""
        return (branch, call_id) in self._other

    def in_doubt(self, branch: str, call_id: str) -> bool:
        """Whether a call was started before, and nobody knows how it went on. Says so once."""
        key = (branch, call_id)
        if self._open[key] <= 0 or self._results.get(key):
            return False
        self._open[key] -= 1
        return True


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
        case CheckStarted() | CheckFinished():
            return type(event), event.number
        case Notice():
            return Notice, event.text
        case _:
            return type(event), getattr(event, "branch", "")
