"""`fastslow chat`: a conversation about a project."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.surfaces.cli.commands.code import IMAGE, PACKAGES, PROTECT, TEST, TRUST
from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    BASE_URL,
    BUDGET,
    DEBUG,
    FILES,
    MEMORY,
    MODEL,
    RULES,
    SECONDS,
    SHOW_THINKING,
    THINK,
    changed_budget,
    project_limits,
    sandbox_limits,
    sandbox_network,
)

app = typer.Typer()


@app.command()
def chat(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            "-d",
            metavar="DIR",
            help="The project; by default the current folder, or that of --after.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    no_folder: Annotated[bool, typer.Option("--no-dir", help="Without a project.")] = False,
    test: TEST = None,
    protect: PROTECT = None,
    packages: PACKAGES = None,
    image: IMAGE = None,
    file: FILES = None,
    trust: TRUST = False,
    after: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on from this run, or `last`.", show_default=False),
    ] = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    think: THINK = "auto",
    allow: ALLOW = None,
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Talk about a project: task after task, in one warm sandbox.

    It holds a copy of the project: nothing of yours changes before `/apply`. `/help` lists what else there is. Ctrl-C
    stops a task and keeps the conversation. Where no terminal is on standard input, each line of it is a task.

    Exit status: 0 done; where no terminal is on standard input, that of the first task or command that failed, as
    those of run.

    Example: fastslow chat --test "pytest -q"
    """
    from fastslow.agent.surfaces.cli import chat as command
    from fastslow.agent.surfaces.cli.code import ask_trust
    from fastslow.agent.surfaces.cli.run import RunArguments

    if no_folder and (folder or test or protect):
        raise typer.BadParameter("--no-dir goes with none of --dir, --test and --protect")
    run, tree = command.begins_with(after, None if no_folder else folder or Path(), test, protect, given=bool(folder))
    tree = tree and ask_trust(replace(tree, trust=trust or None))
    arguments = RunArguments(
        task=None,
        files=tuple(file or ()),
        model=model,
        base_url=base_url,
        think=think,
        out=None,
        json_lines=False,
        show_thinking=show_thinking,
        network=sandbox_network(allow),
        limits=project_limits(seconds, memory) if tree else sandbox_limits(seconds, memory),
        budget=changed_budget(Budget(), budget),
        after=run,
        rules=approval,
        tree=tree,
        packages=tuple(name for text in packages or () for name in text.split()),
        image=image,
    )
    raise typer.Exit(command.chat(arguments))
