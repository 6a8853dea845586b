"""Runs cases through the public API, arm after arm within each case, so that the machine's moods hit all arms alike."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from pathlib import Path

from fastslow.agent.agent import Agent
from fastslow.agent.budget import Budget
from fastslow.agent.engine.types import Engine
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.repository import Changed, Repository, verdict
from fastslow.agent.evals.rows import Key, Row, measured
from fastslow.agent.events import Event, Exit, Result, RunFinished
from fastslow.agent.many import as_they_come
from fastslow.agent.modes import ModePolicy
from fastslow.agent.record.journal import Journal
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import Sandbox

ENDED_EARLY = "left as soon as it was decided"


@dataclass(frozen=True, slots=True)
class Arm:
    """Something to compare, with a name. policy: None is that of the model's profile. engine: the same model under
    another profile; None is that of the setting."""

    name: str
    policy: ModePolicy | None = None
    engine: Engine | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """Under which the cases run. budget: of each run; one that reaches it is wrong. at_once: runs side by side; they
    share the server, so that each takes longer and all take less."""

    engine: Engine
    sandbox: Sandbox | None
    budget: Budget
    seed: int
    at_once: int = 1


async def evaluate(
    setting: Setting, cases: Sequence[Case], arms: Sequence[Arm], repeats: int = 1, done: Collection[Key] = ()
) -> AsyncGenerator[Row, None]:
    """A row for each case, arm and repeat that is not done yet, as they come. Raises what `Agent.stream` raises."""
    for engine in (setting.engine, *(arm.engine for arm in arms if arm.engine)):
        await engine.connect()
    work = (
        _measure(setting, case, arm, repeat)
        for repeat in range(repeats)
        for case in cases
        for arm in arms
        if (case.suite, case.id, arm.name, repeat) not in done
    )
    async with aclosing(as_they_come(work, setting.at_once)) as rows:
        async for row in rows:
            yield row


async def _measure(setting: Setting, case: Case, arm: Arm, repeat: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="fastslow-eval-") as folder:
        if case.repository:
            result, wrong = await _run_repository(setting, case, case.repository, arm, Path(folder))
        else:
            result = await _run_case(setting, case, arm, Path(folder))
            wrong = await asyncio.to_thread(case.judge, result)  # one of them asks a program
    return measured(case, arm.name, repeat, setting.seed, setting.engine.model, result, wrong)


async def _run_repository(
    setting: Setting, case: Case, repository: Repository, arm: Arm, folder: Path
) -> tuple[Result, str]:
    """The result, and what the repository's tests say of it, whatever the run's end."""
    if setting.sandbox is None:
        raise ConfigurationError(f"{case.suite} needs a sandbox: what a run wrote is run nowhere else")
    result, changed = await run_in_tree(setting, case, repository, arm, folder)
    return result, await verdict(setting.sandbox, repository, changed)


async def run_in_tree(
    setting: Setting, case: Case, repository: Repository, arm: Arm, folder: Path
) -> tuple[Result, Changed]:
    """A run on the files of a repository, and what it made of them."""
    for path, content in repository.files.items():
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / path).write_bytes(content)
    with closing(Journal(folder / "runs.db")) as journal:
        agent = Agent(
            engine=arm.engine or setting.engine,
            sandbox=setting.sandbox,
            policy=arm.policy,
            budget=setting.budget,
            journal=journal,
        )
        result = await agent.run(case.task, tree=Tree(folder / "tree", test=repository.test, trust=False))
        changed = await asyncio.to_thread(result.changes.contents) if result.changes else {}
    return result, changed


async def _run_case(setting: Setting, case: Case, arm: Arm, folder: Path) -> Result:
    files = _write_files(case.files, folder)
    journal = Journal(folder / "runs.db")
    agent = Agent(
        engine=arm.engine or setting.engine,
        tools=case.tools(),
        sandbox=setting.sandbox if case.sandboxed else None,
        policy=arm.policy,
        budget=setting.budget,
        out=folder / "out",
        journal=journal if case.follow_ups else None,
    )
    with closing(journal):
        result = await _run_task(agent, case, case.task, files)
        for task in case.follow_ups:
            if result.exit is not Exit.ANSWERED:
                break
            then = await _run_task(agent, case, task, after=result.run)
            events, seconds = (*result.events, *then.events), result.seconds + then.seconds
            result = replace(then, events=events, seconds=seconds)
    return result


async def _run_task(
    agent: Agent, case: Case, task: str, files: Sequence[Path] = (), after: str | None = None
) -> Result:
    started = time.monotonic()
    said: list[Event] = []
    async with aclosing(agent.stream(task, files=files, after=after)) as events:
        async for event in events:
            if isinstance(event, RunFinished):
                return event.result
            said.append(event)
            if case.stop_when and case.stop_when(said):
                break
    return _ended_early(said, time.monotonic() - started)


def _write_files(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def _ended_early(said: Sequence[Event], seconds: float) -> Result:
    """The result of a run that was not waited for, as nothing behind this point matters."""
    return Result("", "", None, None, (), {}, Exit.ANSWERED, ENDED_EARLY, seconds, tuple(said))
