"""A map from its beginning to its end: what is done already is not asked again, what ends is kept, then told."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastslow.agent.budget import Budget
from fastslow.agent.errors import ConfigurationError, EngineError, RunBusy
from fastslow.agent.events import Exit
from fastslow.agent.flow.outfile import Lines, OutFile, Printed, line
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.rows import Source
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.record.jobs import SPENT, Job, JobInfo, Jobs, StepResult
from fastslow.agent.record.journal import Journal

if TYPE_CHECKING:
    from fastslow.agent.flow.crew import Crew

COMMIT_SECONDS = 0.03  # in which what ended is put together: a commit waits for the disk, some 4 ms
EQUAL_FAILURES = 10  # in a row, of one kind, that end a map: more of them would only cost
FIRST_ERRORS = 5  # that are shown at the end
SAME = ("prompt", "schema", "votes", "think", "check", "tools", "packages", "image", "allow")


@dataclass(frozen=True, slots=True)
class Order:
    """What one start of a map is asked for. out: the file for the lines; None is standard output. budget: of the whole
    map, with what it spent before. limit: rows of the input that are looked at. retry: rows that failed are done again.
    fresh: nothing that was done counts."""

    spec: MapSpec
    source: Source
    out: Path | None = None
    budget: Budget | None = None
    limit: int | None = None
    retry: bool = False
    fresh: bool = False

    @property
    def key(self) -> str:
        """What finds the job again: the file that it writes, or all that it is asked for."""
        if self.out:
            return str(self.out.parent.resolve() / self.out.name)
        asked = [os.path.abspath(self.source.name), self.source.id_column, *self.same.values()]
        return sha256(json.dumps(asked, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    @property
    def same(self) -> dict[str, Any]:
        """What must be the same for all rows of one output."""
        spec = json.loads(self.spec.to_json())
        return {name: spec[name] for name in SAME} | {"id": self.source.id_column}

    def rows(self) -> Iterator[Row]:
        for row in self.source.rows():
            if self.limit is not None and row.number > self.limit:
                return
            yield row

    def counts(self, row: Row, key: str, end: Exit) -> bool:
        """Whether a row need not be done again. key, end: of when it was done; `""` where it was not."""
        return not self.fresh and key == row.key and (end is Exit.ANSWERED or not self.retry)


@dataclass(slots=True)
class Tally:
    """How far a map is. total: rows of the input. before: of these, done by an earlier start. answered, failed: of all.
    spent: as `jobs.SPENT` names it, by every start; at_start: of these, before this one. ends: how rows failed."""

    total: int = 0
    before: int = 0
    answered: int = 0
    failed: int = 0
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPENT, 0))
    at_start: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    errors: list[StepResult] = field(default_factory=list)
    slowest: StepResult | None = None
    ends: set[Exit] = field(default_factory=set)

    @property
    def left(self) -> int:
        return self.total - self.answered - self.failed

    @property
    def rate(self) -> float:
        """Rows a second, of this start."""
        return (self.answered + self.failed - self.before) / max(time.monotonic() - self.started, 1e-9)

    def count(self, result: StepResult) -> None:
        for name in SPENT:
            self.spent[name] += getattr(result, name)
        if result.exit is Exit.ANSWERED:
            self.answered += 1
        else:
            self.failed += 1
            self.ends.add(result.exit)
            if len(self.errors) < FIRST_ERRORS:
                self.errors.append(result)
        if self.slowest is None or result.seconds > self.slowest.seconds:
            self.slowest = replace(result, output=None)


@dataclass(slots=True)
class Work:
    """A map that this process has in hand. stopped: why no more rows are begun, `""` while they are."""

    order: Order
    job: Job
    lines: Lines
    tally: Tally = field(default_factory=Tally)
    exit: Exit = Exit.ANSWERED
    stopped: str = ""
    _done: Set[str] = frozenset()
    _again: Mapping[str, str] = field(default_factory=dict)  # rows that were done, by their ids and keys of then
    _ended: list[StepResult] = field(default_factory=list)
    _streak: tuple[str, int] = ("", 0)

    @property
    def spec(self) -> MapSpec:
        return replace(self.order.spec, job=self.job.id)

    async def carry_out(self, crew: Crew) -> None:
        """Do what is left. Raises EngineError where the server is gone, and OSError or JournalBroken where the disk is
        full: rows in hand are then done by the next start."""
        self._forget()
        self.tally.started = time.monotonic()
        over, end = asyncio.Event(), Exit.FAILED
        writer = asyncio.create_task(self._keep_until(over))
        try:
            async with aclosing(crew.carry_out(self._left())) as results:
                async for result in results:
                    self._take(result)
                    if writer.done() or (self.stopped and self.exit is not Exit.BUDGET):
                        break
            end = self.exit
        except asyncio.CancelledError:
            end = Exit.CANCELLED
            raise
        except EngineError:
            end = Exit.SERVER
            raise
        finally:
            over.set()
            await writer  # its error ends the map
            self.job.finish(self._judged(end))

    def _judged(self, end: Exit) -> Exit:
        if end is Exit.ANSWERED and (self.tally.failed or self.tally.left):
            ends = self.tally.ends if not self.tally.answered else set()
            end = next(iter(ends)) if ends in ({Exit.SERVER}, {Exit.SANDBOX}) else Exit.FAILED
        self.exit = end
        return end

    async def _keep_until(self, over: asyncio.Event) -> None:
        """Keep what ended, in a thread, as the disk takes its time."""
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), COMMIT_SECONDS)
            await asyncio.to_thread(self._keep)
        await asyncio.to_thread(self._keep)  # what ended during the last one

    def _keep(self) -> None:
        """Put what ended into the journal, all in one go, then tell it."""
        ended, self._ended = self._ended, []
        if ended:
            self.job.end(*ended)
            self.lines.append(list(map(line, ended)))

    def _take(self, result: StepResult) -> None:
        self.tally.count(result)
        self._ended.append(result)
        kind, count = self._streak
        self._streak = (result.failure, count + 1 if kind == result.failure else 1)
        if result.failure and self._streak[1] >= EQUAL_FAILURES and not self.stopped:
            self.exit = result.exit if result.exit in (Exit.SERVER, Exit.SANDBOX) else Exit.FAILED
            self.stopped = f"{EQUAL_FAILURES} rows in a row failed in the same way ({result.failure}): {result.reason}"

    def _left(self) -> Iterator[Row]:
        attempts = self.job.info.settings["attempts"]
        for row in self.order.rows():
            if row.id in self._done:
                continue
            if not self.stopped and (spent := self._over()):
                self.exit, self.stopped = Exit.BUDGET, spent
            if self.stopped:
                return
            yield replace(row, attempt=attempts.get(row.key, 0))

    def _over(self) -> str:
        """Which limit of the whole is reached, in a sentence."""
        if self.order.budget is None:
            return ""
        used = {
            "turns": self.tally.spent["turns"],
            "tokens": self.tally.spent["tokens"],
            "thinking_tokens": self.tally.spent["thinking"],
            "seconds": round(time.monotonic() - self.tally.started, 1),
        }
        for name, value in used.items():
            limit = getattr(self.order.budget, name)
            if limit is not None and value >= limit:
                return f"the map's budget of {limit} {name.replace('_', ' ')} is spent ({value} used)"
        return ""

    # --- before the first row --------------------------------------------------------------------

    def look(self) -> None:
        """Go through all rows once, find out what is left of them, and bring the lines in order."""
        there, known = self.lines.mend(), self.job.names()
        met, again = set(), {name: key for name, (key, _) in known.items()} if self.order.fresh else {}
        for row in self.order.rows():
            self.tally.total += 1
            key, end = known.get(row.id, ("", Exit.FAILED))
            if self.order.counts(row, key, end):
                met.add(row.id)
                self.tally.before += 1
                self.tally.answered += end is Exit.ANSWERED
                self.tally.failed += end is not Exit.ANSWERED
            elif key or self.order.fresh:
                again[row.id] = key
        self.lines.append([])  # a place that cannot be written to is told before anything is asked
        self._done, self._again = known.keys() - again.keys(), again
        told = met if isinstance(self.lines, Printed) else known.keys() - again.keys()
        self._tell([known[name][0] for name in known if name in told and name not in there])
        if not self.order.fresh:
            before = self.job.info.settings["forgotten"]
            for name, value in zip(SPENT, self.job.spent(), strict=True):
                self.tally.spent[name] = value + before.get(name, 0)
        self.tally.at_start = dict(self.tally.spent)

    def _forget(self) -> None:
        """Rows are done once more, now that somebody is there to do them: what they came to before goes. Their lines go
        first: a line that the journal has is written again."""
        if not (self._again or self.order.fresh):
            return
        self.lines.drop(self._again.keys())
        settings = dict(self.job.info.settings)
        attempts, before = dict(settings["attempts"]), self.job.spent()
        keys = list(filter(None, self._again.values()))
        for key in keys:
            attempts[key] = attempts.get(key, 0) + 1
        self.job.forget(keys)
        gone = zip(SPENT, before, self.job.spent(), strict=True)
        forgotten = {name: settings["forgotten"].get(name, 0) + was - now for name, was, now in gone}
        if self.order.fresh:
            forgotten = {}
        self._change({"same": self.order.same, "attempts": attempts, "forgotten": forgotten})

    def _tell(self, keys: list[str]) -> None:
        for start in range(0, len(keys), 1000):
            found = [self.job.result(key) for key in keys[start : start + 1000]]
            self.lines.append([line(result) for result in found if result])

    def served(self, model: str) -> None:
        """The model that the server has is known. ConfigurationError where earlier rows were asked of another one."""
        known = "" if self.order.fresh else self.job.info.settings.get("served")
        if known and known != model:
            raise ConfigurationError(_differs(self.order, [f"the model was {known!r}, and is {model!r} now"]))
        self._change({"served": model})

    def _change(self, fields: Mapping[str, Any]) -> None:
        settings = {**self.job.info.settings, **fields}
        self.job.change(settings)
        self.job.info = replace(self.job.info, settings=settings)


@contextmanager
def opened(order: Order, journal: Journal) -> Iterator[Work]:
    """Begin a map, or go on with it; what is left of it is known then.

    Raises ConfigurationError where the same output belongs to other questions, RunBusy while another process has it,
    InputWrong, OSError, JournalBroken.
    """
    jobs, lines = Jobs(journal), OutFile(order.out) if order.out else Printed()
    new = {"same": order.same, "served": "", "attempts": {}, "forgotten": {}}
    name = order.out.name if order.out else order.source.name
    try:
        _check_same(order, jobs.keyed("map", order.key), lines)
        with jobs.open("map", name, order.key, new) as job:
            work = Work(order, job, lines)
            work.look()
            yield work
    except RunBusy as busy:
        what = f"the lines of {order.out}" if order.out else "these rows"
        raise RunBusy(f"another fastslow map has {what} in hand; wait until it ends, or give another --out") from busy


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a start of a map would find. total, left: rows. known: what came of rows that were done, whatever has become
    of them since."""

    total: int
    left: int
    known: tuple[StepResult, ...]


def outlook(order: Order, journal: Journal) -> Outlook:
    """Nothing is begun, and nothing written. Raises as `opened` does."""
    jobs = Jobs(journal)
    job = jobs.keyed("map", order.key)
    _check_same(order, job, OutFile(order.out) if order.out else Printed())
    known = tuple(step.result for step in jobs.steps(job.job) if step.result) if job else ()
    ends = {result.name: (result.key, result.exit) for result in known}
    counting = [order.counts(row, *ends.get(row.id, ("", Exit.FAILED))) for row in order.rows()]
    return Outlook(len(counting), counting.count(False), known)


def _check_same(order: Order, known: JobInfo | None, lines: Lines) -> None:
    """ConfigurationError where the lines are another map's, whose rows would all be asked again, or the user's own,
    and nobody said that all is to be done anew."""
    if order.fresh:
        return
    if known is None and not lines.empty():
        raise ConfigurationError(
            f"{order.out} has lines already, and the journal here knows nothing of them; give another --out, or "
            "--fresh to do all rows anew (lines with other ids stay)"
        )
    if known and (differing := _differing(known.settings["same"], order.same)):
        raise ConfigurationError(_differs(order, differing))


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {_short(before.get(name))}, and is {_short(value)} now"
        for name, value in now.items()
        if before.get(name) != value
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}… ({sha256(text.encode()).hexdigest()[:6]})"


def _differs(order: Order, differing: list[str]) -> str:
    return (
        f"the lines of {order.out or 'this map'} come from another question: {'; '.join(differing)}; give another "
        "--out, or --fresh to do all rows anew"
    )
