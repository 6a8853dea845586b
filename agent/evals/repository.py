"""`Repository`: a folder that a case is about. Its own tests say whether it is right, in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TypeAlias

from fastslow.sandbox import Sandbox

Changed: TypeAlias = Mapping[str, bytes | None]
"""Files that were written, by path below the folder; None for one that was removed."""

SECONDS = 120.0  # for the tests
TAIL = 200  # characters of what they say
# What tells pytest or Python itself what to do: nothing of it comes from whoever is judged.
_STEERS = {"conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg"}
_STEERS |= {"pyproject.toml", "sitecustomize.py", "usercustomize.py"}
_SHADOWS = {"pytest", "_pytest", "pluggy", "unittest"}  # the folder comes first where Python looks for modules


@dataclass(frozen=True, slots=True)
class Repository:
    """files: by path. test: the command that tells, run in the folder; 0 is right. tests: paths of those files that it
    judges by. solution: the files of one right answer, which no run ever sees; for the tests of a suite."""

    files: Mapping[str, bytes]
    test: str
    tests: frozenset[str]
    solution: Changed = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def changed(self, changed: Changed) -> dict[str, bytes]:
        """The files with the changes, but for those that the tests consist of or are steered by: they stay."""
        kept = {path: content for path, content in changed.items() if not self._protected(path)}
        laid = {**self.files, **kept}
        return {path: content for path, content in laid.items() if content is not None}

    def _protected(self, path: str) -> bool:
        parts = PurePosixPath(path).parts
        return (
            path in self.tests
            or parts[-1] in _STEERS
            or "__pycache__" in parts
            or parts[0].removesuffix(".py") in _SHADOWS
        )


async def verdict(sandbox: Sandbox, repository: Repository, changed: Changed) -> str:
    """Run the tests over a repository with changes; empty when they pass, else their exit code and last words."""
    session = await sandbox.session()
    try:
        for path, content in repository.changed(changed).items():
            await session.put(path, content)
        ran = await session.shell(repository.test, seconds=SECONDS)
    finally:
        await session.aclose()
    if ran.status == "ok":
        return ""
    last = " ".join((ran.stdout + ran.stderr).split())[-TAIL:]
    return f"the tests end with {ran.status} {ran.exit_code}: {last}"
