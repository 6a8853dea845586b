"""`fastslow setup`, `up`, `down`, `status`, `models` and `doctor`: models, and the server that serves one."""

from __future__ import annotations

from typing import Annotated

import typer

from fastslow.agent.surfaces.cli.options import BASE_URL, DEBUG, JSON, MODEL

app = typer.Typer()


@app.command()
def setup(model: MODEL = None, debug: DEBUG = False) -> None:
    """Set up what a run needs, and run nothing.

    That is Docker, the sandbox image, vLLM, a model's weights and its server. What does not need each other is made
    side by side, and what is there already is left as it is.

    Example: fastslow setup
    """
    from fastslow.agent.surfaces.cli import serving

    serving.setup(model)


@app.command()
def up(
    model: MODEL = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="N", help="Port on 127.0.0.1; by default any free one.", show_default=False
        ),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of the model that --model names.")
    ] = False,
    flag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FLAG",
            help="A further argument for vLLM, as --flag=--max-model-len=8192; give the option again for more.",
            show_default=False,
        ),
    ] = None,
    debug: DEBUG = False,
) -> None:
    """Start the model server.

    Installs vLLM and downloads the model's weights first, where they are missing.

    Example: fastslow up --model exaone-4.0-1.2b --accept-licence
    """
    from fastslow.agent.surfaces.cli import serving

    if accept_licence and not model:
        raise typer.BadParameter("name the model whose licence you accept", param_hint="--model")
    serving.up(model, port, tuple(flag or ()), accept_licence=accept_licence)


@app.command()
def down(debug: DEBUG = False) -> None:
    """Stop the model server.

    Example: fastslow down
    """
    from fastslow.agent.surfaces.cli import serving

    serving.down()


@app.command()
def status(json_output: JSON = False, debug: DEBUG = False) -> None:
    """Show the model server and whether it answers.

    Exit status: 0 if it answers, 1 if not.

    Example: fastslow status --json
    """
    from fastslow.agent.surfaces.cli import serving

    raise typer.Exit(serving.status(as_json=json_output))


@app.command()
def models(json_output: JSON = False, debug: DEBUG = False) -> None:
    """List the models of the catalog, and what fits here.

    With licence, download size, context and modes; `*` marks the one that is served by default.

    Example: fastslow models
    """
    from fastslow.agent.surfaces.cli import serving

    serving.models(as_json=json_output)


@app.command()
def doctor(json_output: JSON = False, base_url: BASE_URL = None, debug: DEBUG = False) -> None:
    """Check what a run needs, and say how to get what is missing.

    Exit status: 0 if a run can start, 1 if not.

    Example: fastslow doctor
    """
    from fastslow.agent.surfaces.cli import doctor as command

    raise typer.Exit(command.doctor(base_url, as_json=json_output))
