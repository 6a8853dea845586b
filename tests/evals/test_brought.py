"""Suites of others: read from a folder laid out as their repositories are, and told where they are to be had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.evals.suites import cases_of
from fastslow.agent.evals.suites.polyglot import polyglot_python
from fastslow.agent.evals.suites.quixbugs import quixbugs

LOADER = """
import json
from pathlib import Path


def load_json_testcases(name):
    with open(Path(__file__).parent / ".." / f"json_testcases/{name}.json") as file:
        return [json.loads(line) for line in file]
"""
QUIXBUGS = {
    "conftest.py": "import pytest\n\n\ndef pytest_configure(config):\n    pytest.use_correct = False\n",
    "python_programs/gcd.py": "def gcd(a, b):\n    return a if b == 0 else gcd(a % b, b)\n",
    "python_programs/node.py": "class Node:\n    pass\n",
    "python_programs/untested.py": "",
    "correct_python_programs/gcd.py": "def gcd(a, b):\n    return a if b == 0 else gcd(b, a % b)\n",
    "python_testcases/load_testdata.py": LOADER,
    "python_testcases/node.py": "class Node:\n    pass\n",
    "python_testcases/test_gcd.py": "from load_testdata import load_json_testcases\n",
    "python_programs/detect_cycle.py": "def detect_cycle(node):\n    return True\n",
    "correct_python_programs/detect_cycle.py": "def detect_cycle(node):\n    return False\n",
    "python_testcases/test_detect_cycle.py": "from node import Node\n",
    "json_testcases/gcd.json": "[[17, 0], 17]\n",
    "java_programs/GCD.java": "",
}
EXERCISE = "python/exercises/practice/two-fer"
POLYGLOT = {
    f"{EXERCISE}/.docs/instructions.md": "# Instructions\n\nGive one for you, one for me.\n",
    f"{EXERCISE}/.docs/instructions.append.md": "Without a name, say you.\n",
    f"{EXERCISE}/.meta/config.json": json.dumps({"files": {"solution": ["two_fer.py"], "test": ["two_fer_test.py"]}}),
    f"{EXERCISE}/.meta/example.py": "def two_fer(name='you'):\n    return f'One for {name}, one for me.'\n",
    f"{EXERCISE}/two_fer.py": "def two_fer(name):\n    pass\n",
    f"{EXERCISE}/two_fer_test.py": "from two_fer import two_fer\n",
    "go/exercises/practice/bowling/bowling.go": "",
}


def laid_out(root: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    return root


def test_quixbugs(tmp_path: Path) -> None:
    cases = {case.id: case for case in quixbugs(2, laid_out(tmp_path, QUIXBUGS))}
    assert cases.keys() == {"gcd", "detect_cycle"}
    gcd = cases["gcd"].repository
    assert gcd
    assert gcd.files.keys() == {
        "conftest.py",
        "json_testcases/gcd.json",
        *(f"python_programs/{name}.py" for name in ("gcd", "node")),
        *(f"python_testcases/{name}.py" for name in ("load_testdata", "node", "test_gcd")),
    }
    assert gcd.solution == {"python_programs/gcd.py": QUIXBUGS["correct_python_programs/gcd.py"].encode()}
    assert gcd.test.endswith(" python_testcases/test_gcd.py")
    assert gcd.changed({"json_testcases/gcd.json": None, "python_programs/node.py": b""}).keys() == gcd.files.keys()
    assert {case.group for case in cases.values()} == {"with data", "graphs"}


def test_polyglot(tmp_path: Path) -> None:
    [case] = polyglot_python(2, laid_out(tmp_path, POLYGLOT))
    assert case.id == "two-fer"
    assert case.task.startswith("# Instructions\n\nGive one for you, one for me.\n\nWithout a name, say you.")
    assert "in two_fer.py" in case.task
    assert case.repository
    assert case.repository.files.keys() == {"two_fer.py", "two_fer_test.py"}
    assert case.repository.solution == {"two_fer.py": POLYGLOT[f"{EXERCISE}/.meta/example.py"].encode()}
    assert case.repository.changed({"two_fer_test.py": b""}) == case.repository.files


def test_an_exercise_that_names_no_files(tmp_path: Path) -> None:
    laid_out(tmp_path, POLYGLOT | {f"{EXERCISE}/.meta/config.json": '{"files": []}'})
    with pytest.raises(ConfigurationError, match=r"config.json should name files.solution and files.test: TypeError"):
        polyglot_python(2, tmp_path)


@pytest.mark.parametrize("name", ["quixbugs", "polyglot-python"])
def test_what_is_not_here_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTSLOW_SUITES", raising=False)
    with pytest.raises(ConfigurationError, match=r"skipped: .* is not here, .* `git clone https://github.com/.*--from"):
        cases_of(name, 2)
    with pytest.raises(ConfigurationError, match=r"skipped: expected a copy of https://github.com/.* has no folder"):
        cases_of(name, 2, tmp_path)


def test_a_folder_that_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out(tmp_path / "QuixBugs", QUIXBUGS)
    laid_out(tmp_path / "polyglot-benchmark", POLYGLOT)
    monkeypatch.setenv("FASTSLOW_SUITES", str(tmp_path))
    assert [len(cases_of(name, 2)) for name in ("quixbugs", "polyglot-python")] == [2, 1]


def test_suites_of_ours_are_read_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="edits is made here and read from no folder"):
        cases_of("edits", 2, tmp_path)
