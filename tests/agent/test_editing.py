"""Files that a run's own tools change: what is remembered from call to call, and what is shown of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastslow import Agent, Approval, ApprovalRule, Budget, DummySandbox, Exit, Journal, Result, ScriptedModel
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.scripted import SCRIPTED
from fastslow.agent.events import CallFinished
from fastslow.agent.transcript import Assistant
from fastslow.tools.builtin import BUILTIN
from tests.agent.helpers import calls, plan, says

WHOLE = replace(SCRIPTED, name="whole", edit="whole")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("one\ntwo\n")
    return path


def ends(result: Result) -> list[tuple[str, str]]:
    return [(event.name, event.status) for event in result.events if isinstance(event, CallFinished)]


async def test_a_run_remembers_what_it_has_read(notes: Path) -> None:
    write = ("write_file", {"path": "notes.txt", "content": "1\n2\n"})
    script = [calls(write), calls(("read_file", {"path": "notes.txt"})), calls(write), says("done")] * 2
    agent = Agent(engine=ScriptedModel(script), sandbox=DummySandbox(), journal=None)
    for _ in range(2):  # the second run knows nothing of the first
        result = await agent.run("the task", files=[notes])
        assert ends(result) == [("write_file", "error"), ("read_file", "ok"), ("write_file", "ok")]


async def test_a_profile_says_how_files_are_changed(notes: Path) -> None:
    write = calls(("write_file", {"path": "notes.txt", "content": "1\n2\n"}))
    for profile, offered, end in ((SCRIPTED, set(BUILTIN), "error"), (WHOLE, set(BUILTIN) - {"edit_file"}, "ok")):
        model = ScriptedModel([write, says("done")], profile=profile)
        result = await Agent(engine=model, sandbox=DummySandbox(), journal=None).run("the task", files=[notes])
        assert {tool.name for tool in model.requests[0].tools} & set(BUILTIN) == offered
        assert ends(result) == [("write_file", end)]
    assert INSTRUCT.edit == "whole"


async def test_a_call_in_another_tools_spelling_is_judged_run_and_remembered_as_ours(notes: Path) -> None:
    edit = calls(("edit_file", {"file_path": "notes.txt", "old_string": "two", "new_string": "2"}))
    model = ScriptedModel([edit, says("done")] * 2)
    agent = Agent(engine=model, sandbox=DummySandbox(), journal=None)
    assert ends(await agent.run("the task", files=[notes])) == [("edit_file", "ok")]
    [sent] = [message for message in model.requests[1].messages if isinstance(message, Assistant)]
    assert sent.calls[0].arguments == '{"path": "notes.txt", "edits": [{"old_text": "two", "new_text": "2"}]}'
    rules = Approval((ApprovalRule("deny", tool="edit_file", path="/work/notes*"),))
    agent = Agent(engine=model, sandbox=DummySandbox(), journal=None, approval=rules)
    assert ends(await agent.run("the task", files=[notes])) == [("edit_file", "denied")]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    return path


async def test_long_files_are_shown_as_the_tool_cuts_them(long: Path, tmp_path: Path) -> None:
    script = [calls(("read_file", {"path": "notes.txt", "lines": 9999})), says("done")]
    agent = Agent(engine=ScriptedModel(script), sandbox=DummySandbox(), journal=Journal(tmp_path / "runs.db"))
    result = await agent.run("the task", files=[long])
    [read] = [event for event in result.events if isinstance(event, CallFinished)]
    assert 18_000 < len(read.content) <= 20_100  # more than other results may have
    assert "cut" not in read.content
    again = [event.content async for event in agent.replay(result.run) if isinstance(event, CallFinished)]
    assert again == [read.content]


async def test_a_run_that_goes_on_knows_what_it_has_read(notes: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    other = tmp_path / "other.txt"
    other.write_text("one")
    looks = calls(("read_file", {"path": "./notes.txt"}), ("write_file", {"path": "new.txt", "content": "1"}))
    first = Agent(engine=ScriptedModel([looks]), sandbox=DummySandbox(), journal=journal, budget=Budget(turns=1))
    assert (await first.run("the task", files=[notes, other])).exit is Exit.BUDGET
    writes = calls(*(("write_file", {"path": path, "content": "2"}) for path in ("notes.txt", "new.txt", "other.txt")))
    again = Agent(engine=ScriptedModel([writes, says("done")]), sandbox=DummySandbox(), journal=journal)
    result = await again.resume("last")
    refused = [event.content for event in result.events if isinstance(event, CallFinished) and not event.ok]
    assert len(refused) == 1
    assert refused[0].startswith("other.txt was not written")


EDITS = [
    ("edit_file", {"path": "notes.txt", "edits": [{"old_text": old, "new_text": new}]})
    for old, new in (("one", "1"), ("two", "2"))
]
LOOK = ("read_file", {"path": "notes.txt", "start_line": None, "lines": None})


def last_said(result: Result) -> str:
    return [event.content for event in result.events if isinstance(event, CallFinished)][-1]


async def test_edits_of_one_turn_stand_on_each_other_and_what_comes_behind_them_sees_them(notes: Path) -> None:
    model = ScriptedModel([calls(*EDITS, LOOK), says("done")])
    result = await Agent(engine=model, sandbox=DummySandbox(), journal=None).run("the task", files=[notes])
    assert ends(result) == [("edit_file", "ok"), ("edit_file", "ok"), ("read_file", "ok")]
    assert last_said(result) == "1\t1\n2\t2"


async def test_steps_side_by_side_do_not_undo_each_others_edits(notes: Path) -> None:
    steps = plan({"do": "Change a line.", "after": []}, {"do": "Change another.", "after": []})
    script = [steps, *map(calls, EDITS), says("changed"), says("changed"), calls(LOOK), says("done")]
    agent = Agent(engine=ScriptedModel(script), sandbox=DummySandbox(), journal=None)
    assert last_said(await agent.run("the task", files=[notes])) == "1\t1\n2\t2"
