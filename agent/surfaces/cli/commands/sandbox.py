"""`fastslow sandbox build`, `exec`, `ls`, `prune` and `probe`: the place where generated code runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    DEBUG,
    FILES,
    JSON,
    MEMORY,
    parse_seconds,
    sandbox_limits,
    sandbox_network,
)

app = typer.Typer()
sandbox_app = typer.Typer(
    help="Build, use and check the sandbox that code runs in.\n\nExample: fastslow sandbox exec < code.py",
    no_args_is_help=True,
)
app.add_typer(sandbox_app, name="sandbox")


@sandbox_app.command()
def build(
    packages: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[==V]",
            help="A Python package to add, in an image of its own; give the option again for more, or several in "
            "quotes.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE", help="Build on this image; it must have python3 >= 3.11 and bash.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build the image even if it is there.")] = False,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Build the sandbox's image.

    Where no Docker daemon answers, Debian's is installed and started first (as root).
    With --json it prints what is inside: base, Python, packages with versions and digests.

    Example: fastslow sandbox build --packages "scikit-learn==1.7 seaborn"
    """
    from fastslow.agent.surfaces.cli import sandboxed

    names = [name for text in packages or () for name in text.split()]
    sandboxed.build(names, base, force=force, as_json=json_output)


@sandbox_app.command("exec")
def execute(
    timeout: Annotated[
        Any, typer.Option(parser=parse_seconds, metavar="SECONDS", help="Time until the code is stopped.")
    ] = 60.0,
    memory: MEMORY = None,
    file: FILES = None,
    allow: ALLOW = None,
    debug: DEBUG = False,
) -> None:
    """Run Python code from standard input in a sandbox.

    Its stdout, stderr and exit status pass through, of each stream 20 MB at most.
    Exit status: that of the code; 124 when it was stopped; 128 and the signal's number
    when it was killed (137, most often: too little memory).

    Example: fastslow sandbox exec --timeout 10 --file orders.csv < code.py
    """
    from fastslow.agent.surfaces.cli import sandboxed

    limits = sandbox_limits(timeout, memory)
    raise typer.Exit(sandboxed.execute(tuple(file or ()), limits, sandbox_network(allow)))


@sandbox_app.command()
def ls(json_output: JSON = False, debug: DEBUG = False) -> None:
    """List the sandboxes that run or were left behind.

    Example: fastslow sandbox ls
    """
    from fastslow.agent.surfaces.cli import sandboxed

    sandboxed.ls(as_json=json_output)


@sandbox_app.command()
def prune(debug: DEBUG = False) -> None:
    """Remove the sandboxes that killed runs left behind.

    The next run would do so by itself.

    Example: fastslow sandbox prune
    """
    from fastslow.agent.surfaces.cli import sandboxed

    sandboxed.prune()


@sandbox_app.command()
def probe(json_output: JSON = False, debug: DEBUG = False) -> None:
    """Try from inside a sandbox what code must not be able to do.

    HELD: the attempt failed, as it should. OPEN: it worked, and should not have.
    Exit status: 0 if all are HELD, 1 if any is OPEN.

    Example: fastslow sandbox probe
    """
    from fastslow.agent.surfaces.cli import sandboxed

    raise typer.Exit(sandboxed.probe(as_json=json_output))
