"""`quixbugs`: 40 small programs with a bug on one line each (https://github.com/jkoppel/QuixBugs, MIT)."""

from __future__ import annotations

from pathlib import Path

from fastslow.agent.evals.case import Case
from fastslow.agent.evals.repository import Repository
from fastslow.agent.evals.suites.brought import checkout, contents, shuffled

ADDRESS = "https://github.com/jkoppel/QuixBugs"
PROGRAMS, RIGHT, TESTS, DATA = "python_programs", "correct_python_programs", "python_testcases", "json_testcases"
SHARED = ("conftest.py", f"{TESTS}/load_testdata.py", f"{TESTS}/node.py", f"{PROGRAMS}/node.py")


def quixbugs(seed: int, folder: Path | None = None) -> tuple[Case, ...]:
    """A case for each program that has tests. Raises ConfigurationError where the repository is not to be had."""
    root = checkout("QuixBugs", ADDRESS, PROGRAMS, folder)
    names = sorted(path.stem.removeprefix("test_") for path in (root / TESTS).glob("test_*.py"))
    cases = [_case(root, name) for name in names if (root / PROGRAMS / f"{name}.py").is_file()]
    return shuffled(cases, f"{seed}/quixbugs")


def _case(root: Path, name: str) -> Case:
    program, test, data = f"{PROGRAMS}/{name}.py", f"{TESTS}/test_{name}.py", f"{DATA}/{name}.json"
    repository = Repository(
        files=contents(root, program, test, data, *SHARED),
        test=f"python -m pytest -q -p no:cacheprovider {test}",
        tests=frozenset({test, data, *SHARED[:3]}),
        solution=dict(zip([program], contents(root, f"{RIGHT}/{name}.py").values(), strict=False)),
    )
    task = f"{program} has a bug on one line, and {test} fails. Fix the program."
    return Case("quixbugs", "with data" if data in repository.files else "graphs", name, task, repository=repository)
