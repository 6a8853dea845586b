"""`fastslow eval` and `tune`: run a suite under one policy or several, report, and keep what paid."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import typer
from rich.table import Table

from fastslow.agent.budget import Budget
from fastslow.agent.engine.pool import engine_of
from fastslow.agent.engine.profiles import PROFILES, Profile
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.profiles.overlay import load_rules, overlay_path, save_rules
from fastslow.agent.engine.types import Engine
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.evals import tune as tuning
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.evaluate import Arm, Setting, evaluate
from fastslow.agent.evals.report import HEAD, line, page, picture, summaries
from fastslow.agent.evals.rows import Row, append, read
from fastslow.agent.evals.suites import cases_of
from fastslow.agent.folders import no_link
from fastslow.agent.modes import ModePolicy
from fastslow.agent.surfaces.cli.options import changed_budget, parse_think
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_run
from fastslow.agent.surfaces.cli.status import CANCELLED
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.sandbox import DockerSandbox
from fastslow.tools.builtin import Editing

BUDGET = Budget(turns=30, seconds=600)  # of each run
ROWS, PAGE, PICTURE = "rows.jsonl", "report.md", "report.svg"


@dataclass(frozen=True, slots=True)
class EvalArguments:
    """The command line of an evaluation. n: cases; None takes all. budget: limits of each run that are not the usual
    ones. folder: what a suite of others is read from."""

    suite: str
    n: int | None
    seed: int
    repeat: int
    at_once: int
    out: Path
    model: str | None
    base_url: Sequence[str] | None
    as_json: bool
    budget: Mapping[str, float] | None = None
    folder: Path | None = None


def compare(arguments: EvalArguments, policies: Sequence[str], edits: Sequence[str]) -> int:
    """Run the suite under each policy, with files changed in each of the ways, and report; returns the exit status."""
    for policy in policies:
        policy_of(policy, INSTRUCT)  # a wrong one is refused before anything is set up
    ways = [edit_of(edit) for edit in edits]

    def arms(engine: Engine) -> tuple[Arm, ...]:
        usual = [Arm(each, policy_of(each, engine.profile)) for each in policies]
        engines = {edit: _engine(arguments, replace(engine.profile, edit=edit)) for edit in ways}
        return tuple(
            replace(arm, name=f"{arm.name}, {edit}", engine=other) for arm in usual for edit, other in engines.items()
        ) or tuple(usual)

    rows = _run(arguments, arms)
    if rows is None:
        return CANCELLED
    options = [*(f"--policy={each}" for each in policies), *(f"--edit={each}" for each in edits)]
    _report(arguments, rows, shlex.join(["fastslow", "eval", arguments.suite, *options, *_rerun_options(arguments)]))
    return 0


def tune(arguments: EvalArguments) -> int:
    """Run the suite under candidates for the model's rules, report, and keep those that paid; the exit status."""
    found: list[Profile] = []

    def arms(engine: Engine) -> tuple[Arm, ...]:
        found.append(shipped(engine.profile))
        return tuning.arms(found[0])

    rows = _run(arguments, arms)
    if rows is None:
        return CANCELLED
    _report(arguments, rows, shlex.join(["fastslow", "tune", arguments.suite, *_rerun_options(arguments)]))
    _save(found[0], rows)
    return 0


def policy_of(text: str, profile: Profile) -> ModePolicy:
    """auto, never, always, a number of tokens, or a file of rules that stand before those of the profile."""
    if text.endswith(".toml"):
        try:
            return ModePolicy((*load_rules(Path(text)), *shipped(profile).rules))
        except OSError as error:
            raise typer.BadParameter(f"{text} cannot be read: {error.strerror}", param_hint="--policy") from error
    return ModePolicy(profile.rules, parse_think(text))


def edit_of(text: str) -> Editing:
    if text in get_args(Editing):
        return text  # type: ignore[return-value]  # one of the literals
    raise typer.BadParameter(f"expected {' or '.join(get_args(Editing))}, got {text!r}", param_hint="--edit")


def shipped(profile: Profile) -> Profile:
    """A profile as it comes, without the rules of an earlier `tune`."""
    return next((each for each in PROFILES if each.name == profile.name), profile)


def _run(arguments: EvalArguments, arms: Callable[[Engine], Sequence[Arm]]) -> list[Row] | None:
    """Set up what is missing, and run the cases that are not done yet; None when it was stopped."""
    cases = cases_of(arguments.suite, arguments.seed, arguments.folder)[: arguments.n]
    _check_folder(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    phases = Phases(terminal(stderr=True))
    sandbox = any(case.sandboxed for case in cases)
    prepare_run(phases, arguments.model, sandbox=sandbox, server=not arguments.base_url)
    engine = _engine(arguments)
    try:
        return asyncio.run(_carry_out(arguments, engine, cases, arms))
    except KeyboardInterrupt:
        where = arguments.out / ROWS
        typer.echo(one_line(f"Stopped. The same command goes on where it stopped, from {where}."), err=True)
        return None


def _engine(arguments: EvalArguments, profile: Profile | None = None) -> Engine:
    return engine_of(arguments.base_url, arguments.model, profile)


def _check_folder(out: Path) -> None:
    """ConfigurationError where a report would be written over what no evaluation made."""
    made_here = (out / ROWS).is_file()
    for path in (out / ROWS, out / PAGE, out / PICTURE):
        if path.is_symlink() or (path.exists() and not made_here):
            raise ConfigurationError(f"{path} is there, and no evaluation made it; name another folder with --out")


async def _carry_out(
    arguments: EvalArguments, engine: Engine, cases: Sequence[Case], arms_of: Callable[[Engine], Sequence[Arm]]
) -> list[Row]:
    """The rows of all cases, by arm: those of the file, and those that were still to do."""
    path, console = arguments.out / ROWS, terminal(stderr=True)
    await engine.connect()
    arms = arms_of(engine)
    ids, names = {case.id for case in cases}, [arm.name for arm in arms]
    rows = [row for row in read(path) if row.case in ids and row.arm in names and row.repeat < arguments.repeat]
    total = len(cases) * len(arms) * arguments.repeat
    sandbox = DockerSandbox()
    budget = changed_budget(BUDGET, arguments.budget)
    setting = Setting(engine, sandbox, budget, arguments.seed, arguments.at_once)
    try:
        done = {row.key for row in rows}
        async with aclosing(evaluate(setting, cases, arms, arguments.repeat, done)) as measured:
            async for row in measured:
                append(path, row)
                rows.append(row)
                console.print("✓" if row.right else "✗", style="green" if row.right else "red", end=" ")
                console.print(f"{len(rows)}/{total}  {row.arm:8} {row.case:28} {row.seconds:5.1f} s  ", end="")
                console.print(one_line(row.wrong[:500])[:120], style="dim", soft_wrap=True)
    finally:
        for each in (engine, *(arm.engine for arm in arms if arm.engine)):
            await each.aclose()
        await sandbox.aclose()
    return sorted(rows, key=lambda row: names.index(row.arm))


def _rerun_options(arguments: EvalArguments) -> list[str]:
    """What makes the same command measure the same again."""
    options = ["--seed", str(arguments.seed), "--repeat", str(arguments.repeat), "--at-once", str(arguments.at_once)]
    options += ["--n", str(arguments.n)] if arguments.n else []
    options += ["--from", str(arguments.folder)] if arguments.folder else []
    limits = ",".join(f"{name}={value}" for name, value in (arguments.budget or {}).items())
    return [*options, "--budget", limits] if limits else options


def _report(arguments: EvalArguments, rows: Sequence[Row], command: str) -> None:
    """Write the report and its picture, and print the table. command: what makes them again."""
    found = summaries(rows)
    drawn = picture(f"{arguments.suite}, {rows[0].model}", found)
    for name, text in ((PAGE, page(rows, command)), (PICTURE, drawn)):
        with open(arguments.out / name, "w", encoding="utf-8", opener=no_link) as file:
            file.write(text)
    if arguments.as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    table = Table(*HEAD, box=None)
    for one in found:
        table.add_row(*line(one))
    terminal().print(table)
    terminal().print(f"The whole report: {arguments.out / PAGE}", soft_wrap=True)


def _save(profile: Profile, rows: Sequence[Row]) -> None:
    """Keep the rules that paid for later runs, and say of each candidate why it was taken or left."""
    found, model = tuning.comparisons(profile, rows), rows[0].model
    rules, path = tuning.chosen_rules(found), overlay_path(model)
    console = terminal(stderr=True)
    for each in found:
        console.print("taken" if each.taken else "left ", style="green" if each.taken else "dim", end="  ")
        console.print(f"{each.rule.kind} {each.rule.budget}: {each.summary}", soft_wrap=True)
    if rules:
        first = rows[0]
        save_rules(path, rules, f"Rules of {model}, measured by `fastslow tune` on {first.suite}, seed {first.seed}.")
        console.print(f"Written to {path}: later runs use these rules. Remove the file to undo it.", soft_wrap=True)
    else:
        path.unlink(missing_ok=True)
        console.print("No candidate was better than the profile's own rules, so those stay.")
