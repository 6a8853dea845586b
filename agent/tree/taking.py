"""What a run gets of a folder of the user's, before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.project import Project, Trust, contents, project_of
from fastslow.agent.tree.runner import usual_test
from fastslow.agent.tree.select import Selection, select
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import Limits, TreeFile


@dataclass(frozen=True, slots=True)
class Taken:
    """tree: as asked for, with the command that proves the work. notices: what the user should know."""

    tree: Tree
    selection: Selection
    notices: tuple[str, ...] = ()


def take(tree: Tree, limits: Limits, commands: Sequence[str]) -> Taken:
    """Look which files go in. commands: that the sandbox has. ConfigurationError for a folder that is too large."""
    selection = select(tree)
    size, count = sum(entry.size for entry in selection.files), len(selection.files)
    if size > limits.disk or count > limits.files:
        raise ConfigurationError(
            f"{selection.root} has {count:,} files with {size:,} bytes, and the sandbox takes {limits.files:,} files "
            f"and {limits.disk:,} bytes; pass a smaller folder, or raise Limits(files=…, disk=…, memory=…)"
        )
    test, notices = tree.test, list(selection.notices)
    if test is None:
        test, told = usual_test(selection, commands)
        notices.append(told)
    return Taken(replace(tree, root=str(selection.root), test=test), selection, tuple(notices))


def trusted_project(tree: Tree, paths: Sequence[str]) -> Project:
    """What the project tells agents, as far as the user trusts it."""
    project = project_of(Path(tree.root), paths=paths)
    trusted = tree.trust or (tree.trust is None and Trust().is_trusted(project.root, project.digest))
    return project if trusted else project.untrusted()


def skill_files(project: Project) -> list[TreeFile]:
    """The files of its skills, for the sandbox."""
    return [TreeFile(path, content) for skill in project.skills for path, content in contents(skill).items()]
