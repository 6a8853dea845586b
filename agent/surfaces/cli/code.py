"""`fastslow code`: a project in, a tested change out."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
import yaml
from rich.text import Text

from fastslow.agent.events import Exit, Result
from fastslow.agent.plan import Plan
from fastslow.agent.project import Trust, project_of
from fastslow.agent.surfaces.cli import changes
from fastslow.agent.surfaces.cli.asking import can_confirm
from fastslow.agent.surfaces.cli.run import RunArguments, run
from fastslow.agent.surfaces.cli.text import clean, one_line, terminal
from fastslow.agent.tree.select import select
from fastslow.agent.tree.tree import Tree


def code(arguments: RunArguments, *, apply: bool, plan_first: bool = False) -> int:
    """Carry the task out; returns the exit status. apply: write the change where nothing speaks against it. plan_first:
    show a plan before anything is changed, and carry out what the user makes of it."""

    def finished(result: Result) -> int:
        if apply and result.exit is Exit.ANSWERED and result.changes:
            return changes.apply(result.run, (), dry_run=False, as_json=arguments.json_lines)
        return 0

    arguments = replace(arguments, tree=arguments.tree and ask_trust(arguments.tree))
    if plan_first:
        planned: list[Result] = []

        def keep(result: Result) -> int:
            planned.append(result)
            return 0

        tree = arguments.tree and replace(arguments.tree, test="")
        if status := run(replace(arguments, tree=tree, only_plan=True), keep):
            return status
        plan = decided(planned[0].output) if can_confirm() else planned[0].output
        if plan is None:
            return 0
        arguments = replace(arguments, plan=plan, after=planned[0].run)
    return run(arguments, finished)


def decided(plan: Plan) -> Plan | None:
    """What the user makes of a plan; None where it is not to be carried out."""
    while True:
        terminal(stderr=True).print(Text(clean(as_yaml(plan))))
        match typer.prompt("Carry it out? y yes, e edit it, n no", default="y", err=True)[:1].lower():
            case "y":
                return plan
            case "n":
                return None
            case "e":
                plan = edited(plan)


def as_yaml(plan: Plan) -> str:
    """A plan as people edit it."""
    told = plan.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)


def edited(plan: Plan) -> Plan:
    """The plan as it comes back from the user's editor; as it was where that is no plan."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with TemporaryDirectory(prefix="fastslow-") as folder:
        file = Path(folder, "plan.yaml")
        file.write_text(as_yaml(plan), "utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
            return Plan.model_validate(yaml.safe_load(file.read_text("utf-8")))
        except (OSError, ValueError, yaml.YAMLError, subprocess.CalledProcessError) as error:
            what = one_line(str(error))
    terminal(stderr=True).print(Text(f"the plan is as it was, since {editor} left none: {what}", "red"), soft_wrap=True)
    return plan


def ask_trust(tree: Tree) -> Tree:
    """Ask whoever sits there, once for each project and what it tells agents, whether the model may be told it."""
    selection = select(tree)  # what is wrong with the folder is told before anything is started
    if tree.trust is not None or not can_confirm():
        return tree
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
