"""`fastslow diff`, `apply` and `undo`: what a run changed in its copy of a project."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from fastslow import Journal
from fastslow.agent.changes import ChangeSet
from fastslow.agent.errors import ConfigurationError, RunUnknown
from fastslow.agent.events import Exit
from fastslow.agent.record.changed import changes_of
from fastslow.agent.surfaces.cli.status import FAILED
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.agent.tree.apply import Plan, Step
from fastslow.agent.tree.plan import picked

SETTLE = "settle the conflicts first"
NAME_PATHS = f"{SETTLE}, or name the paths that you want"


def diff(run: str, paths: tuple[str, ...], *, as_json: bool) -> None:
    """Print the patch, byte by byte; or a row for each file."""
    changes, paths = _chosen(run, paths)
    if as_json:
        sys.stdout.write(json.dumps([asdict(file) for file in changes.stat().files], indent=2) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(changes.diff(paths))
    sys.stdout.buffer.flush()


def apply(run: str, paths: tuple[str, ...], *, dry_run: bool, as_json: bool) -> int:
    """Write the changes; returns the exit status."""
    changes, paths = _chosen(run, paths)
    plan = changes.apply(paths, dry_run=True)
    if not (dry_run or plan.conflicts):
        plan = changes.apply(paths)
    if as_json:
        _print_json("applied", changes.run, plan, dry_run=dry_run)
    else:
        terminal().print(_unfinished(changes.run), end="", soft_wrap=True)
        _print_plan(plan, "would be written" if dry_run else "written", NAME_PATHS)
        if plan.steps and not (dry_run or plan.conflicts):
            terminal().print(Text(f"Take it back: fastslow undo {one_line(changes.run)}", "dim"))
    return FAILED if plan.conflicts else 0


def undo(run: str, *, as_json: bool) -> int:
    """Take back what was applied last; returns the exit status."""
    changes = changes_in(run)
    plan = changes.undo(dry_run=True)
    if not plan.conflicts:
        plan = changes.undo()
    if as_json:
        _print_json("undone", changes.run, plan, dry_run=False)
    else:
        _print_plan(plan, "taken back", SETTLE)
    return FAILED if plan.conflicts else 0


def changes_in(run: str) -> ChangeSet:
    """Those of a run, by its id, the beginning of it, or `last`."""
    with closing(Journal()) as journal:
        return changes_of(journal, journal.find(run))


def _unfinished(run: str) -> Text:
    """A line for a run that has no answer: its changes may be half done, and nothing has proven them."""
    with closing(Journal()) as journal:
        info = next(info for info in journal.runs() if info.run == run)
    if info.exit is Exit.ANSWERED:
        return Text()
    ended = "is under way" if info.running else f"ended without an answer ({info.exit or 'interrupted'})"
    return Text(f"! the run {ended}: nothing proves what it changed so far\n", "yellow")


def _chosen(run: str, paths: tuple[str, ...]) -> tuple[ChangeSet, tuple[str, ...]]:
    """The changes of a run, and which of them. A path may stand in the run's place: it is the last one then."""
    try:
        return changes_in(run), paths
    except RunUnknown as unknown:
        try:
            changes = changes_in("last")
            picked(Path(changes.root), changes.changes, (run,))
        except (RunUnknown, ConfigurationError):
            raise unknown from None
        return changes, (run, *paths)


def _print_plan(plan: Plan, done: str, settle: str) -> None:
    """done: what became of the files, settle: what to do about conflicts, for whose sake nothing became of any."""
    console = terminal()
    for notice in plan.notices:
        console.print(Text(f"! {one_line(notice)}", "yellow"), soft_wrap=True)
    for conflict in plan.conflicts:
        console.print(Text(f"conflict {one_line(conflict.path)}: {one_line(conflict.reason)}", "red"), soft_wrap=True)
    if plan.conflicts:
        console.print(Text(f"nothing {done}: {settle}", "bold"), soft_wrap=True)
        return
    for step in plan.steps:
        console.print(Text(f"{_verb(step):<8} {one_line(step.path)}"), soft_wrap=True)
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
        "files": [{"path": step.path, "do": _verb(step)} for step in plan.steps if not plan.conflicts],
        "conflicts": [asdict(conflict) for conflict in plan.conflicts],
        "unchanged": list(plan.done),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
