"""Jobs in the journal: a `map` or a `flow`, and what each of its steps came to. A row of a map is a step, too.

A step is known by its key, which is made of its content (what is asked, of whom, with which values and files), not of
its place. What a job holds of a key is never done again, so the same command goes on where it stopped. A step that had
begun and has no end was cut off: whoever goes on decides whether it may be done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from fastslow.agent.engine.types import Usage
from fastslow.agent.errors import JournalBroken, RunUnknown
from fastslow.agent.events import Exit, ModeUsage, Result, TurnFinished
from fastslow.agent.record.journal import Journal, new_id

JobKind: TypeAlias = Literal["map", "flow"]
SPENT = ("turns", "tokens", "thinking", "prompt", "cached")  # fields of a StepResult that are summed up


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to.

    key: of the step. name: for people; of a row of a map its id. output: a JSON value, or None. reason: one sentence
    where it was not answered. failure: the kind of failure, as a word that is compared, such as `invalid` or
    `refused 400`; `""` where it was answered. turns: calls of the model. tokens: generated, thinking included;
    thinking: of these. prompt, cached: tokens of the prompts, and of these what the server had already. run: the run
    that carried it out, `""` for none. files: what it made, as paths on the host. votes: of several samples, the share
    that agreed on a field.
    """

    key: str
    name: str
    exit: Exit
    output: Any = None
    reason: str = ""
    failure: str = ""
    turns: int = 0
    tokens: int = 0
    thinking: int = 0
    prompt: int = 0
    cached: int = 0
    seconds: float = 0.0
    run: str = ""
    files: tuple[str, ...] = ()
    votes: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_run(cls, key: str, name: str, result: Result, output: Any) -> StepResult:
        """What a step came to that a run carried out. output: a JSON value, where the run was answered."""
        if result.only_denied:
            result = replace(result, exit=Exit.STOPPED, reason="every call that it made was denied")
        answered = result.exit is Exit.ANSWERED
        red = result.exit is Exit.FAILED and result.check is not None and result.check.verdict != "green"
        return cls(
            key,
            name,
            result.exit,
            output if answered else None,
            "" if answered else result.reason,
            "" if answered else "check" if red else str(result.exit),
            seconds=round(result.seconds, 3),
            run=result.run,
            files=tuple(map(str, result.files)),
            **spent(result.usage),
        )


def spent(usage: Mapping[str, ModeUsage]) -> dict[str, Any]:
    """What was spent by mode, in all, as fields of a StepResult (`SPENT`)."""
    total = sum([row.usage for row in usage.values()], Usage())
    return {
        "turns": sum(row.turns for row in usage.values()),
        "tokens": total.thinking + total.answer,
        "thinking": total.thinking,
        "prompt": total.prompt,
        "cached": total.cached,
    }


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step of a job. parent: key of the step that it is a part of, `""` for none. ended: its place among the steps of
    the job that ended, from 1; None for one that was cut off or goes on. result: None until then."""

    key: str
    name: str
    parent: str
    started: datetime
    ended: int | None
    result: StepResult | None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job. key: what finds it again. settings: what it was asked for, as JSON can hold it. exit: None while it goes
    on, or after it was killed."""

    job: str
    kind: JobKind
    name: str
    key: str
    settings: Mapping[str, Any]
    started: datetime
    exit: Exit | None


class Jobs:
    """The jobs of a journal. Every method raises JournalBroken where the file cannot be used."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    @contextmanager
    def open(self, kind: JobKind, name: str, key: str, settings: Mapping[str, Any]) -> Iterator[Job]:
        """Be the only one that carries out the job with this key, which is begun where there is none yet.

        settings: of a job that is begun; one that goes on keeps its own (see `JobInfo.settings`), unless `Job.change`
        says otherwise. Raises RunBusy while another process has it.
        """
        with self.journal.hold_key(f"{kind}/{key}"):
            known = self.keyed(kind, key)
            if known is None:
                known = JobInfo(new_id(), kind, name, f"{kind}/{key}", settings, datetime.now(UTC), None)
                row = (known.job, kind, name, known.key, json.dumps(dict(settings)), time.time())
                with self.journal.transaction() as database:
                    insert = "INSERT INTO jobs (job, kind, name, key, settings, started) VALUES (?, ?, ?, ?, ?, ?)"
                    database.execute(insert, row)
            else:
                with self.journal.transaction() as database:
                    database.execute("UPDATE jobs SET exit = NULL, ended = NULL WHERE job = ?", (known.job,))
            yield Job(self.journal, known)

    def all(self) -> tuple[JobInfo, ...]:
        """All jobs, the latest first."""
        rows = self.journal.rows(
            "SELECT job, kind, name, key, settings, started, exit FROM jobs ORDER BY started DESC, job DESC"
        )
        return tuple(
            JobInfo(job, kind, name, key, json.loads(text), datetime.fromtimestamp(at, UTC), Exit(end) if end else None)
            for job, kind, name, key, text, at, end in rows
        )

    def keyed(self, kind: JobKind, key: str) -> JobInfo | None:
        return next((job for job in self.all() if job.key == f"{kind}/{key}"), None)

    def find(self, name: str, kind: JobKind) -> JobInfo:
        """A job by its id, the beginning of it, or `last`. RunUnknown."""
        known = [job for job in self.all() if job.kind == kind]
        matching = known[:1] if name == "last" else [job for job in known if name and job.job.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            some = ", ".join(job.job for job in matching[:5])
            raise RunUnknown(f"{len(matching)} jobs begin with {name!r}, such as {some}; write more of the id")
        raise RunUnknown(f"no {kind} {name!r} in {self.journal.path}; `fastslow runs` lists what there is")

    def steps(self, job: str, after: int = 0) -> tuple[StepInfo, ...]:
        """The steps of a job that ended, in that order, from behind a place; then those that have not ended."""
        ended = "SELECT key, name, parent, started, ended, result FROM steps WHERE job = ? AND ended > ? ORDER BY ended"
        begun = (
            "SELECT key, name, parent, started, NULL, NULL FROM steps WHERE job = ? AND ended IS NULL ORDER BY started"
        )
        return tuple(map(_step, [*self.journal.rows(ended, job, after), *self.journal.rows(begun, job)]))

    def remove(self, job: str) -> None:
        """Forget a job and its steps; its runs stay."""
        with self.journal.transaction() as database:
            database.execute("DELETE FROM steps WHERE job = ?", (job,))
            database.execute("DELETE FROM jobs WHERE job = ?", (job,))


@dataclass(slots=True)
class Job:
    """A job that this process carries out. info: of its beginning."""

    journal: Journal
    info: JobInfo
    _ended: int = field(init=False)

    def __post_init__(self) -> None:
        [[self._ended]] = self.journal.rows("SELECT coalesce(max(ended), 0) FROM steps WHERE job = ?", self.id)

    @property
    def id(self) -> str:
        return self.info.job

    def result(self, key: str) -> StepResult | None:
        """What a step came to; None for one that has not ended."""
        rows = self.journal.rows("SELECT name, result FROM steps WHERE job = ? AND key = ? AND ended > 0", self.id, key)
        return _result(key, *rows[0]) if rows else None

    def names(self) -> dict[str, tuple[str, Exit]]:
        """The key of each step that ended, and how it did, by name: of a map by the row's id."""
        rows = self.journal.rows(
            "SELECT name, key, json_extract(result, '$.exit') FROM steps WHERE job = ? AND ended > 0", self.id
        )
        return {name: (key, Exit(end)) for name, key, end in rows}

    def spent(self) -> tuple[int, ...]:
        """Turns, tokens, of these thinking, tokens of prompts, and of these cached, of all steps that ended."""
        sums = ", ".join(f"coalesce(sum(json_extract(result, '$.{name}')), 0)" for name in SPENT)
        [row] = self.journal.rows(f"SELECT {sums} FROM steps WHERE job = ? AND ended > 0", self.id)  # noqa: S608 - ours
        return tuple(map(int, row))

    def begun(self, key: str) -> bool:
        """Whether a step was begun, and perhaps cut off."""
        return bool(self.journal.rows("SELECT 1 FROM steps WHERE job = ? AND key = ?", self.id, key))

    def begin(self, key: str, name: str, parent: str = "", *, waits: bool = True) -> None:
        """A step begins, or begins again. waits: until the disk has it, as an effect outside needs."""
        with self.journal.transaction(waits=waits) as database:
            database.execute(
                "INSERT OR REPLACE INTO steps (job, key, name, parent, started) VALUES (?, ?, ?, ?, ?)",
                (self.id, key, name, parent, time.time()),
            )

    def end(self, *results: StepResult) -> None:
        """Steps have ended: all of them are on the disk when it returns, or none."""
        rows = []
        for place, result in enumerate(results, self._ended + 1):
            said = {name: value for name, value in asdict(result).items() if value and name not in ("key", "name")}
            if result.output is not None:  # 0, False and "" are values, too
                said["output"] = result.output
            text = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace").decode()
            rows.append((self.id, result.key, result.name, time.time() - result.seconds, place, text))
        with self.journal.transaction() as database:
            database.executemany(
                "INSERT INTO steps (job, key, name, parent, started, ended, result) VALUES (?, ?, ?, '', ?, ?, ?) "
                "ON CONFLICT (job, key) DO UPDATE SET ended = excluded.ended, result = excluded.result",
                rows,
            )
        self._ended += len(results)

    def replies(self) -> dict[str, list[TurnFinished]]:
        """The model's replies in the runs of the job, and in those within them, by the key of the step."""
        found = {}
        for run, key in self.journal.rows("SELECT run, key FROM runs WHERE parent = ?", self.id):
            events = self.journal.read(run, workspace=False).events
            said = [event for event in events if isinstance(event, TurnFinished)]
            found[key.rpartition("/")[2]] = [*said, *self.journal.replies_within(run)]
        return found

    def forget(self, keys: Sequence[str]) -> None:
        """Steps are to be done again."""
        with self.journal.transaction() as database:
            database.executemany("DELETE FROM steps WHERE job = ? AND key = ?", [(self.id, key) for key in keys])

    def change(self, settings: Mapping[str, Any]) -> None:
        """The job goes on under other settings."""
        with self.journal.transaction() as database:
            database.execute("UPDATE jobs SET settings = ? WHERE job = ?", (json.dumps(dict(settings)), self.id))

    def finish(self, end: Exit) -> None:
        """This process is done with it. One that was not answered may go on."""
        with self.journal.transaction() as database:
            database.execute("UPDATE jobs SET exit = ?, ended = ? WHERE job = ?", (end, time.time(), self.id))


def _step(row: tuple[Any, ...]) -> StepInfo:
    key, name, parent, started, ended, text = row
    result = _result(key, name, text) if text else None
    return StepInfo(key, name, parent, datetime.fromtimestamp(started, UTC), ended, result)


def _result(key: str, name: str, text: str) -> StepResult:
    try:
        said = json.loads(text)
        return StepResult(key, name, Exit(said.pop("exit")), files=tuple(said.pop("files", ())), **said)
    except (ValueError, TypeError, KeyError) as error:
        raise JournalBroken(f"the step {name} of a job cannot be read: {error}; do it again with --fresh") from error
