"""What a workflow remembers: each step under its key, and the questions that it waits at.

Two calls of equal content are two steps. Which of them is which is told by their place: the part of the flow that calls
(`place`), and how often it has called for the same before. A place decides nothing but that: where the content of a
call is known from elsewhere in the flow and nobody has taken it yet, it is taken, and nothing is done again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from fastslow.agent.errors import AgentError, ConfigurationError, EngineError
from fastslow.agent.events import Exit
from fastslow.agent.flow.keys import Received
from fastslow.agent.flow.left import FILES, LeftFiles
from fastslow.agent.flow.progress import Asked, OnEvent, StepBegan, StepEnded
from fastslow.agent.flow.values import Kept
from fastslow.agent.record.jobs import Job, Jobs, StepInfo, StepResult
from fastslow.sandbox import SandboxError

IN_DOUBT = "{} was cut off in its midst: it may have happened already. Do it again, or is it done?"
NEEDED = " If it is done, add what it returned: --value JSON."
AGAIN, DONE = "again", "done"
QUESTION = "question"  # the kind of a step that has one

place: ContextVar[str] = ContextVar("place", default="")
"""The part of a flow that runs now: `""` for its trunk, `KEY/ITEM` for an item of the map with the key."""


class StepFailed(AgentError):
    """A step of a workflow came to no answer. `result` holds how it ended, what it took, and its run."""

    def __init__(self, result: StepResult) -> None:
        super().__init__(f"{result.name}: {result.reason}")
        self.result = result


class Waiting(BaseException):
    """A flow ends at a question until somebody answers it. No Exception: a flow that handles the errors of its steps is
    not to take it for one."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked.question)
        self.asked = asked


def exit_of(error: Exception) -> Exit:
    """How a step ended that raised."""
    if isinstance(error, EngineError):
        return Exit.SERVER
    return Exit.SANDBOX if isinstance(error, SandboxError) else Exit.FAILED


@dataclass(slots=True)
class _Slot:
    """A step that the journal knows, or that this life began."""

    key: str
    place: str
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """A step that reaches the world. kept: how its value is."""

    kept: Kept
    received: Received


class Memory:
    """The steps of a job that is carried out."""

    def __init__(self, job: Job, on_event: OnEvent) -> None:
        self.job = job
        self.on_event = on_event
        self.asked: list[Asked] = []  # and not answered, in this life
        self.ended: list[StepResult] = []  # in this life, remembered ones too
        self.files: dict[str, Any] = {}  # that steps got, by path, as they found or left them
        self._slots: defaultdict[str, list[_Slot]] = defaultdict(list)
        self._calls: Counter[tuple[str, str]] = Counter()
        known = Jobs(job.journal).steps(job.id)
        self._questions = len(questions(known))
        self._left_files = LeftFiles(known)
        for step in sorted(known, key=lambda step: step.started):
            if step.result and step.result.failure == FILES:
                continue
            self._slots[step.key.partition(".")[0]].append(_Slot(step.key, step.parent))

    def claim(self, received: Received, *, outside: bool = False) -> str:
        """The key of the step that the call is, of several with the same content. outside: it reaches the world; see
        `LeftFiles`."""
        content = received.content
        self.files.update(received.files)
        self._calls[place.get(), content] += 1
        here = _place(place.get(), self._calls[place.get(), content])
        slots = self._slots[content]
        free = [slot for slot in slots if not slot.taken]
        if outside and received.files and not free:
            same = self._left_files.steps(received)
            free = [slot for key in same for slot in self._slots[key.partition(".")[0]] if slot.key == key]
            free = [slot for slot in free if not slot.taken]
        slot = next((slot for slot in free if slot.place == here), free[0] if free else None)
        if slot is None:
            slot = _Slot(f"{content}.{len(slots)}" if slots else content, here)
            slots.append(slot)
        slot.taken, slot.place = True, here
        self._left_files.taken(slot.key)
        return slot.key

    def here(self, key: str) -> str:
        """The place of a step that was claimed."""
        return next((slot.place for slot in self._slots[key.partition(".")[0]] if slot.key == key), place.get())

    async def carry(
        self, key: str, name: str, work: Callable[[], Awaitable[StepResult]], *, outside: Outside | None = None
    ) -> StepResult:
        """Carry a step out, or take what it came to before. outside: of one that reaches the world: it is
        begun no second time before somebody has said so. Raises Waiting, and what the work raises."""
        known = self.job.result(key)
        if known and known.exit is Exit.ANSWERED:
            return self._told(known, remembered=True)
        if outside and known is None and self.job.begun(key) and (done := self._doubted(key, name, outside.kept)):
            self.job.end(done, *self._left(key, outside))
            return self._told(done, remembered=True)
        if outside and outside.received.files:
            self.job.end(self._left_files.begun(key, outside.received))
        self.job.begin(key, name, self.here(key), waits=outside is not None)
        self.on_event(StepBegan(key, name, self.here(key)))
        begun = time.monotonic()
        result = replace(await work(), seconds=time.monotonic() - begun)
        self.job.end(result, *self._left(key, outside))
        return self._told(result)

    def _left(self, key: str, outside: Outside | None) -> list[StepResult]:
        if not outside or not outside.received.files:
            return []
        left = self._left_files.ended(key, outside.received)
        self.files.update(left.output["files"])
        return [left]

    def _doubted(self, key: str, name: str, kept: Kept) -> StepResult | None:
        """What a step came to that was cut off and, as somebody says, has happened; None where it is to be done again.
        Raises Waiting."""
        asked, needed = f"{key}?", "" if kept.fits(None) else NEEDED
        known = self.job.result(asked)
        if known and known.exit is Exit.ANSWERED and known.output["answer"] == DONE:
            if kept.fits(known.output.get("value")):
                return StepResult(key, name, Exit.ANSWERED, known.output.get("value"))
            self.job.forget([asked])
        self.question(asked, IN_DOUBT.format(name) + needed, (AGAIN, DONE))
        self.job.forget([asked])  # a next time it is asked anew
        return None

    async def group(self, key: str, name: str, work: Callable[[], Awaitable[StepResult]]) -> None:
        """A step that is nothing but what holds others together: it is always carried out."""
        self.job.begin(key, name, self.here(key), waits=False)
        self.on_event(StepBegan(key, name, self.here(key)))
        result = await work()
        self.job.end(result)
        self.on_event(StepEnded(result, self.here(key), remembered=False))

    def question(self, key: str, question: str, choices: Sequence[str]) -> str:
        """What was answered. Raises Waiting where nothing was."""
        known = self.job.result(key)
        if known and known.exit is Exit.ANSWERED:
            return str(known.output["answer"])
        if known is None:
            self._questions += 1
            told = {"question": question, "choices": list(choices), "number": self._questions}
            self.job.begin(key, question, self.here(key))
            known = StepResult(key, question, Exit.WAITING, told, "nobody has answered yet", QUESTION)
            self.job.end(known)
        asked = _asked(known)
        self.asked.append(asked)
        self.on_event(asked)
        raise Waiting(asked)

    def _told(self, result: StepResult, *, remembered: bool = False) -> StepResult:
        self.ended.append(result)
        self.on_event(StepEnded(result, self.here(result.key), remembered))
        return result


def questions(steps: Sequence[StepInfo]) -> list[StepResult]:
    """The questions of a job, answered ones too, by their number."""
    asked = [step.result for step in steps if step.result and step.result.failure == QUESTION]
    return sorted(asked, key=lambda one: int(one.output["number"]))


def open_questions(steps: Sequence[StepInfo]) -> list[Asked]:
    return [_asked(one) for one in questions(steps) if one.exit is Exit.WAITING]


def answer(job: Job, number: int | None, choice: str, value: Any = None) -> None:
    """Write an answer down. number: of the question; None for the only one. value: of a step that is done.
    ConfigurationError for what cannot be."""
    known = questions(Jobs(job.journal).steps(job.id))
    waiting = [one for one in known if one.exit is Exit.WAITING]
    if number is not None:
        if not any(one.output["number"] == number for one in known):
            raise ConfigurationError(f"flow {job.id} asked no question {number}; `fastslow flow show` lists them")
        known = [one for one in known if one.output["number"] == number]
        waiting = [one for one in known if one.exit is Exit.WAITING]
    if not waiting:
        before = f": it was answered {known[-1].output['answer']!r} before" if known else ""
        raise ConfigurationError(f"flow {job.id} does not wait for this answer{before}")
    if len(waiting) > 1:
        some = "; ".join(f"{job.id}:{one.output['number']} {one.name!r:.60}" for one in waiting)
        raise ConfigurationError(f"flow {job.id} asks {len(waiting)} questions; say which: {some}")
    [one] = waiting
    if choice not in one.output["choices"]:
        raise ConfigurationError(f"expected one of {', '.join(one.output['choices'])}, got {choice!r}: {one.name:.200}")
    job.end(replace(one, exit=Exit.ANSWERED, output={**one.output, "answer": choice, "value": value}, reason=""))


def _asked(result: StepResult) -> Asked:
    told = result.output
    return Asked(result.key, int(told["number"]), str(told["question"]), tuple(told["choices"]))


def _place(within: str, call: int) -> str:
    return f"{within}/{call}"
