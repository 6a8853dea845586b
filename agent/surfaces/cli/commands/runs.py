"""`fastslow runs`, `runs rm`, `show`, `resume`, `fork` and `replay`: look at runs, and go on with them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastslow.agent.surfaces.cli.options import (
    BASE_URL,
    BUDGET,
    DEBUG,
    JSON,
    JSON_LINES,
    MEMORY,
    MODEL,
    RULES,
    RUN,
    SECONDS,
    SHOW_THINKING,
    parse_age,
)

app = typer.Typer()
runs_app = typer.Typer(invoke_without_command=True, subcommand_metavar="[COMMAND]")
app.add_typer(runs_app, name="runs")


@runs_app.callback()
def list_runs(context: typer.Context, json_output: JSON = False, debug: DEBUG = False) -> None:
    """List all runs, the latest first; `runs rm` removes some.

    A run is `interrupted` that neither runs nor came to its end.

    Example: fastslow runs --json
    """
    from fastslow.agent.surfaces.cli import runs as command

    if context.invoked_subcommand is None:
        command.list_runs(as_json=json_output)


@runs_app.command("rm")
def remove_runs(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Ids of runs, the beginnings of them, or `last`.", show_default=False),
    ] = None,
    older_than: Annotated[
        Any,
        typer.Option(
            parser=parse_age,
            metavar="AGE",
            help="All runs that began longer ago than this, as 30d (days), 12h (hours) or 8w (weeks).",
            show_default=False,
        ),
    ] = None,
    all_runs: Annotated[bool, typer.Option("--all", help="All runs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    debug: DEBUG = False,
) -> None:
    """Remove runs from the journal, for good.

    Their records go, with the copies of files that are kept in them, and the disk gets the space back. The files that
    runs made for you, in fastslow-out or where --out said, stay. Not removed are runs that are being carried out, and
    runs that one which stays follows (`fastslow run --after`).

    Exit status: 0 removed, 1 not removed, 2 wrong usage, 130 cancelled (Ctrl-C).

    Example: fastslow runs rm --older-than 30d
    """
    from fastslow.agent.surfaces.cli import remove as command

    if (bool(run) + (older_than is not None) + all_runs) != 1:
        raise typer.BadParameter("expected the ids of runs, --older-than AGE or --all: one of the three")
    raise typer.Exit(command.remove(tuple(run or ()), older_than, yes=yes))


@app.command()
def show(
    run: RUN = "last", json_lines: JSON_LINES = False, show_thinking: SHOW_THINKING = False, debug: DEBUG = False
) -> None:
    """Show what a run did, as it was shown then.

    Example: fastslow show last --show-thinking
    """
    from fastslow.agent.surfaces.cli import runs as command

    command.show(run, as_json=json_lines, show_thinking=show_thinking)


@app.command()
def resume(
    run: RUN = "last",
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    json_lines: JSON_LINES = False,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Go on with a run that was stopped, killed or failed.

    Also with one that ran out of its budget, which it then gets once more. No reply of the model that is in the journal
    is asked for again, and no finished call of a tool runs twice.

    Exit status: as that of run.

    Example: fastslow resume last
    """
    from fastslow.agent.surfaces.cli import runs as command

    status = command.resume(
        run,
        budget,
        model=model,
        base_url=base_url,
        seconds=seconds,
        memory=memory,
        rules=approval,
        json_lines=json_lines,
        show_thinking=show_thinking,
    )
    raise typer.Exit(status)


@app.command()
def fork(
    run: RUN,
    at: Annotated[
        int,
        typer.Option(
            min=1, metavar="TURN", help="The first turn that the copy leaves out, and takes again.", show_default=False
        ),
    ],
    debug: DEBUG = False,
) -> None:
    """Copy a run as it was before one of its turns.

    Prints the id of the copy; `fastslow resume` with it goes on from there.

    Example: fastslow fork last --at 3
    """
    from fastslow.agent.surfaces.cli import runs as command

    command.fork(run, at)


@app.command()
def replay(
    run: RUN = "last", json_lines: JSON_LINES = False, show_thinking: SHOW_THINKING = False, debug: DEBUG = False
) -> None:
    """Carry out a run again from its record alone.

    No model is asked, no tool called and no code run: it shows whether this version of fastslow would still do what
    was done then.

    Exit status: as that of run.

    Example: fastslow replay last --json
    """
    from fastslow.agent.surfaces.cli import runs as command

    raise typer.Exit(command.replay(run, as_json=json_lines, show_thinking=show_thinking))
