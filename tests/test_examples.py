"""The examples run as they stand: a script is in the place of the model's server, and all else is real."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fastslow import ScriptedModel
from fastslow.agent.engine.scripted import Scripted
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.transcript import ToolResult
from tests.agent.helpers import calls, says

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, replies: Sequence[Scripted], monkeypatch: pytest.MonkeyPatch, where: Path) -> ScriptedModel:
    model = ScriptedModel(replies)
    monkeypatch.setattr("fastslow.VLLM", lambda: model)
    monkeypatch.chdir(where)  # what a run makes lies below the folder it was started in
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    model.assert_complete()
    return model


def test_all_of_them_are_run_here_and_are_short() -> None:
    tested = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    examples = {path.name: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    assert set(examples) <= tested
    assert all(len(text.splitlines()) < 40 for text in examples.values())


def test_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = calls(("in_stock", {"product": "keyboard", "warehouse": "Busan"}))
    model = run("tool.py", [asked, says("There are 3 keyboards.")], monkeypatch, tmp_path)
    assert capsys.readouterr().out == "There are 3 keyboards.\n"
    assert isinstance(result := model.requests[1].messages[-1], ToolResult)
    assert result.content == "3"
    spec = next(tool.spec["function"] for tool in model.requests[0].tools if tool.name == "in_stock")
    assert spec["parameters"]["properties"]["warehouse"]["enum"] == ["Seoul", "Busan"]


def test_structured_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket: dict[str, Any] = {"customer": "Kim Minji", "order": 1207, "wants": "replacement", "urgent": True}
    wrong = calls(("answer", {**ticket, "order": 1}))  # too small, and so sent back
    run("structured_output.py", [wrong, calls(("answer", ticket))], monkeypatch, tmp_path)
    assert json.loads(capsys.readouterr().out) == ticket


def test_sub_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = {"task": "Which warehouse has the most keyboards?"}
    clerk = [calls(("in_stock", {"product": "keyboard"})), calls(("answer", {"warehouse": "Seoul", "pieces": 14}))]
    script = [calls(("ask_clerk", task)), *clerk, says("From Seoul.")]
    model = run("sub_agent.py", script, monkeypatch, tmp_path)
    assert capsys.readouterr().out == "From Seoul.\n"
    assert model.requests[1].messages[-1].content == task["task"]
    assert isinstance(result := model.requests[3].messages[-1], ToolResult)
    assert json.loads(result.content) == {"warehouse": "Seoul", "pieces": 14}


def test_run_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def feels(request: Request) -> Reply:
        return calls(("answer", {"mood": "pleased" if "Best mouse" in request.messages[-1].content else "angry"}))

    run("run_many.py", [feels] * 3, monkeypatch, tmp_path)
    said = sorted(capsys.readouterr().out.splitlines())
    assert [line.split()[0] for line in said] == ["angry"] * 2 + ["pleased"]
    assert said[-1].endswith("Best mouse I ever had, and it was here the next day.")


@pytest.mark.docker
def test_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import csv; print(len(list(csv.reader(open('orders.csv')))))"
    thought = calls(("python", {"code": code}), reasoning="Count the lines.")
    run("stream.py", [thought, says("June.")], monkeypatch, tmp_path)
    said = capsys.readouterr().out
    assert "== turn 1: think, because: first turn" in said
    assert "\033[2mCount the lines." in said
    assert "== python: 401" in said
    assert "== turn 2: fast" in said
    assert said.endswith("answered: June.\n")


def test_the_small_project_is_red_until_its_one_mistake_is_mended(tmp_path: Path) -> None:
    project = shutil.copytree(EXAMPLES / "coding_assistant", tmp_path / "project")

    def tested() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "-m", "unittest", "-q"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    red = tested()
    assert red.returncode == 1
    assert "8.0 degrees" in red.stderr
    assert "8.5 degrees" in red.stderr
    stats = project / "stats.py"
    assert stats.read_text().count("//") == 1
    stats.write_text(stats.read_text().replace("//", "/"))
    assert tested().returncode == 0, tested().stderr
