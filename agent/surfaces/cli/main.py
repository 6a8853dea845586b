"""The command `fastslow`: its groups of commands, and how its errors reach a person."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastslow.agent.errors import AgentError, EngineDied
from fastslow.agent.surfaces.cli.commands import batch, chat, code, editor, flow, job, measure, runs, sandbox, server
from fastslow.agent.surfaces.cli.options import DEBUG, debug_wanted
from fastslow.agent.surfaces.cli.status import CANCELLED, sentence, status_of
from fastslow.sandbox import SandboxError
from fastslow.tools.errors import ToolError

GROUPS = {
    "Do a job": ("run", "map", "code", "chat", "flow", "acp"),
    "Look at changes": ("diff", "apply", "undo"),
    "Look at runs": ("runs", "show", "resume", "fork", "replay"),
    "Models and server": ("setup", "up", "down", "status", "models", "doctor"),
    "Sandbox": ("sandbox",),
    "Measure": ("eval", "tune"),
}
WELCOME = """\
fastslow carries out tasks with an open model that you serve yourself: it thinks
slowly to plan, and acts fast to call tools.

Three things to try first:

  fastslow doctor
      See what a run needs, and what is still missing.
  fastslow run "Which day of the week was 20 July 1969?"
      Do a job. What is missing is set up first.
  fastslow show
      Look at the last run again.

With a file of yours: fastslow run "Plot revenue by region" --file orders.csv
All commands: fastslow --help"""


class GroupedCommands(TyperGroup):
    """Lists its commands in the help by what people want of them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(map(len, self.commands))
        for title, names in GROUPS.items():
            with formatter.section(title):
                room = formatter.width - widest - 6
                rows = [(name.ljust(widest), self.commands[name].get_short_help_str(room)) for name in names]
                formatter.write_dl(rows)


app = typer.Typer(
    name="fastslow",
    cls=GroupedCommands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for group in (job, batch, code, chat, flow, editor, runs, server, sandbox, measure):
    app.add_typer(group.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fastslow {version('fastslow')}")
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    debug: DEBUG = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Agents on hybrid-reasoning open models: think slowly to plan, act fast to call tools.

    Example: fastslow run "Which region sold most?" --file orders.csv
    """
    if context.invoked_subcommand is None:
        typer.echo(WELCOME)


def main() -> None:
    """Entry point: every expected error becomes one sentence on stderr, and an exit status of the table."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ✓ shows ?
    try:
        app()
    except (AgentError, SandboxError, ToolError, OSError) as error:
        if debug_wanted.get():
            raise
        _print_error(error)
        sys.exit(status_of(error))
    except KeyboardInterrupt:
        sys.exit(CANCELLED)


def _print_error(error: Exception) -> None:
    from rich.text import Text

    from fastslow.agent.surfaces.cli.text import clean, one_line, terminal

    console = terminal(stderr=True)
    if isinstance(error, EngineDied) and error.log:
        console.print(Text(clean(error.log), "dim"), soft_wrap=True)
    console.print(Text("fastslow: ", "bold red") + Text(one_line(sentence(error))), soft_wrap=True)


if __name__ == "__main__":
    main()
