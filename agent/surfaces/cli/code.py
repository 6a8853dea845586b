"""`fastslow code`: a project in, a tested change out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer
from rich.text import Text

from fastslow.agent.events import Exit, Result
from fastslow.agent.project import Trust, project_of
from fastslow.agent.surfaces.cli import changes
from fastslow.agent.surfaces.cli.asking import attended
from fastslow.agent.surfaces.cli.run import RunArguments, run
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.agent.tree.select import select
from fastslow.agent.tree.tree import Tree


def code(arguments: RunArguments, *, apply: bool) -> int:
    """Carry the task out; returns the exit status. apply: write the change where nothing speaks against it."""

    def finished(result: Result) -> int:
        if apply and result.exit is Exit.ANSWERED and result.changes:
            return changes.apply(result.run, (), dry_run=False, as_json=arguments.json_lines)
        return 0

    tree = arguments.tree and ask_trust(arguments.tree)
    return run(replace(arguments, tree=tree), finished)


def ask_trust(tree: Tree) -> Tree:
    """Ask whoever sits there, once for each project and what it tells agents, whether the model may be told it."""
    if tree.trust is not None or not attended():
        return tree
    selection = select(tree)
    project = project_of(selection.root, paths=[entry.path for entry in selection.files])
    if not project.digest or Trust().is_trusted(project.root, project.digest):
        return tree
    console = terminal(stderr=True)
    console.print(Text(f"{one_line(str(Path(project.root)))} tells agents how to work in it:", "bold"))
    for line in project.described():
        console.print(Text(f"  {one_line(line)}"), soft_wrap=True)
    console.print(Text("It grants no rights. You are asked again when it changes.", "dim"))
    trusted = typer.confirm("May the model be told?", default=False, err=True)
    if trusted:
        Trust().trust(project.root, project.digest)
    return replace(tree, trust=trusted)
