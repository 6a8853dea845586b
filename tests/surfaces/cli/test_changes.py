"""`fastslow diff`, `apply` and `undo` as a person, or a program, types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, Budget, DummySandbox, Exit, Result, RunUnknown, ScriptedModel
from fastslow.agent.surfaces.cli import changes
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import Execution
from tests.agent.helpers import calls, says

ONE = "1\n2\n3\n4\n5\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whose two files a run has changed, in its copy of them."""
    monkeypatch.setattr("fastslow.agent.record.journal.default_path", lambda: tmp_path / "runs.db")
    root = tmp_path / "project"
    (root / "docs").mkdir(parents=True)
    (root / "one.txt").write_text(ONE)
    (root / "docs" / "two.txt").write_text("2\n")
    edits = [
        ("edit_file", {"path": path, "edits": [{"old_text": old, "new_text": new}]})
        for path, old, new in (("one.txt", "3", "three"), ("docs/two.txt", "2", "two"))
    ]
    assert len(edited(root, *edits).changes) == 2
    return root


def edited(root: Path, *edits: tuple[str, dict[str, Any]], budget: Budget | None = None) -> Result:
    sandbox = DummySandbox([Execution("ok")])
    agent = Agent(engine=ScriptedModel([calls(*edits), says("done")]), sandbox=sandbox, budget=budget or Budget())
    return agent.run_sync("the task", tree=Tree(root, test=""))


def test_a_conflict_is_shown_with_what_to_do_and_nothing_is_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "one.txt").write_text(ONE.replace("3", "III"))
    assert changes.apply("last", (), dry_run=False, as_json=False) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "conflict one.txt: both changed the same lines",
        "nothing written: settle the conflicts first, or name the paths that you want",
    ]
    assert (project / "docs" / "two.txt").read_text() == "2\n"


def test_a_program_is_told_of_a_conflict(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "one.txt").write_text(ONE.replace("3", "III"))
    assert changes.apply("last", (), dry_run=False, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == []
    assert told["conflicts"] == [{"path": "one.txt", "reason": "both changed the same lines"}]


def test_what_cannot_be_taken_back_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert changes.apply("last", (), dry_run=False, as_json=False) == 0
    (project / "one.txt").write_text(ONE.replace("3", "drei"))
    capsys.readouterr()
    assert changes.undo("last", as_json=False) == 1
    assert capsys.readouterr().out.splitlines() == [
        "conflict one.txt: both changed the same lines",
        "nothing taken back: settle the conflicts first",
    ]
    assert (project / "docs" / "two.txt").read_text() == "two\n"
    assert changes.undo("last", as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["conflicts"][0]["path"] == "one.txt"


def test_a_path_in_the_place_of_the_run_is_one_of_the_last_runs(
    project: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    changes.diff("docs", (), as_json=False)
    assert [line for line in capfdbinary.readouterr().out.splitlines() if line[:1] in b"-+"] == [
        b"--- a/docs/two.txt",
        b"+++ b/docs/two.txt",
        b"-2",
        b"+two",
    ]
    assert changes.apply("docs/two.txt", (), dry_run=False, as_json=True) == 0
    assert (project / "docs" / "two.txt").read_text() == "two\n"
    assert (project / "one.txt").read_text() == ONE
    with pytest.raises(RunUnknown, match=r"no run 'three\.txt'"):
        changes.apply("three.txt", (), dry_run=False, as_json=False)


def test_a_run_without_an_answer_is_told_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ("edit_file", {"path": "one.txt", "edits": [{"old_text": "5", "new_text": "five"}]})
    assert edited(project, edit, budget=Budget(turns=1)).exit is Exit.BUDGET
    assert changes.apply("last", (), dry_run=True, as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "! the run ended without an answer (budget): nothing proves what it changed so far",
        "change   one.txt",
        "1 file would be written",
    ]
