"""`fastslow eval`: run a suite under one policy or several, and report."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.table import Table

from agent.budget import Budget
from agent.cli.phases import Phases
from agent.cli.prepare import prepare_sandbox, prepare_server
from agent.cli.text import terminal
from agent.engine.client import VLLM
from agent.engine.profiles import Profile
from agent.evals.case import Case
from agent.evals.evaluate import Arm, Setting, evaluate
from agent.evals.report import HEAD, line, page, picture, summaries
from agent.evals.rows import Row, append, read
from agent.evals.suites import SUITES
from agent.modes import ModePolicy, Think
from sandbox import DockerSandbox

ROWS, PAGE, PICTURE = "rows.jsonl", "report.md", "report.svg"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line of one evaluation. think: a policy each. n: cases; None takes all."""

    suite: str
    think: tuple[Think, ...]
    n: int | None
    seed: int
    repeat: int
    out: Path
    model: str | None
    base_url: str | None
    as_json: bool
    budget: Budget


def run(wanted: Wanted) -> int:
    """Set up, run what is not done yet, report; returns the exit status."""
    cases = SUITES[wanted.suite](wanted.seed)[: wanted.n]
    wanted.out.mkdir(parents=True, exist_ok=True)
    phases = Phases(terminal(stderr=True))
    if any(case.sandboxed for case in cases):
        prepare_sandbox(phases)
    if not wanted.base_url:
        prepare_server(phases, wanted.model)
    engine = VLLM(wanted.base_url, wanted.model if wanted.base_url else None)
    try:
        rows = asyncio.run(_carry_out(wanted, engine, cases))
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from {wanted.out / ROWS}", err=True)
        return 130
    _report(wanted, rows)
    return 0


async def _carry_out(wanted: Wanted, engine: VLLM, cases: Sequence[Case]) -> list[Row]:
    """The rows of all cases: those of the file, and those that were still to do."""
    path, console = wanted.out / ROWS, terminal(stderr=True)
    await engine.connect()
    arms = [Arm(str(think), policy_of(engine.profile, think)) for think in wanted.think]
    ids = {case.id for case in cases}
    rows = [row for row in read(path) if row.case in ids and row.arm in {arm.name for arm in arms}]
    of = len(cases) * len(arms) * wanted.repeat
    sandbox = DockerSandbox()
    setting = Setting(engine, sandbox, wanted.budget, wanted.seed)
    try:
        done = {row.key for row in rows}
        async with aclosing(evaluate(setting, cases, arms, wanted.repeat, done)) as measured:
            async for row in measured:
                append(path, row)
                rows.append(row)
                mark = "[green]✓[/]" if row.right else "[red]✗[/]"
                console.print(f"{mark} {len(rows)}/{of}  {row.arm:8} {row.case:28} {row.seconds:5.1f} s  ", end="")
                console.print(row.wrong[:120], style="dim", markup=False, highlight=False)
    finally:
        await engine.aclose()
        await sandbox.aclose()
    return rows


def policy_of(profile: Profile, think: Think) -> ModePolicy:
    return ModePolicy(profile.rules, think)


def _report(wanted: Wanted, rows: Sequence[Row]) -> None:
    found = summaries(rows)
    command = shlex.join(["fastslow", "eval", wanted.suite, "--seed", str(wanted.seed), "--n", str(wanted.n or "all")])
    (wanted.out / PAGE).write_text(page(rows, command), "utf-8")
    (wanted.out / PICTURE).write_text(picture(f"{wanted.suite}, {rows[0].model}", found), "utf-8")
    if wanted.as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    shown = Table(*HEAD, box=None)
    for one in found:
        shown.add_row(*line(one))
    terminal().print(shown)
    terminal().print(f"{wanted.out / PAGE}", highlight=False)
