"""`fastslow diff`, `apply` and `undo`: what a run changed in its copy of a project."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict

from rich.text import Text

from fastslow import Journal
from fastslow.agent.changes import ChangeSet
from fastslow.agent.record.changed import changes_of
from fastslow.agent.surfaces.cli.status import FAILED
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.agent.tree.apply import Plan, Step


def diff(run: str, paths: tuple[str, ...], *, as_json: bool) -> None:
    """Print the patch, byte by byte; or a row for each file."""
    changes = changes_in(run)
    if as_json:
        sys.stdout.write(json.dumps([asdict(file) for file in changes.stat().files], indent=2) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(changes.diff(paths))
    sys.stdout.buffer.flush()


def apply(run: str, paths: tuple[str, ...], *, dry_run: bool, as_json: bool) -> int:
    """Write the changes; returns the exit status."""
    changes = changes_in(run)
    plan = changes.apply(paths, dry_run=dry_run)
    if as_json:
        _print_json("applied", changes.run, plan, dry_run=dry_run)
    else:
        _print_plan(plan, "would be written" if dry_run else "written")
        if plan.steps and not dry_run:
            terminal().print(Text(f"Take it back: fastslow undo {one_line(changes.run)}", "dim"))
    return FAILED if plan.conflicts else 0


def undo(run: str, *, as_json: bool) -> int:
    """Take back what was applied last; returns the exit status."""
    changes = changes_in(run)
    plan = changes.undo()
    if as_json:
        _print_json("undone", changes.run, plan, dry_run=False)
    else:
        _print_plan(plan, "taken back")
    return 0


def changes_in(run: str) -> ChangeSet:
    """Those of a run, by its id, the beginning of it, or `last`."""
    with closing(Journal()) as journal:
        return changes_of(journal, journal.find(run))


def _print_plan(plan: Plan, done: str) -> None:
    console = terminal()
    for notice in plan.notices:
        console.print(Text(f"! {one_line(notice)}", "yellow"), soft_wrap=True)
    for step in plan.steps:
        console.print(Text(f"{_verb(step):<8} {one_line(step.path)}"), soft_wrap=True)
    for conflict in plan.conflicts:
        console.print(Text(f"conflict {one_line(conflict.path)}: {one_line(conflict.reason)}", "red"), soft_wrap=True)
    count = len(plan.steps)
    told = f"{count} file{'' if count == 1 else 's'} {done}" if count else "nothing to do"
    there = f", {len(plan.done)} as they are to be already" if plan.done else ""
    console.print(Text(told + there, "bold"))


def _verb(step: Step) -> str:
    if step.after is None:
        return "delete"
    if step.stands is None:
        return "add"
    return "merge" if step.merged is not None else "change"


def _print_json(event: str, run: str, plan: Plan, *, dry_run: bool) -> None:
    told = {
        "event": event,
        "run": run,
        "dry_run": dry_run,
        "files": [{"path": step.path, "do": _verb(step)} for step in plan.steps],
        "conflicts": [asdict(conflict) for conflict in plan.conflicts],
        "unchanged": list(plan.done),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
