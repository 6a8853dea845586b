"""`fastslow runs rm`: which runs go, the question before, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import typer
from rich.text import Text

from fastslow import ConfigurationError, Journal, JournalBroken, RunBusy
from fastslow.agent.record.jobs import Jobs
from fastslow.agent.record.written import RunInfo
from fastslow.agent.surfaces.cli.asking import can_confirm
from fastslow.agent.surfaces.cli.runs import job_rows, run_table
from fastslow.agent.surfaces.cli.status import CANCELLED
from fastslow.agent.surfaces.cli.text import one_line, size, terminal

LISTED = 20  # runs that are shown before the question


def remove(names: Sequence[str], older_than: timedelta | None, *, yes: bool) -> int:
    """Remove the named runs, else those of an age, else all; returns the exit status. yes: nobody is asked."""
    console = terminal(stderr=True)
    with closing(Journal()) as journal:
        jobs = job_rows(journal)
        if names:
            wanted = {_found(journal, jobs, name) for name in names}
            busy = [info.run for info in jobs if info.run in wanted and info.running]
            if busy:
                raise RunBusy(f"job {busy[0]} is being carried out; wait for it, or stop it first")
            runs = _with_their_runs(journal.runs(), wanted)
            journal.check_removable({info.run for info in runs})
            gone = [*runs, *(info for info in jobs if info.run in wanted)]
        else:
            runs = [*journal.runs(), *jobs]
            before = datetime.now(UTC) - older_than if older_than else None
            wanted = {info.run for info in runs if before is None or info.started < before}
            gone = removable(runs, wanted)
            if kept := len(wanted) - len(gone):
                console.print(f"{_count(kept)} cannot be removed: still going on, or a run that stays follows it")
        if not gone:
            console.print("no runs to remove")
            return 0
        if not yes and (status := _confirm(gone)):
            return status
        of_jobs = {info.run for info in jobs}
        journal.remove([info.run for info in gone if info.run not in of_jobs])
        for info in gone:
            if info.run in of_jobs:
                Jobs(journal).remove(info.run)
        try:
            freed = f"{size(journal.shrink())} given back to the disk"
        except JournalBroken as error:  # they are gone all the same
            freed = (
                f"their space could not be given back to the disk yet, and later runs use it: {one_line(str(error))}"
            )
    console.print(f"{_count(len(gone))} removed; {freed}")
    return 0


def _found(journal: Journal, jobs: Sequence[RunInfo], name: str) -> str:
    """The id of a run or a job, from the beginning of it."""
    matching = [info.run for info in jobs if name and info.run.startswith(name)]
    runs = [info.run for info in journal.runs() if name and info.run.startswith(name)]
    return matching[0] if len(matching) == 1 and not runs else journal.find(name)


def _with_their_runs(runs: Sequence[RunInfo], wanted: set[str]) -> list[RunInfo]:
    """The wanted runs, and those that were carried out within a wanted run or job."""
    gone = set(wanted)
    while more := {info.run for info in runs if info.parent in gone} - gone:
        gone |= more
    return [info for info in runs if info.run in gone]


def removable(runs: Sequence[RunInfo], wanted: set[str]) -> list[RunInfo]:
    """Of the wanted runs those that can go: nobody carries them out, and no run that stays follows them."""
    gone = {info.run for info in runs if info.run in wanted and not info.running}
    while needed := gone & {info.after for info in runs if info.run not in gone}:
        gone -= needed
    return [info for info in runs if info.run in gone]


def _confirm(gone: Sequence[RunInfo]) -> int:
    """Ask whoever sits at the terminal; 0 for a yes, else the exit status."""
    if not can_confirm():
        raise ConfigurationError(f"{_count(len(gone))} would be removed, and nobody can be asked here; add --yes")
    console = terminal(stderr=True)
    console.print(run_table(gone[:LISTED]))
    if len(gone) > LISTED:
        console.print(Text(f"… and {len(gone) - LISTED} more", "dim"))
    try:
        agreed = typer.confirm(f"Remove {_count(len(gone))} for good?", err=True)
        status = 0 if agreed else 1
    except typer.Abort:
        console.print()
        status = CANCELLED
    if status:
        console.print("nothing was removed")
    return status


def _count(runs: int) -> str:
    return f"{runs} run{'' if runs == 1 else 's'}"
