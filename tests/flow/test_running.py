"""A row that needs a sandbox is a run, which goes on where it was cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastslow.agent.budget import Budget
from fastslow.agent.engine.scripted import Scripted, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.errors import EngineRefused, EngineUnreachable
from fastslow.agent.events import Exit
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.running import runner
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.folders import config_folder
from fastslow.agent.record.journal import Journal
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import Execution
from fastslow.sandbox.dummy import DummySandbox
from tests.flow.stub_server import SCHEMA

SPEC = MapSpec("job", "Measure {file}", SCHEMA, files=True, each=Budget())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("fastslow.agent.record.journal.default_path", lambda: tmp_path / "runs.db")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def row(tmp_path: Path) -> Row:
    (tmp_path / "a.txt").write_text("hello")
    return Row(1, "a", "k", {"file": "a.txt"}, str(tmp_path / "a.txt"))


def call(name: str, **arguments: Any) -> Reply:
    return Reply(calls=(ToolCall(f"call-{name}", name, json.dumps(arguments)),))


LOOK = call("python", code="print(len(open('a.txt').read()))")
ANSWER = call("answer", size="short", letters=5)


def raising(error: Exception) -> Scripted:
    def answer(_: Request) -> Reply:
        raise error

    return answer


async def test_a_file_is_looked_at_in_a_sandbox(row: Row) -> None:
    model, sandbox = ScriptedModel([LOOK, ANSWER]), DummySandbox([Execution(status="ok", stdout="5\n")])
    async with runner(SPEC, model, sandbox) as do:
        result = await do(row)
    assert (result.exit, result.output, result.turns) == (Exit.ANSWERED, {"size": "short", "letters": 5}, 2), result
    assert len(sandbox.ran) == 1
    assert "Measure a.txt" in str(model.requests[0].messages)
    [run] = Journal().runs()
    assert (run.run, run.parent) == (result.run, "job")


class Away(ScriptedModel):
    """A server that is gone once its script has ended."""

    async def count(self, *_: Any) -> int:
        if len(self.requests) >= len(self._replies):
            raise EngineUnreachable("gone")
        return 1


async def test_a_row_that_was_cut_off_goes_on_within_its_run(row: Row) -> None:
    ran = [Execution(status="ok", stdout="5\n")] * 2  # once for the call, once to have its variables again
    sandbox = DummySandbox(ran)
    async with runner(SPEC, Away([LOOK, raising(EngineUnreachable("gone"))]), sandbox) as do:
        with pytest.raises(EngineUnreachable):
            await do(row)
    model = ScriptedModel([ANSWER])
    async with runner(SPEC, model, sandbox) as do:
        result = await do(row)
    assert (result.exit, result.turns) == (Exit.ANSWERED, 2)
    assert len(model.requests) == 1
    assert len(Journal().runs()) == 1


async def test_a_row_that_is_done_again_is_another_run(row: Row) -> None:
    async with runner(SPEC, ScriptedModel([Reply("no")] * 9 + [ANSWER]), DummySandbox()) as do:
        first = await do(replace(row, attempt=0))
        assert (first.exit, first.failure) == (Exit.FAILED, "failed")
        assert first.reason
    async with runner(SPEC, ScriptedModel([ANSWER]), DummySandbox()) as do:
        second = await do(replace(row, attempt=1))
    assert second.exit is Exit.ANSWERED
    assert second.run != first.run


async def test_what_the_server_refuses_fails_the_row(row: Row) -> None:
    async with runner(SPEC, ScriptedModel([raising(EngineRefused("bad", status=400))]), DummySandbox()) as do:
        result = await do(row)
    assert (result.exit, result.failure, result.output) == (Exit.SERVER, "server", None)


async def test_a_row_whose_every_call_was_denied_is_not_answered(row: Row) -> None:
    rules = config_folder() / "approval.toml"
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text('[[rule]]\ndecide = "deny"\ntool = "python"\n')
    async with runner(SPEC, ScriptedModel([LOOK, ANSWER]), DummySandbox()) as do:
        result = await do(row)
    assert (result.exit, result.output, result.failure) == (Exit.STOPPED, None, "stopped")


async def test_a_file_that_is_gone_fails_the_row(row: Row) -> None:
    async with runner(SPEC, ScriptedModel([]), DummySandbox()) as do:
        result = await do(replace(row, file=f"{row.file}.gone"))
    assert (result.exit, result.failure) == (Exit.FAILED, "FileNotFoundError")


async def test_a_red_check_goes_back_to_the_model(row: Row) -> None:
    red, done = Execution(status="error", stdout="1 failed", exit_code=1), Execution(status="ok")
    sandbox = DummySandbox([red, done, red, done, done, done])  # a green check is run a second time
    model = ScriptedModel([LOOK, ANSWER, call("python", code="mend()"), ANSWER])
    async with runner(replace(SPEC, check="./prove"), model, sandbox) as do:
        result = await do(row)
    assert (result.exit, sandbox.ran.count("./prove")) == (Exit.ANSWERED, 4), result
    assert "1 failed" in str(model.requests[2].messages[-1])


@pytest.mark.docker
async def test_files_lie_in_a_real_sandbox(row: Row) -> None:
    async with runner(replace(SPEC, check="test -s a.txt"), ScriptedModel([LOOK, ANSWER])) as do:
        result = await do(row)
    assert result.exit is Exit.ANSWERED, result
