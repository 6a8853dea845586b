"""`fastslow runs`, `show`, `fork`, `replay` and `resume`: what the journal holds, and how it goes on."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.table import Table
from rich.text import Text

from fastslow import Agent, Budget, ConfigurationError, Journal, ScriptedModel
from fastslow.agent.events import Exit, RunFinished
from fastslow.agent.plan import OWN
from fastslow.agent.record.journal import RunInfo
from fastslow.agent.record.start import new_id
from fastslow.agent.surfaces.cli import run as runner
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.sandbox import Network
from fastslow.tools.builtin import BUILTIN

_STYLES = {"answered": "green", "running": "yellow"}


def runs(*, as_json: bool) -> None:
    """Print all runs, the latest first."""
    with _journal() as journal:
        found = journal.runs()
    if as_json:
        rows = [{**asdict(info), "started": info.started.isoformat(), "state": _state(info)} for info in found]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    if not found:
        terminal(stderr=True).print(Text("no run yet; start one with `fastslow run`", "dim"))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", expand=True)
    table.add_column("run", no_wrap=True)  # it begins with the time (UTC)
    table.add_column("state", no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for info in found:
        state = _state(info)
        table.add_row(Text(info.run), Text(state, _STYLES.get(state, "red")), Text(one_line(info.task)))
    terminal().print(table)


def show(name: str, *, as_json: bool, show_thinking: bool) -> None:
    """Print what a run said, as it was printed then."""
    with _journal() as journal:
        written = journal.read(journal.find(name))
    view = runner.view_of(as_json=as_json, show_thinking=show_thinking)
    with view:
        for event in (*written.events, *([written.finished] if written.finished else [])):
            view.show(event)


def fork(name: str, turn: int) -> None:
    """Copy a run as it was before a turn; prints the copy's id."""
    with _journal() as journal:
        new = new_id()
        try:
            journal.fork(journal.find(name), turn, new)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    terminal().print(Text(new))
    terminal(stderr=True).print(Text(f"it goes on with: fastslow resume {new}", "dim"))


def replay(name: str, *, as_json: bool, show_thinking: bool) -> int:
    """Carry a run out once more from its record alone; returns the exit status that it had."""
    agent = Agent(engine=ScriptedModel(()), journal=Journal())
    view = runner.view_of(as_json=as_json, show_thinking=show_thinking)

    async def main() -> Exit:
        end = Exit.FAILED
        with view:
            async with aclosing(agent.replay(name)) as events:
                async for event in events:
                    view.show(event)
                    if isinstance(event, RunFinished):
                        end = event.result.exit
        return end

    return runner.STATUS[asyncio.run(main())]


def resume(name: str, budget: Budget | None, **options: Any) -> int:
    """Go on with a run as it was set up; returns the exit status. budget: None takes that of then. options: fields of
    `Wanted` that are new."""
    with _journal() as journal:
        run = journal.find(name)
        written = journal.read(run)
    answered = written.finished and written.finished.result.exit is Exit.ANSWERED
    if not answered and (own := [tool for tool in written.started.tools if tool not in {*OWN, *BUILTIN}]):
        raise ConfigurationError(
            f"run {run} has tools of its own, {', '.join(own)}, which this command does not know; go on in Python: "
            f'await Agent(tools=[...]).resume("{run}")'
        )
    settings = written.started.settings
    out = settings.get("out")
    wanted = runner.Wanted(
        task=None,
        files=(),
        think=settings.get("think", "auto"),
        out=Path(out) if out else None,
        network=Network(tuple(settings.get("allow", ()))),
        budget=budget or TypeAdapter(Budget).validate_python(settings.get("budget", {})),
        instructions=settings.get("instructions", ""),
        resume=run,
        **options,
    )
    return runner.run(wanted)


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
