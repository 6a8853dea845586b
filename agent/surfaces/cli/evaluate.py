"""`fastslow eval` and `tune`: run a suite under one policy or several, report, and keep what paid."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.table import Table

from fastslow.agent.budget import Budget
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import PROFILES, Profile
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.profiles.overlay import load_rules, overlay_path, save_rules
from fastslow.agent.evals import tune as tuning
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.evaluate import Arm, Setting, evaluate
from fastslow.agent.evals.report import HEAD, line, page, picture, summaries
from fastslow.agent.evals.rows import Row, append, read
from fastslow.agent.evals.suites import SUITES
from fastslow.agent.modes import ModePolicy
from fastslow.agent.surfaces.cli.options import CANCELLED, think_of
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_run
from fastslow.agent.surfaces.cli.text import terminal
from fastslow.sandbox import DockerSandbox

ROWS, PAGE, PICTURE = "rows.jsonl", "report.md", "report.svg"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line of an evaluation. n: cases; None takes all. budget: of each run."""

    suite: str
    n: int | None
    seed: int
    repeat: int
    at_once: int
    out: Path
    model: str | None
    base_url: str | None
    as_json: bool
    budget: Budget | None = None


def compare(wanted: Wanted, policies: Sequence[str]) -> int:
    """Run the suite under each policy and report; returns the exit status."""
    for policy in policies:
        policy_of(policy, INSTRUCT)  # so that a slip is told before anything is set up
    rows = _run(wanted, lambda profile: tuple(Arm(each, policy_of(each, profile)) for each in policies))
    if rows is None:
        return CANCELLED
    asked = [f"--policy={each}" for each in policies]
    _report(wanted, rows, shlex.join(["fastslow", "eval", wanted.suite, *asked, *_asked(wanted)]))
    return 0


def tune(wanted: Wanted) -> int:
    """Run the suite under candidates for the model's rules, report, and write down what paid; the exit status."""
    found: list[Profile] = []

    def arms(profile: Profile) -> tuple[Arm, ...]:
        found.append(shipped(profile))
        return tuning.arms(found[0])

    rows = _run(wanted, arms)
    if rows is None:
        return CANCELLED
    _report(wanted, rows, shlex.join(["fastslow", "tune", wanted.suite, *_asked(wanted)]))
    _save(found[0], rows)
    return 0


def policy_of(text: str, profile: Profile) -> ModePolicy:
    """auto, never, always, a number of tokens, or a file of rules that stand before those of the profile."""
    if text.endswith(".toml"):
        try:
            return ModePolicy((*load_rules(Path(text)), *shipped(profile).rules))
        except OSError as error:
            raise typer.BadParameter(f"{text} cannot be read: {error.strerror}", param_hint="--policy") from error
    return ModePolicy(profile.rules, think_of(text))


def shipped(profile: Profile) -> Profile:
    """A profile as it comes, without the rules of an earlier `tune`."""
    return next((each for each in PROFILES if each.name == profile.name), profile)


def _run(wanted: Wanted, arms: Callable[[Profile], Sequence[Arm]]) -> list[Row] | None:
    """Set up, and run what is not done yet; None when it was stopped."""
    cases = SUITES[wanted.suite](wanted.seed)[: wanted.n]
    wanted.out.mkdir(parents=True, exist_ok=True)
    phases = Phases(terminal(stderr=True))
    prepare_run(phases, wanted.model, sandbox=any(case.sandboxed for case in cases), server=wanted.base_url is None)
    engine = VLLM(wanted.base_url, wanted.model if wanted.base_url else None)
    try:
        return asyncio.run(_carry_out(wanted, engine, cases, arms))
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from {wanted.out / ROWS}", err=True)
        return None


async def _carry_out(
    wanted: Wanted, engine: VLLM, cases: Sequence[Case], arms_of: Callable[[Profile], Sequence[Arm]]
) -> list[Row]:
    """The rows of all cases, by arm: those of the file, and those that were still to do."""
    path, console = wanted.out / ROWS, terminal(stderr=True)
    await engine.connect()
    arms = arms_of(engine.profile)
    ids, names = {case.id for case in cases}, [arm.name for arm in arms]
    rows = [row for row in read(path) if row.case in ids and row.arm in names and row.repeat < wanted.repeat]
    of = len(cases) * len(arms) * wanted.repeat
    sandbox = DockerSandbox()
    budget = wanted.budget or Budget(turns=30, seconds=600)
    setting = Setting(engine, sandbox, budget, wanted.seed, wanted.at_once)
    try:
        done = {row.key for row in rows}
        async with aclosing(evaluate(setting, cases, arms, wanted.repeat, done)) as measured:
            async for row in measured:
                append(path, row)
                rows.append(row)
                console.print("✓" if row.right else "✗", style="green" if row.right else "red", end=" ")
                console.print(f"{len(rows)}/{of}  {row.arm:8} {row.case:28} {row.seconds:5.1f} s  ", end="")
                console.print(row.wrong[:120], style="dim", soft_wrap=True)
    finally:
        await engine.aclose()
        await sandbox.aclose()
    return sorted(rows, key=lambda row: names.index(row.arm))


def _asked(wanted: Wanted) -> list[str]:
    asked = ["--seed", str(wanted.seed), "--repeat", str(wanted.repeat), "--at-once", str(wanted.at_once)]
    return [*asked, "--n", str(wanted.n)] if wanted.n else asked


def _report(wanted: Wanted, rows: Sequence[Row], command: str) -> None:
    found = summaries(rows)
    (wanted.out / PAGE).write_text(page(rows, command), "utf-8")
    (wanted.out / PICTURE).write_text(picture(f"{wanted.suite}, {rows[0].model}", found), "utf-8")
    if wanted.as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    shown = Table(*HEAD, box=None)
    for one in found:
        shown.add_row(*line(one))
    terminal().print(shown)
    terminal().print(f"{wanted.out / PAGE}")


def _save(profile: Profile, rows: Sequence[Row]) -> None:
    """Write the rules that paid, and say of each candidate what it came to."""
    found, model = tuning.findings(profile, rows), rows[0].model
    rules, path = tuning.tuned(found), overlay_path(model)
    told = terminal(stderr=True)
    for each in found:
        told.print("taken" if each.taken else "left ", style="green" if each.taken else "dim", end="  ")
        told.print(f"{each.rule.kind} {each.rule.budget}: {each.told}", soft_wrap=True)
    if rules:
        first = rows[0]
        save_rules(path, rules, f"Rules of {model}, measured by `fastslow tune` on {first.suite}, seed {first.seed}.")
        told.print(f"written to {path}; they hold from the next run on. Remove the file to go back.", soft_wrap=True)
    else:
        path.unlink(missing_ok=True)
        told.print("nothing was better than the profile's own rules, so they stay")
