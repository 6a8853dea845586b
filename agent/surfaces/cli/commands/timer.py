"""`fastslow install-timer`: let a command run at a time."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.surfaces.cli.options import DEBUG
from fastslow.agent.surfaces.cli.text import clean

if TYPE_CHECKING:
    from fastslow.agent.surfaces.cli.timer import Timer

app = typer.Typer()
ATTENDED = ("chat", "acp", "install-timer")  # of no use where nobody sits


@app.command(name="install-timer", context_settings={"allow_interspersed_args": False})
def install_timer(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="What runs, without the word fastslow, behind --.", show_default=False),
    ],
    on_calendar: Annotated[
        str,
        typer.Option(metavar="TIME", help='When, as systemd says it: "Mon 08:00", "*-*-01 06:00".', show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Names the timer; by default after the command.", show_default=False),
    ] = None,
    cron: Annotated[
        bool, typer.Option("--cron", help="Print a line for crontab -e instead, and write nothing.")
    ] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Enable the timer, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be written.")] = False,
    debug: DEBUG = False,
) -> None:
    """Let a command run at a time, by systemd or by cron.

    It writes a service and a timer of your own user, or prints a line of a crontab. Nothing is enabled unless you say
    so, and no key is written down.

    Example: fastslow install-timer --on-calendar "Mon 08:00" -- run "Sum up in.csv" --file in.csv
    """
    from fastslow.agent.folders import config_folder, state_folder
    from fastslow.agent.surfaces.cli import timer as units

    _check_command(context, command)
    secrets, own = config_folder() / "timer.env", units.own_command(command)
    try:
        units.check_time(on_calendar)
        timer = units.Timer(name or _named(command), on_calendar, own, Path.cwd(), units.environment(), secrets)
        line = timer.cron_line(state_folder() / f"{timer.unit}.lock") if cron or not units.has_systemd() else ""
    except ConfigurationError as error:
        raise typer.BadParameter(clean(str(error))) from error
    if os.environ.get("FASTSLOW_API_KEY") or (
        os.environ.get("FASTSLOW_BASE_URL") and "FASTSLOW_BASE_URL" not in timer.environment
    ):
        what = "No key of this shell is written into a timer. "
        typer.echo(what + f"Put NAME=VALUE lines into {secrets}, and let only you read it: chmod 600", err=True)
    if line:
        if not cron:
            typer.echo("systemd does not run here, so nothing is written. Add this line by crontab -e:", err=True)
        typer.echo(line)
        return
    _install(timer, enable=enable, dry_run=dry_run)


def _install(timer: Timer, *, enable: bool, dry_run: bool) -> None:
    from fastslow.agent.surfaces.cli import timer as units

    folder = units.unit_folder()
    if dry_run:
        for unit, text in timer.units().items():
            typer.echo(f"# {folder / unit}\n{text}")
        return
    for path, what in units.write(timer.units(), folder):
        typer.echo(f"{what} {path}")
    for each in units.enabling(timer.unit):
        if enable:
            subprocess.run(each, check=True)
        else:
            typer.echo(f"then: {shlex.join(each)}")
    typer.echo("then, to have it run while you are logged out: loginctl enable-linger")


def _named(command: list[str]) -> str:
    """A name from the first words of a command that are no options."""
    words: list[str] = []
    for word in command:
        if word.startswith("-") or len(words) == 3:
            break
        words.append(Path(word).stem if word.endswith((".md", ".py")) else word)
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")[:40].strip("-") or "timer"


def _check_command(context: Any, words: list[str]) -> None:
    """What is wrong with the command is told now, and not by a log on Monday morning."""
    from fastslow.agent.engine.address import Address

    here, left, above = context.find_root().command, list(words), context.find_root()
    if words[0] in ATTENDED or words[0] not in here.commands:
        known = ", ".join(name for name in here.commands if name not in ATTENDED)
        raise typer.BadParameter(f"expected one of {known}, got {words[0]!r}", param_hint="COMMAND")
    urls = [
        word.removeprefix("--base-url=")
        for word, before in zip(words, ["", *words], strict=False)
        if before == "--base-url" or word.startswith("--base-url=")
    ]
    if any(Address.of(url).secrets for url in urls):
        told = "its key would be written down: put FASTSLOW_BASE_URL=… into timer.env in fastslow's settings folder"
        raise typer.BadParameter(told, param_hint="--base-url")
    path: list[str] = []
    while left and left[0] in getattr(here, "commands", {}):
        here = here.commands[left[0]]
        path.append(left.pop(0))
    here.make_context(" ".join(path), left, parent=above)
