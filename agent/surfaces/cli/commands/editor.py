"""`fastslow acp`: an agent for editors."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.surfaces.acp.greeting import greet
from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    BASE_URL,
    BUDGET,
    DEBUG,
    MEMORY,
    MODEL,
    RULES,
    SECONDS,
    changed_budget,
    project_limits,
    sandbox_network,
)

app = typer.Typer()


@app.command()
def acp(
    test: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help='The command that proves the work, as "pytest -q"; by default the usual one of each project, "" for '
            "none.",
            show_default=False,
        ),
    ] = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    allow: ALLOW = None,
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    debug: DEBUG = False,
) -> None:
    """Serve an editor, with the Agent Client Protocol.

    Each conversation works on a copy of the editor's folder; you are asked before changes are written there. Set up the
    server first: fastslow setup.

    Example: fastslow acp
    """
    if find_spec("acp") is None:
        raise ConfigurationError('`fastslow acp` needs a package more; install it: pip install "fastslow[acp]"')
    greeting = greet()
    from fastslow import Agent, Approval, DockerSandbox
    from fastslow.agent.engine.pool import engine_of
    from fastslow.agent.surfaces.acp.server import serve
    from fastslow.agent.surfaces.cli.run import default_rules

    agent = Agent(
        engine=engine_of(base_url, model),
        sandbox=DockerSandbox(project_limits(seconds, memory), network=sandbox_network(allow)),
        budget=changed_budget(Budget(), budget),
        approval=Approval.load(approval) if approval else default_rules(),
    )
    serve(agent, greeting, test=test, managed=not base_url)
