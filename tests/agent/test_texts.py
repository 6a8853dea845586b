"""Texts and names that no server, file or terminal takes: refused by name before a run begins, or carried."""

from __future__ import annotations

import gc
import json
import os
import warnings
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, ConfigurationError, Exit, Journal, ScriptedModel, run_many
from fastslow.agent.approval import Answer, Question
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, RunFinished, TurnDelta
from fastslow.agent.many import Task
from fastslow.agent.record.jsonl import to_json
from fastslow.agent.transcript import Assistant, ToolCall, ToolResult, User
from fastslow.sandbox import DummySandbox
from fastslow.tools import Outcome, Tool, tool
from tests.agent.helpers import calls, plan, says

HALF = "half \ud800 of it"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any, **fields: Any) -> Agent:
    return Agent(engine=ScriptedModel(script), journal=journal, **{"sandbox": None, **fields})


async def test_run_sync_within_an_event_loop_says_what_to_use() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ConfigurationError) as refused:
            agent(None, says("ok")).run_sync("t")
        gc.collect()
    assert str(refused.value) == "an event loop runs here already: use `await agent.run(…)`, not run_sync"
    assert not [warning for warning in warned if "never awaited" in str(warning.message)]


@pytest.mark.parametrize(
    ("task", "fields", "what"),
    [
        (HALF, {}, "the task"),
        (b"bytes", {}, "the task"),
        (None, {}, "the task"),
        ("t", {"key": HALF}, "the key"),
        ("t", {"instructions": HALF}, "instructions"),
        ("t", {"out": f"/tmp/{HALF}"}, "out"),
        ("t", {"out": "a\0b"}, "out"),
        ("t", {"out": b"a"}, "out"),
        ("t", {"history": [User(HALF)]}, "history"),
        ("t", {"history": [Assistant("", (ToolCall("1", "f", HALF),)), ToolResult("1", "f", "x")]}, "history"),
        ("t", {"history": [Assistant("", reasoning=HALF)]}, "history"),
        ("t", {"history": [{"role": "user", "content": "x"}]}, "history"),
    ],
)
async def test_what_is_no_unicode_is_refused_by_name(
    journal: Journal, task: Any, fields: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=what) as refused:
        await agent(journal, says("ok")).run(task, **fields)
    assert str(refused.value).encode()
    assert journal.runs() == ()


@pytest.mark.parametrize("fields", [{"instructions": HALF}, {"system": HALF}, {"out": HALF}, {"out": "a\0b"}])
def test_an_agent_refuses_such_texts_too(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        agent(None, **fields)


@pytest.mark.parametrize(("description", "part"), [(HALF, "fine"), ("Fine.", HALF)])
def test_an_agent_refuses_a_tool_that_no_model_can_be_told_of(description: str, part: str) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "description": part}}}
    odd = Tool.from_schema("odd", description, parameters, str, effect="read")
    with pytest.raises(ConfigurationError, match="of tool 'odd' is no Unicode"):
        agent(None, tools=[odd])


@pytest.mark.parametrize("path", ["a\0b.db", "half \ud800.db", b"runs.db"])
def test_a_journal_refuses_such_a_path(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="the journal"):
        Journal(path)


async def test_a_folder_with_a_name_in_another_encoding_holds_a_journal(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    journal = Journal(os.fsdecode(folder + b"/runs.db"))
    run = (await agent(journal, says("ok")).run("t")).run
    assert [info.run for info in journal.runs()] == [run]
    assert b"runs.db" in os.listdir(folder)


async def test_one_such_task_of_many_ends_no_other() -> None:
    tasks: list[Any] = ["a", Task(HALF), 5, "b"]
    async with aclosing(run_many(agent(None, says("ok"), says("ok")), tasks)) as results:
        told = {number: result async for number, result in results}
    assert [told[n].exit for n in range(4)] == [Exit.ANSWERED, Exit.FAILED, Exit.FAILED, Exit.ANSWERED]
    assert "the task is no Unicode" in told[1].reason
    assert "the task is a text, got 5" in told[2].reason


@pytest.mark.parametrize("name", ["after", "resume"])
async def test_no_run_has_such_a_name(journal: Journal, name: str) -> None:
    one = agent(journal, says("ok"))
    with pytest.raises(LookupError, match="no run"):
        await (one.resume(HALF) if name == "resume" else one.run("t", after=HALF))
    with pytest.raises(LookupError, match="never begun"):
        journal.read(HALF)


async def test_control_characters_in_a_text_are_carried_whole(journal: Journal) -> None:
    text = "one\0two\x1b[31m\r\nthree\u2028\x85four 👩\u200d🔬 한글"
    one = agent(journal, says(text))
    result = await one.run(text, key=text, instructions=text, history=[User(text), Assistant(text)])
    assert result.answer == text
    assert isinstance(one.engine, ScriptedModel)
    system, *said = [message.content for message in one.engine.requests[0].messages]
    assert (system.endswith(text), said) == (True, [text, text, text])
    again = await agent(journal).run("another", key=text)
    assert (again.run, again.answer, journal.runs()[0].task) == (result.run, text, text)


def odd_file(folder: Path, name: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_text("x")
    return path


ODD = [
    b"caf\xe9.csv",
    b"a\nb.csv",
    b"a\rb.csv",
    b"\x1b[31m.csv",
    "a\u2028b.csv".encode(),
    "a\x85b".encode(),
    b"x" * 250,
]


@pytest.mark.parametrize("name", ODD, ids=ascii)
async def test_a_file_whose_name_cannot_go_in_is_refused_by_it(tmp_path: Path, journal: Journal, name: bytes) -> None:
    path = odd_file(tmp_path, name)
    with pytest.raises(ConfigurationError, match=r"cannot go into the sandbox.*; rename it") as refused:
        await agent(journal, says("ok"), sandbox=DummySandbox()).run("t", files=[path])
    assert repr(str(path)) in str(refused.value)
    assert str(refused.value).isprintable()
    assert journal.runs() == ()


@pytest.mark.parametrize("given", [b"a.csv", 3, None])
async def test_what_names_no_file_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="a file is a path"):
        await agent(None, says("ok"), sandbox=DummySandbox()).run("t", files=[given])


@pytest.mark.parametrize("name", ["Screenshot 9.41\u202fAM.png", "👩\u200d🔬.csv", "표\u3000하나.csv", "e\u0301.csv"])
async def test_a_file_with_an_uncommon_name_goes_in(tmp_path: Path, name: str) -> None:
    """The narrow space is what macOS writes into the names of screenshots."""
    path = odd_file(tmp_path, name.encode())
    script = [calls(("read_file", {"path": name})), says("ok")]
    result = await agent(None, *script, sandbox=DummySandbox()).run("t", files=[path])
    [read] = [event for event in result.events if isinstance(event, CallFinished)]
    assert (read.status, read.content) == ("ok", "1\tx")


@tool(effect="read")
def text() -> str:
    """Give a text."""
    return HALF


@tool(effect="read")
def data() -> dict[str, list[str]]:
    """Give data."""
    return {HALF: [HALF]}


@tool(effect="read")
def failing() -> str:
    """Fail."""
    raise RuntimeError(HALF)


@tool(effect="read")
def outcome() -> Any:
    """Give an outcome."""
    return Outcome(HALF)


@tool(effect="outside")
def asked_about() -> str:
    """Send."""
    return "sent"


async def deny(question: Question) -> Answer:
    return Answer("deny", note=HALF)


def texts(value: Any) -> list[str]:
    """Every text in what JSON gave."""
    match value:
        case dict():
            return [text for pair in value.items() for part in pair for text in texts(part)]
        case list():
            return [text for item in value for text in texts(item)]
        case str():
            return [value]
    return []


def is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@pytest.mark.parametrize(
    ("output", "script"),
    [
        (None, [says(HALF, reasoning=HALF)]),
        (None, [calls(("text", {}), ("data", {}), ("failing", {}), ("outcome", {})), says("ok")]),
        (None, [calls((HALF, {})), says("ok")]),
        (None, [Reply(calls=(ToolCall(HALF, "text", f'{{"{HALF}": 1}}'),)), says("ok")]),
        (None, [calls(("asked_about", {})), says("ok")]),
        (None, [plan(HALF, HALF), says(HALF), says(HALF), says(HALF)]),
        (None, [calls(("give_up", {"why": HALF}))]),
        (str, [calls(("answer", {"value": HALF}))]),
    ],
)
async def test_what_comes_up_in_a_run_is_carried_with_a_mark(journal: Journal, output: Any, script: list[Any]) -> None:
    tools = [text, data, failing, outcome, asked_about]
    one = agent(journal, *script, tools=tools, ask=deny)
    seen = [event async for event in one.stream("t", output=output)]
    told = [text for event in seen for text in texts(json.loads(json.dumps(to_json(event))))]
    assert all(map(is_unicode, told))
    assert any("\ufffd" in text for text in told)
    assert all(is_unicode(event.text) for event in seen if isinstance(event, TurnDelta))
    assert all(is_unicode(event.content) for event in seen if isinstance(event, CallFinished))
    assert isinstance(last := seen[-1], RunFinished)
    assert is_unicode(f"{last.result.answer} {last.result.reason} {last.result.output}")
    again = [event async for event in agent(journal, tools=tools).replay("last", output=output)]
    assert isinstance(replayed := again[-1], RunFinished)
    assert (replayed.result.answer, replayed.result.output) == (last.result.answer, last.result.output)
