"""The suite `edits`: each case is red as it is given, and green with its solution; tests cannot be won over."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fastslow.agent.evals.repository import Changed, Repository, verdict
from fastslow.agent.evals.suites.edits import edits
from fastslow.sandbox import DockerSandbox

# Runs the tests of each folder of its input in a fork, so that pytest is imported once; prints the exit codes.
RUNNER = """
import json, os, runpy, sys
import pytest, unittest
for folder, module, *arguments in json.load(sys.stdin):
    if not (child := os.fork()):
        os.chdir(folder)
        sys.path.insert(0, folder)
        sys.argv = [module, *arguments]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        os._exit(70)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def statuses(folders: Mapping[Path, Repository], changed: Callable[[Repository], Changed]) -> list[int]:
    """The exit codes of the tests of each. They and what they test are ours, so that they may run here."""
    asked = []
    for folder, repository in folders.items():
        for path, content in repository.changed(changed(repository)).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        asked.append([str(folder), *shlex.split(repository.test)[2:]])
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(asked), capture_output=True, text=True, timeout=300, env=env
    )
    return [int(status) for status in ran.stdout.split()]


@pytest.mark.parametrize("seed", [2, 17])
def test_each_case_is_red_before_and_green_after(seed: int, tmp_path: Path) -> None:
    repositories = {case.id: case.repository for case in edits(seed) if case.repository}
    before = statuses({tmp_path / "before" / id_: each for id_, each in repositories.items()}, lambda _: {})
    after = statuses({tmp_path / "after" / id_: each for id_, each in repositories.items()}, lambda of: of.solution)
    red = {1, 2}  # a test failed, or could not be read for what is missing
    assert [id_ for id_, status in zip(repositories, before, strict=True) if status not in red] == []
    assert [id_ for id_, status in zip(repositories, after, strict=True) if status] == []


def test_there_are_enough_of_many_kinds() -> None:
    cases = edits(3)
    assert len(cases) == 40
    assert len(Counter(case.group for case in cases)) >= 10
    assert len({case.id.split("-")[0] for case in cases[:10]}) == 10
    assert all(case.repository and 3 <= len(case.repository.files) <= 8 for case in cases)
    assert all("$" not in case.task for case in cases)


REPOSITORY = Repository(
    files={
        "double.py": b"def double(x):\n    return x + 1\n",
        "tests/test_double.py": b"from double import double\n\n\ndef test():\n    assert double(3) == 6\n",
    },
    test="python -m pytest -q",
    tests=frozenset({"tests/test_double.py"}),
)
WRONG: Changed = {
    "tests/test_double.py": b"def test():\n    pass\n",
    "tests/conftest.py": b"def pytest_collection_modifyitems(items):\n    items.clear()\n",
    "pytest.ini": b"[pytest]\npython_files = none*\n",
    "pytest.py": b"raise SystemExit(0)\n",
    "pytest/__main__.py": b"raise SystemExit(0)\n",
}


def test_what_the_tests_are_steered_by_stays() -> None:
    assert REPOSITORY.changed(WRONG) == REPOSITORY.files
    assert REPOSITORY.changed({"tests/test_double.py": None}) == REPOSITORY.files
    assert REPOSITORY.changed({"new.py": b"", "double.py": None}).keys() == {"tests/test_double.py", "new.py"}


@pytest.mark.docker
async def test_the_tests_are_run_in_the_sandbox() -> None:
    sandbox = DockerSandbox()
    right: Changed = {"double.py": b"def double(x):\n    return 2 * x\n"}
    try:
        assert await verdict(sandbox, REPOSITORY, right) == ""
        assert await verdict(sandbox, REPOSITORY, {**right, **WRONG}) == ""
        assert "the tests end with error 1: " in await verdict(sandbox, REPOSITORY, WRONG)
        assert "the tests end with error" in await verdict(sandbox, REPOSITORY, {"double.py": None})
    finally:
        await sandbox.aclose()


@pytest.mark.docker
async def test_cases_of_each_command_run_in_the_sandbox() -> None:
    sandbox = DockerSandbox()
    by_command = {case.repository.test: case.repository for case in edits(5) if case.repository}
    try:
        for repository in by_command.values():
            assert await verdict(sandbox, repository, {})
            assert await verdict(sandbox, repository, repository.solution) == ""
    finally:
        await sandbox.aclose()
