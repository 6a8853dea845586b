"""`fastslow run`: do a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    BASE_URL,
    BUDGET,
    CHECK,
    DEBUG,
    FILES,
    JSON_LINES,
    MEMORY,
    MODEL,
    RULES,
    SCHEMA,
    SECONDS,
    SHOW_THINKING,
    THINK,
    changed_budget,
    sandbox_limits,
    sandbox_network,
)

app = typer.Typer()


@app.command()
def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to do, in your words.", show_default=False)],
    file: FILES = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    think: THINK = "auto",
    after: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="A run that ended, which the task follows, with its files and variables; `last` is the last one.",
            show_default=False,
        ),
    ] = None,
    check: CHECK = "",
    schema: SCHEMA = None,
    json_lines: JSON_LINES = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the files that the run makes; by default one below fastslow-out.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    allow: ALLOW = None,
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Carry out a task, and set up first whatever it still needs.

    That is a Docker daemon, the sandbox image, and a model server with its weights.

    Exit status: 0 answered, 1 no answer or a red check, 2 wrong usage, 3 out of budget, 4 stopped at a question, or
    denied all that it tried, 5 the model server failed, 6 the sandbox failed, 130 cancelled (Ctrl-C).

    Example: fastslow run "Plot revenue by region" --file orders.csv
    """
    from fastslow.agent.surfaces.cli import run as command

    if not task.strip():
        raise typer.BadParameter("expected a task in words, got nothing", param_hint="TASK")
    arguments = command.RunArguments(
        task=task,
        files=tuple(file or ()),
        model=model,
        base_url=base_url,
        think=think,
        out=out,
        json_lines=json_lines,
        show_thinking=show_thinking,
        network=sandbox_network(allow),
        limits=sandbox_limits(seconds, memory),
        budget=changed_budget(Budget(), budget),
        after=after,
        rules=approval,
        check=check,
        schema=schema,
    )
    raise typer.Exit(command.run(arguments))
