"""`fastslow runs`, `show`, `fork`, `replay` and `resume`: what the journal holds, and how it goes on."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.table import Table
from rich.text import Text

from fastslow import Agent, Budget, ConfigurationError, Journal, ScriptedModel
from fastslow.agent.events import Exit, Notice, RunFinished, RunStarted
from fastslow.agent.plan import OWN
from fastslow.agent.record.jobs import Jobs
from fastslow.agent.record.journal import new_id
from fastslow.agent.record.start import lost_files
from fastslow.agent.record.written import RunInfo
from fastslow.agent.surfaces.cli import run as runner
from fastslow.agent.surfaces.cli.options import changed_budget, sandbox_limits
from fastslow.agent.surfaces.cli.status import FAILED, status_of_run
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.sandbox import Limits, Network
from fastslow.tools.builtin import BUILTIN

_STATE_STYLES = {"answered": "green", "running": "yellow"}


def list_runs(*, as_json: bool) -> None:
    """Print all runs, the latest first."""
    with _journal() as journal:
        runs, jobs = journal.runs(), job_rows(journal)
    found = sorted([*runs, *jobs], key=lambda info: info.started, reverse=True)
    if as_json:
        rows = [{**asdict(info), "started": info.started.isoformat(), "state": _state(info)} for info in found]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    if not found:
        terminal(stderr=True).print(Text("no run yet; start one with `fastslow run`", "dim"))
        return
    of_jobs = {info.run for info in jobs}
    terminal().print(run_table([info for info in found if info.parent not in of_jobs]))


def job_rows(journal: Journal) -> list[RunInfo]:
    """The jobs of a journal as rows among its runs, each with the number of its own."""
    counts = Counter(info.parent for info in journal.runs())
    return [
        RunInfo(
            job.job,
            f"{job.kind}: {job.name} ({counts[job.job]} runs)",
            "",
            job.started,
            job.exit,
            journal.holds_key(job.key),
        )
        for job in Jobs(journal).all()
    ]


def run_table(runs: Sequence[RunInfo]) -> Table:
    """A row for each run: its id, state and task, cut to the terminal's width. Below it are those within it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", expand=True)
    table.add_column("run", no_wrap=True)  # it begins with the time (UTC)
    table.add_column("state", no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for depth, info in _nested(runs):
        state, indent = _state(info), "  " * (depth - 1) + "└ " if depth else ""
        table.add_row(Text(indent + info.run), Text(state, _STATE_STYLES.get(state, "red")), Text(one_line(info.task)))
    return table


def _nested(runs: Sequence[RunInfo]) -> Iterator[tuple[int, RunInfo]]:
    """Each run behind the one whose call it carried out, where that is listed, and how deep it lies."""
    listed = {info.run for info in runs}
    children: defaultdict[str, list[RunInfo]] = defaultdict(list)
    for info in runs:
        children[info.parent if info.parent in listed else ""].append(info)

    def below(parent: str, depth: int) -> Iterator[tuple[int, RunInfo]]:
        for info in children[parent]:
            yield depth, info
            yield from below(info.run, depth + 1)

    return below("", 0)


def show(name: str, *, as_json: bool, show_thinking: bool) -> None:
    """Print what a run did, as it was printed then."""
    with _journal() as journal:
        written = journal.read(journal.find(name))
    view = runner.make_view(as_json=as_json, show_thinking=show_thinking)
    with view:
        for event in written.events:
            view.show(event)
            if isinstance(event, RunStarted):
                for lost in lost_files(written):
                    view.show(Notice(lost))
        if written.finished:
            view.show(written.finished)


def fork(name: str, turn: int) -> None:
    """Copy a run as it was before a turn; prints the copy's id."""
    with _journal() as journal:
        new = new_id()
        try:
            journal.fork(journal.find(name), turn, new)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    terminal().print(Text(new))
    terminal(stderr=True).print(Text(f"Go on with it: fastslow resume {new}", "dim"))


def replay(name: str, *, as_json: bool, show_thinking: bool) -> int:
    """Carry a run out once more from its record alone; returns the exit status that it had."""
    agent = Agent(engine=ScriptedModel(()), journal=Journal())
    view = runner.make_view(as_json=as_json, show_thinking=show_thinking)

    async def main() -> int:
        status = FAILED
        with view:
            async with aclosing(agent.replay(name)) as events:
                async for event in events:
                    view.show(event)
                    if isinstance(event, RunFinished):
                        status = status_of_run(event.result)
        return status

    return asyncio.run(main())


def resume(
    name: str, budget: Mapping[str, float] | None, *, seconds: float | None, memory: int | None, **options: Any
) -> int:
    """Go on with a run as it was set up; returns the exit status. budget, seconds, memory: limits that differ
    from those of then. options: fields of `RunArguments` that the journal does not hold."""
    with _journal() as journal:
        run = journal.find(name)
        written = journal.read(run)
    answered = written.finished and written.finished.result.exit is Exit.ANSWERED
    if not answered and (own := [tool for tool in written.started.tools if tool not in {*OWN, *BUILTIN}]):
        raise ConfigurationError(
            f"run {run} was given tools in Python, {', '.join(own)}, which this command does not have; go on there: "
            f'await Agent(tools=[...]).resume("{run}")'
        )
    settings = written.started.settings
    out = settings.get("out")
    then = TypeAdapter(Budget).validate_python(settings.get("budget", {}))
    arguments = runner.RunArguments(
        task=None,
        files=(),
        think=settings.get("think", "auto"),
        out=Path(out) if out else None,
        network=Network(tuple(settings.get("allow", ()))),
        budget=changed_budget(then, budget),
        limits=sandbox_limits(seconds, memory, TypeAdapter(Limits).validate_python(settings.get("limits", {}))),
        instructions=settings.get("instructions", ""),
        resume=run,
        schema=written.started.output,
        **options,
    )
    return runner.run(arguments)


@contextmanager
def _journal() -> Iterator[Journal]:
    journal = Journal()
    try:
        yield journal
    finally:
        journal.close()


def _state(info: RunInfo) -> str:
    if info.running:
        return "running"
    return str(info.exit) if info.exit else "interrupted"
