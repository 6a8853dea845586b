"""`fastslow flow run`, `resume`, `answer` and `show`: a Python function whose steps are remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.surfaces.cli.options import BASE_URL, BUDGET, DEBUG, JSON, JSON_LINES, MODEL, RULES

app = typer.Typer()
flow_app = typer.Typer(
    help="Carry out workflows of remembered steps.\n\nExample: fastslow flow run report.py",
    no_args_is_help=True,
)
app.add_typer(flow_app, name="flow")

OWN_WORDS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
FLOW = Annotated[
    str, typer.Argument(metavar="FLOW", help="A flow's id, the beginning of it, or `last`.", show_default=False)
]


@flow_app.command("run", context_settings=OWN_WORDS)
def run_flow(
    context: typer.Context,
    script: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT [--PARAMETER VALUE …]",
            help="A Python file with `async def main(wf, …)`; its parameters are options behind it. `SCRIPT --help` "
            "lists them.",
            show_default=False,
        ),
    ] = "",
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    at_once: Annotated[int, typer.Option(min=1, metavar="N", help="How many agents of the flow go side by side.")] = 16,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the files that the flow makes; by default one below fastslow-out.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    approval: RULES = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done before, and begin anew.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps, with made-up answers; nothing is done or written.")
    ] = False,
    json_lines: JSON_LINES = False,
    wants_help: Annotated[bool, typer.Option("--help", "-h", help="Show this, or what SCRIPT takes.")] = False,
    debug: DEBUG = False,
) -> None:
    """Carry out a workflow, or go on with it.

    The same command goes on where it ended, however that was: no step is done twice whose content is the same. What the
    function returns is printed as JSON, the files that were made are named on stderr.

    Exit status: 0 answered, 1 a step or the script failed, 2 wrong usage, 3 out of budget, 4 stopped at a question
    about a call, 5 the model server failed, 6 the sandbox failed, 75 it waits for an answer, 130 cancelled (Ctrl-C).

    Example: fastslow flow run report.py --month 2026-10 --invoices 'in/*.pdf'
    """
    from fastslow.agent.surfaces.cli import flow as command

    if not script and wants_help:
        typer.echo(context.get_help())
        return
    if not script or script.startswith("-"):
        raise typer.BadParameter(f"the script comes first, its parameters behind it; got {script or 'nothing'}")
    options = command.FlowOptions(model, tuple(base_url or ()), budget, at_once, out, approval, json_lines=json_lines)
    if wants_help:
        raise typer.Exit(command.print_usage(Path(script)))
    if dry_run:
        raise typer.Exit(command.dry_run(Path(script), context.args, options))
    raise typer.Exit(command.run(Path(script), context.args, options, fresh=fresh))


@flow_app.command()
def resume(
    flow: FLOW = "last",
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    json_lines: JSON_LINES = False,
    debug: DEBUG = False,
) -> None:
    """Go on with a workflow as it was begun, without its parameters being typed again.

    Exit status: as that of flow run.

    Example: fastslow flow resume last
    """
    from fastslow.agent.surfaces.cli import flow as command

    options = command.FlowOptions(model, tuple(base_url or ()), budget, json_lines=json_lines)
    raise typer.Exit(command.resume(flow, options))


@flow_app.command()
def answer(
    flow: Annotated[
        str,
        typer.Argument(
            metavar="FLOW[:N]",
            help="A flow's id, or the beginning of it; with the question's number, where it asks several.",
            show_default=False,
        ),
    ],
    choice: Annotated[str, typer.Argument(metavar="CHOICE", help="One of the choices.", show_default=False)],
    value: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What a step returned that is done already.", show_default=False),
    ] = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    json_lines: JSON_LINES = False,
    debug: DEBUG = False,
) -> None:
    """Answer a question that a workflow waits at, and go on with it.

    Exit status: as that of flow run.

    Example: fastslow flow answer last yes
    """
    from fastslow.agent.surfaces.cli import flow as command

    options = command.FlowOptions(model, tuple(base_url or ()), budget, json_lines=json_lines)
    raise typer.Exit(command.answer(flow, choice, options, value))


@flow_app.command()
def show(flow: FLOW = "last", json_output: JSON = False, debug: DEBUG = False) -> None:
    """Show the steps of a workflow: how they ended, what they took, and its questions.

    Example: fastslow flow show last --json
    """
    from fastslow.agent.surfaces.cli import flow_show as command

    command.show(flow, as_json=json_output)
