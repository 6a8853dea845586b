"""`fastslow run` and `plan`: do a job, or say how it would be done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.surfaces.cli.asked import RunCommand, asked, check_allowed, granted_budget
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


@app.command(cls=RunCommand)
def run(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="What to do, in your words; or @FILE.md, a task file, whose inputs are options then.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Carry out a plan that `fastslow plan` saved, with no turn that plans.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="The value of {NAME} in the plan; give the option again for more.",
            show_default=False,
        ),
    ] = None,
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

    job = asked(context, task, plan, values or (), tuple(file or ()))
    check_allowed(job, allow or ())
    arguments = command.RunArguments(
        task=job.task,
        files=job.files,
        model=model,
        base_url=base_url,
        think=job.think if think == "auto" else think,
        out=out,
        json_lines=json_lines,
        show_thinking=show_thinking,
        network=sandbox_network(allow),
        limits=sandbox_limits(seconds, memory),
        budget=granted_budget(job, budget),
        after=after,
        rules=approval,
        plan=job.plan,
        check=check or job.check,
        schema=schema or job.schema,
    )
    raise typer.Exit(command.run(arguments))


@app.command()
def plan(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What is to be done, in your words.", show_default=False)],
    file: FILES = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    think: THINK = "auto",
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Plan a task and print the plan, as YAML that you may edit.

    It only looks: nothing is made. `fastslow run --plan FILE` carries the plan out.

    Exit status: as that of run.

    Example: fastslow plan "Plot revenue by region" --file orders.csv > plan.yaml
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
        out=None,
        json_lines=False,
        show_thinking=show_thinking,
        network=sandbox_network(None),
        limits=sandbox_limits(seconds, memory),
        budget=changed_budget(Budget(), budget),
        rules=approval,
        only_plan=True,
    )
    raise typer.Exit(command.plan(arguments))
