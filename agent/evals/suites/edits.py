"""`edits`: small repositories with one slip or one missing function each; their own tests say when it is mended.

All of a case follows from a seed: another seed is the same slips in fresh names and numbers.
"""

from __future__ import annotations

import random

from fastslow.agent.evals.case import Case
from fastslow.agent.evals.repository import Repository
from fastslow.agent.evals.suites.projects import PROJECTS, Project, Slip, fill


def edits(seed: int) -> tuple[Case, ...]:
    """All cases of a seed; the first of each project come first, so that the first n are a fair sample."""
    most = max(len(project.slips) for project in PROJECTS)
    return tuple(
        _case(project, number, seed) for number in range(most) for project in PROJECTS if number < len(project.slips)
    )


def _case(project: Project, number: int, seed: int) -> Case:
    slip = project.slips[number]
    words = project.words(random.Random(f"{seed}/{project.name}/{number}"))  # noqa: S311 - not for secrets
    path, task = fill(slip.path, words), fill(slip.task, words)
    right = project.filled(words)
    files = {**right, path: _planted(right[path], slip, fill(slip.right, words), fill(slip.wrong, words))}
    repository = Repository(
        files={name: text.encode() for name, text in files.items()},
        test=project.test,
        tests=frozenset(name for name in files if name.startswith("tests/")),
        solution={path: right[path].encode()},
    )
    id_ = f"{project.name}-{slip.kind.replace(' ', '-')}-{seed}"
    return Case("edits", slip.kind, id_, task, repository=repository)


def _planted(text: str, slip: Slip, right: str, wrong: str) -> str:
    if text.count(right) != 1:
        raise ValueError(f"{slip.path} should hold {right!r} once, and does {text.count(right)} times")
    return text.replace(right, wrong)
