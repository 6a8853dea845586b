"""Files in and out of a run, and the refusals before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastslow import Agent, Exit, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.events import CallFinished
from fastslow.agent.given import Given, described
from fastslow.agent.transcript import User
from fastslow.sandbox import DockerSandbox, DummySandbox, Execution, Limits, SandboxError
from fastslow.tools import tool
from fastslow.tools.result import LIMIT
from tests.agent.helpers import calls, says


class BrokenSandbox(DummySandbox):
    """A sandbox whose engine is gone."""

    tries = 0

    async def session(self, **_: object) -> object:  # type: ignore[override]
        self.tries += 1
        raise SandboxError("no Docker daemon answers; start it")


async def test_files_go_in_and_what_was_made_comes_out(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    model = ScriptedModel([calls(("write_file", {"path": "sub/out.txt", "content": "made"})), says("done")])
    agent = Agent(engine=model, sandbox=DummySandbox(), out=tmp_path / "out")
    result = await agent.run("copy", files=[tmp_path / "in.csv"])
    assert result.files == (tmp_path / "out" / "sub" / "out.txt",)
    assert result.files[0].read_text() == "made"
    task = model.requests[0].messages[1]
    assert isinstance(task, User)
    assert "in.csv (8 bytes), first lines:\na,b\n1,2" in task.content


async def test_code_runs_in_the_sandbox_and_its_failure_is_told() -> None:
    sandbox = DummySandbox([Execution("error", error="NameError: name 'x' is not defined", exit_code=1)])
    model = ScriptedModel([calls(("python", {"code": "print(x)"})), says("x is missing")])
    result = await Agent(engine=model, sandbox=sandbox).run("print x")
    assert sandbox.ran == ["print(x)"]
    assert "NameError" in model.requests[1].messages[-1].content
    assert result.exit is Exit.ANSWERED


async def test_a_sandbox_that_cannot_start_ends_the_run_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.workspace.PAUSES", (0.01, 0.02, 0.03))
    model, sandbox = ScriptedModel([calls(("python", {"code": "1"}))]), BrokenSandbox()
    result = await Agent(engine=model, sandbox=sandbox).run("compute")
    assert result.exit is Exit.SANDBOX
    assert "start it" in result.reason
    assert sandbox.tries == 5  # one ahead of its need, then one before and one behind each pause


@tool(effect="read")
def dump(megabytes: float) -> str:
    """Give much text.

    Args:
        megabytes: How much.
    """
    return "begin " + "é" * int(megabytes * 500_000) + " end"


async def test_a_result_of_5_mb_is_shown_as_head_tail_and_the_file_that_holds_it(tmp_path: Path) -> None:
    model = ScriptedModel([calls(("dump", {"megabytes": 5})), says("ok")])
    agent = Agent(engine=model, tools=[dump], sandbox=DummySandbox(), out=tmp_path)
    result = await agent.run("dump")
    content = model.requests[1].messages[-1].content
    assert len(content) <= LIMIT
    assert content.startswith("begin éé")
    assert "characters cut ...]" in content
    [file] = result.files
    path = file.relative_to(tmp_path).as_posix()
    assert content.endswith(f" end\n[All 2,500,010 characters of this are in the file {path}]")
    assert file.read_text("utf-8") == "begin " + "é" * 2_500_000 + " end"


@pytest.mark.parametrize("sandbox", [None, BrokenSandbox(), DummySandbox(limits=Limits(upload=1000))])
async def test_without_a_place_for_it_a_long_result_is_only_cut(sandbox: DummySandbox | None) -> None:
    model = ScriptedModel([calls(("dump", {"megabytes": 0.1})), says("ok")])
    result = await Agent(engine=model, tools=[dump], sandbox=sandbox).run("dump")
    content = model.requests[1].messages[-1].content
    assert (len(content), result.exit) == (LIMIT, Exit.ANSWERED)
    assert content.endswith("éé end")


@pytest.mark.docker
async def test_code_reads_the_whole_of_a_long_result(tmp_path: Path) -> None:
    def read(request: Request) -> Reply:
        [path] = re.findall(r"in the file (\S+)\]", request.messages[-1].content)
        return calls(("python", {"code": f"len(open({path!r}).read())"}))

    model = ScriptedModel([calls(("dump", {"megabytes": 5})), read, says("ok")])
    agent = Agent(engine=model, tools=[dump], sandbox=DockerSandbox(Limits(memory=256 << 20)), out=tmp_path)
    result = await agent.run("dump")
    await agent.aclose()
    shown = [event.content for event in result.events if isinstance(event, CallFinished)]
    assert shown[1].splitlines()[0] == "2500010"


@pytest.mark.docker
async def test_files_with_uncommon_names_come_out(tmp_path: Path) -> None:
    """The narrow space is what macOS writes into the names of screenshots; emoji are joined by an invisible mark."""
    names = ["Screenshot 9.41\u202fAM.png", "👩\u200d🔬/표\u3000하나.csv", "e\u0301.csv"]
    code = f"""
import os
os.mkdir("👩\u200d🔬")
for name in {names!r}:
    with open(name, "w") as file:
        file.write("x")
"""
    model = ScriptedModel([calls(("python", {"code": code})), says("ok")])
    agent = Agent(engine=model, sandbox=DockerSandbox(Limits(memory=256 << 20)), out=tmp_path)
    result = await agent.run("make them")
    await agent.aclose()
    assert sorted(str(path.relative_to(tmp_path)) for path in result.files) == sorted(names)


def test_a_binary_file_has_no_preview(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    assert described([Given("a.bin", tmp_path / "a.bin")]) == "a.bin (2 bytes)"
    assert described([Given("b.txt", b"one\ntwo")]) == "b.txt (7 bytes), first lines:\none\ntwo"


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (["absent.csv"], FileNotFoundError, "no file"),
        (["folder"], ConfigurationError, "not a regular file"),
        (["a.txt", "folder/a.txt"], ConfigurationError, "two files are named 'a.txt'"),
        (["big.txt"], ConfigurationError, "at most 10"),
    ],
)
async def test_bad_files_are_refused_before_anything_starts(
    tmp_path: Path, names: list[str], error: type[Exception], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("x")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "big.txt").write_text("x" * 11)
    model = ScriptedModel([])
    agent = Agent(engine=model, sandbox=DummySandbox(limits=Limits(upload=10)))
    with pytest.raises(error, match=said):
        await agent.run("x", files=[tmp_path / name for name in names])
    assert model.requests == []
