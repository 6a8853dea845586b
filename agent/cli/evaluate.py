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
from agent.engine.profiles import PROFILES, Profile
from agent.engine.profiles.overlay import overlay_path, save_rules
from agent.evals import tune
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
    """The command line of one evaluation. think: a policy each. n: cases; None takes all. tune: compare candidates
    for the model's rules instead, and write down what they came to."""

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
    tune: bool = False


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
    if wanted.tune:
        _save(engine.profile, rows)
    return 0


async def _carry_out(wanted: Wanted, engine: VLLM, cases: Sequence[Case]) -> list[Row]:
    """The rows of all cases: those of the file, and those that were still to do."""
    path, console = wanted.out / ROWS, terminal(stderr=True)
    await engine.connect()
    profile = engine.profile
    arms = tune.arms(shipped(profile)) if wanted.tune else _arms(profile, wanted.think)
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


def _arms(profile: Profile, think: Sequence[Think]) -> tuple[Arm, ...]:
    return tuple(Arm(str(each), ModePolicy(profile.rules, each)) for each in think)


def shipped(profile: Profile) -> Profile:
    """A profile as it comes, without the rules of an earlier `tune`."""
    return next((each for each in PROFILES if each.name == profile.name), profile)


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


def _save(profile: Profile, rows: Sequence[Row]) -> None:
    """Write the rules that paid, and say of each candidate what it came to."""
    found, model = tune.findings(shipped(profile), rows), rows[0].model
    rules, path = tune.tuned(found), overlay_path(model)
    told = terminal(stderr=True)
    for each in found:
        mark = "[green]taken[/]" if each.taken else "[dim]left[/] "
        told.print(f"{mark}  {each.rule.kind} {each.rule.budget}: {each.told}", highlight=False)
    if rules:
        seeds = {row.seed for row in rows}
        save_rules(path, rules, f"Rules of {model}, measured by `fastslow tune` on {rows[0].suite}, seed {seeds}.")
        told.print(f"written to {path}; they hold from the next run on. Remove the file to go back.", highlight=False)
    else:
        path.unlink(missing_ok=True)
        told.print("nothing was better than the profile's own rules, so they stay", highlight=False)
