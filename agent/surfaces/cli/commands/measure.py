"""`fastslow eval` and `tune`: measure what thinking is worth on your model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.surfaces.cli.options import (
    AT_ONCE,
    BASE_URL,
    BUDGET,
    DEBUG,
    EVAL_OUT,
    JSON,
    MODEL,
    SUITE,
    SUITE_FOLDER,
)

app = typer.Typer()


@app.command("eval")
def evaluate(
    suite: SUITE,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHEN",
            help="Which turns think: auto, never, always, N tokens, or a TOML file of rules; give the option again to "
            "compare several. By default auto.",
            show_default=False,
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOW",
            help="How files are changed: replace (parts of them) or whole; give the option again to compare both. By "
            "default as the model's profile has it.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="How many cases to run, a few of each kind; by default all.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed makes other cases of the same kinds.")] = 2,
    repeat: Annotated[int, typer.Option(min=1, metavar="N", help="How often each case is run.")] = 1,
    at_once: AT_ONCE = 1,
    folder: SUITE_FOLDER = None,
    out: EVAL_OUT = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Measure what thinking is worth on your model.

    Runs a suite of tasks with known answers, under each policy. Each run is a line of JSON in rows.jsonl; where it was
    stopped, the same command goes on. Each run has 30 turns and 600 seconds, unless --budget says otherwise.

    Example: fastslow eval workflows --n 20 --policy auto --policy never
    """
    from fastslow.agent.surfaces.cli import evaluate as command

    out = out or Path("fastslow-eval") / f"{suite}-{seed}"
    arguments = command.EvalArguments(
        suite, n, seed, repeat, at_once, out, model, base_url, json_output, budget, folder
    )
    raise typer.Exit(command.compare(arguments, policy or ["auto"], edit or []))


@app.command()
def tune(
    suite: SUITE = "workflows",
    n: Annotated[int, typer.Option(min=1, metavar="N", help="How many cases to run, each under six policies.")] = 12,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Another one than that of the cases on which you judge the result.")
    ] = 1,
    at_once: AT_ONCE = 1,
    out: EVAL_OUT = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Measure which turns should think, and keep what paid.

    Tries candidates for the model's rules on a suite of tasks, says of each how sure it is that it helps and how many
    cases would tell more, and writes those that do down for later runs.

    Example: fastslow tune --n 12
    """
    from fastslow.agent.surfaces.cli import evaluate as command

    folder = out or Path("fastslow-eval") / f"tune-{suite}-{seed}"
    arguments = command.EvalArguments(suite, n, seed, 1, at_once, folder, model, base_url, json_output)
    raise typer.Exit(command.tune(arguments))
