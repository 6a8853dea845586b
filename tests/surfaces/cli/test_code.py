"""`fastslow code`, `diff`, `apply` and `undo`: real processes and a sandbox, and a server that plays a model."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from fastslow.agent.flow.planfile import PlanFile
from fastslow.agent.plan import Plan
from fastslow.agent.surfaces.cli.code import edited
from tests.engine.fake_server import CHAT, Answer, Seen, call, delta, usage
from tests.surfaces.cli.test_chat import FASTSLOW, Model
from tests.surfaces.cli.test_chat import model as model

TEST = "test $(cat source/calculator.py | tail -c 2) = 2"
FIX = "run: sed -i 's/= 1/= 2/' source/calculator.py"
ANSWER = Model.answer
PLAN = {"goal": "Make it two", "steps": [{"do": "Change calculator.py"}]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    root = tmp_path / "project"
    (root / "source").mkdir(parents=True)
    (root / "source" / "calculator.py").write_text("one = 1\n")
    monkeypatch.chdir(root)
    return root


def fastslow(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FASTSLOW, *command], input=stdin, text=True, capture_output=True, timeout=120)


def code(model: Model, task: str, *options: str) -> subprocess.CompletedProcess[str]:
    return fastslow("code", task, "--base-url", model.url, *options)


@pytest.mark.docker
def test_a_change_is_made_looked_at_applied_and_taken_back(model: Model, project: Path) -> None:
    file = project / "source" / "calculator.py"
    done = code(model, FIX, "--test", TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "modified source/calculator.py  +1 -1" in done.stdout
    assert "fastslow apply 2" in done.stdout
    assert file.read_text() == "one = 1\n"
    patch = fastslow("diff").stdout
    assert "-one = 1\n+one = 2\n" in patch
    (project.parent / "other" / "source").mkdir(parents=True)
    (project.parent / "other" / "source" / "calculator.py").write_text("one = 1\n")
    applied = subprocess.run(["git", "apply"], input=patch, text=True, cwd=project.parent / "other", check=False)
    assert applied.returncode == 0
    assert (project.parent / "other" / "source" / "calculator.py").read_text() == "one = 2\n"
    assert "1 file would be written" in fastslow("apply", "--dry-run").stdout
    assert file.read_text() == "one = 1\n"
    assert "1 file written" in fastslow("apply", "last", "source").stdout
    assert file.read_text() == "one = 2\n"
    assert "nothing to do" in fastslow("apply").stdout
    told = json.loads(fastslow("undo", "--json").stdout)
    assert (told["event"], told["files"]) == ("undone", [{"path": "source/calculator.py", "do": "change"}])
    assert file.read_text() == "one = 1\n"
    again = fastslow("undo")
    assert (again.returncode, "nothing to take back" in again.stderr) == (1, True)


@pytest.mark.docker
def test_a_conflict_writes_nothing_and_is_named(model: Model, project: Path) -> None:
    assert code(model, FIX + "; echo new > other.py", "--test", TEST).returncode == 0
    (project / "source" / "calculator.py").write_text("one = 11\n")
    done = fastslow("apply")
    assert done.returncode == 1
    assert "source/calculator.py" in done.stdout
    assert not (project / "other.py").exists()
    assert fastslow("apply", "last", "other.py").returncode == 0
    assert (project / "other.py").read_text() == "new\n"
    assert "was not changed by the run" in fastslow("apply", "last", "sorce").stderr


@pytest.mark.docker
def test_for_scripts(model: Model, project: Path) -> None:
    red = code(model, "run: true", "--test", TEST, "--apply", "--budget", "turns=2", "--json")
    events = [json.loads(line) for line in red.stdout.splitlines()]
    assert red.returncode == 3
    assert [event["verdict"] for event in events if event["event"] == "check_finished"] == ["red", "red"]
    green = code(model, FIX, "--test", TEST, "--apply", "--json")
    events = [json.loads(line) for line in green.stdout.splitlines()]
    assert green.returncode == 0
    result = next(event["result"] for event in events if event["event"] == "run_finished")
    assert [(one["path"], one["kind"]) for one in result["changes"]["changes"]] == [
        ("source/calculator.py", "modified")
    ]
    assert events[-1]["event"] == "applied"
    assert (project / "source" / "calculator.py").read_text() == "one = 2\n"


def planned(model: Model, seen: Seen) -> Answer:
    """A plan where one is asked for, else what the model says."""
    tools = [tool["function"]["name"] for tool in seen.json.get("tools", ())] if seen.path == CHAT else []
    if "answer" not in tools:
        return ANSWER(model, seen)
    made = call(0, f"c{len(model.seen)}", "answer", json.dumps(PLAN))
    return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), usage(10, 5)])


@pytest.mark.docker
def test_a_plan_comes_first_from_tools_that_only_look(
    model: Model, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "answer", planned)
    done = code(model, "Make it two", "--test", "", "--plan", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    first, second = (event for event in events if event["event"] == "run_started")
    assert set(first["tools"]) == {"read_file", "search", "list_files", "give_up", "answer"}
    assert second["after"] == first["run"]
    reasons = [event["reason"] for event in events if event["event"] == "turn_started"]
    assert "the plan is given" in reasons
    assert [event["do"] for event in events if event["event"] == "step_started"] == ["Change calculator.py"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--dir", "nowhere"], "does not exist"),
        (["--dir", "source/calculator.py"], "is a file"),
        (["--file", "nowhere.csv"], "no file 'nowhere.csv'"),
        (["--budget", "steps=3"], "expected turns=N"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_started(options: list[str], told: str, project: Path) -> None:
    done = fastslow("code", "Fix it", "--base-url", "http://127.0.0.1:1/v1", *options)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["diff", "apply", "undo"])
def test_a_run_that_is_not_there_has_no_changes(command: str, project: Path) -> None:
    done = fastslow(command)
    assert done.returncode == 1
    assert "no run 'last'" in done.stderr


def test_a_plan_is_edited_and_stays_where_the_editor_leaves_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = PlanFile.of("Make {it} two", Plan.model_validate(PLAN))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/Change/Rewrite/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    assert edited(plan).steps[0].do == "Rewrite calculator.py"
    assert edited(plan).filled({})[0] == "Make {it} two"
    assert "Change calculator.py" in plan.to_yaml()
    editor.write_text("#!/bin/sh\nsed -i 's/calculator/{name}/' \"$1\"\n")
    assert edited(plan) == plan, "nobody is there to give its parameter a value"
    for broken in ("echo nonsense: [", "false", "no-such-editor"):
        monkeypatch.setenv("VISUAL", broken)
        assert edited(plan) == plan
    assert os.environ["VISUAL"] == "no-such-editor"
