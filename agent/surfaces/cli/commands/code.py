"""`fastslow code`, `diff`, `apply` and `undo`: change a project of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    BASE_URL,
    BUDGET,
    DEBUG,
    FILES,
    JSON,
    JSON_LINES,
    MEMORY,
    MODEL,
    RULES,
    RUN,
    SECONDS,
    SHOW_THINKING,
    THINK,
    changed_budget,
    project_limits,
    sandbox_network,
)

app = typer.Typer()

PATHS = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files or folders of the change only; of the last run where none is named.",
        show_default=False,
    ),
]

TEST = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help='The command that proves the work, as "pytest -q"; by default the usual one, "" for none.',
        show_default=False,
    ),
]
PROTECT = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Files that are put back as they were while the test runs; by default the tests that are there. Give "
        'the option again for more, "" for none.',
        show_default=False,
    ),
]
PACKAGES = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[==V]",
        help="A Python package that the project needs, in an image of its own; give the option again for more, or "
        "several in quotes.",
        show_default=False,
    ),
]
IMAGE = Annotated[
    str | None,
    typer.Option(metavar="IMAGE", help="Run in this image; it must have python3 >= 3.11 and bash.", show_default=False),
]
TRUST = Annotated[
    bool, typer.Option("--trust", help="Tell the model what the project tells agents (AGENTS.md, skills), unasked.")
]


@app.command()
def code(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to do, in words.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--dir", "-d", metavar="DIR", help="The project.", file_okay=False, show_default=False)
    ] = Path(),
    test: TEST = None,
    protect: PROTECT = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply the change where the test is green, or there is none.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Plan first, changing nothing; you may edit the plan before it is done.")
    ] = False,
    packages: PACKAGES = None,
    image: IMAGE = None,
    file: FILES = None,
    trust: TRUST = False,
    after: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on from this run on the same project, or `last`.", show_default=False),
    ] = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    think: THINK = "auto",
    json_lines: JSON_LINES = False,
    allow: ALLOW = None,
    budget: BUDGET = None,
    seconds: SECONDS = None,
    memory: MEMORY = None,
    approval: RULES = None,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Change a project: a copy in, a tested change out.

    Nothing of yours changes before `fastslow apply`. What Git tracks or would track goes in, or without Git all but the
    usual build folders.

    Exit status: 0 answered and the test is green, 1 no answer or red, the others as those of run.

    Example: fastslow code "Fix the failing test" --test "pytest -q"
    """
    from fastslow.agent.surfaces.cli import code as command
    from fastslow.agent.surfaces.cli.run import RunArguments
    from fastslow.agent.tree.tree import Tree

    if not task.strip():
        raise typer.BadParameter("expected a task in words, got nothing", param_hint="TASK")
    kept = None if protect is None else tuple(glob for glob in protect if glob)
    arguments = RunArguments(
        task=task,
        files=tuple(file or ()),
        model=model,
        base_url=base_url,
        think=think,
        out=None,
        json_lines=json_lines,
        show_thinking=show_thinking,
        network=sandbox_network(allow),
        limits=project_limits(seconds, memory),
        budget=changed_budget(Budget(), budget),
        after=after,
        rules=approval,
        tree=Tree(folder, test, kept, trust=True if trust else None),
        packages=tuple(name for text in packages or () for name in text.split()),
        image=image,
    )
    raise typer.Exit(command.code(arguments, apply=apply, plan_first=plan))


@app.command()
def diff(run: RUN = "last", paths: PATHS = None, json_output: JSON = False, debug: DEBUG = False) -> None:
    """Print what a run changed, as a patch for `git apply`.

    Example: fastslow diff last > change.patch
    """
    from fastslow.agent.surfaces.cli import changes

    changes.diff(run, tuple(paths or ()), as_json=json_output)


@app.command()
def apply(
    run: RUN = "last",
    paths: PATHS = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Write what a run changed into your project.

    A file that you changed meanwhile gets both changes, where they go together; else nothing at all is written, and the
    file is named. `fastslow undo` takes it back.

    Exit status: 0 written, or nothing to do, 1 a conflict, 2 wrong usage.

    Example: fastslow apply last --dry-run
    """
    from fastslow.agent.surfaces.cli import changes

    raise typer.Exit(changes.apply(run, tuple(paths or ()), dry_run=dry_run, as_json=json_output))


@app.command()
def undo(run: RUN = "last", json_output: JSON = False, debug: DEBUG = False) -> None:
    """Take back what was applied last of a run.

    What you changed in the files since then stays, where it goes together with that; else nothing is written, and the
    file is named.

    Exit status: as that of apply.

    Example: fastslow undo
    """
    from fastslow.agent.surfaces.cli import changes

    raise typer.Exit(changes.undo(run, as_json=json_output))
