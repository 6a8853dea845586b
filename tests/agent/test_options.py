"""What one run is asked for: options, their keywords, the conversation it starts from, and its key."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fastslow import (
    Agent,
    Budget,
    ConfigurationError,
    DummySandbox,
    Exit,
    Journal,
    RunBusy,
    RunOptions,
    ScriptedModel,
    Task,
)
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import RunFinished, RunResumed, RunStarted
from fastslow.agent.transcript import Assistant, System, ToolCall, ToolResult, User, from_dict, to_dict
from fastslow.tools import tool
from tests.agent.helpers import Dies, add, calls, says

HISTORY = (
    User("What is 1 + 2?"),
    Assistant("", (ToolCall("c1", "add", '{"a": 1, "b": 2}'),), "Use the tool."),
    ToolResult("c1", "add", "3"),
    Assistant("It is 3."),
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any, **options: Any) -> Agent:
    return Agent(engine=ScriptedModel(script), journal=journal, **{"sandbox": None, "tools": (add,), **options})


def requests(agent: Agent) -> list[Request]:
    assert isinstance(agent.engine, ScriptedModel)
    return agent.engine.requests


async def test_options_and_keywords_are_the_same(journal: Journal) -> None:
    fields: dict[str, Any] = {"instructions": "Be brief.", "think": "never", "budget": Budget(turns=3)}
    one, other = agent(journal, says("done")), agent(journal, says("done"))
    results = [await one.run("t", RunOptions(**fields)), await other.run("t", **fields)]
    assert requests(one)[0].messages == requests(other)[0].messages
    assert "Be brief." in requests(one)[0].messages[0].content
    first, second = [r.events[0].settings for r in results if isinstance(r.events[0], RunStarted)]
    assert first == second
    assert (first["think"], first["budget"]["turns"]) == ("never", 3)


async def test_a_keyword_takes_the_place_of_the_options_field(journal: Journal) -> None:
    one = agent(journal, says("done"))
    await one.run("t", RunOptions(instructions="Be brief.", think="never"), instructions="Be loud.")
    [request] = requests(one)
    assert request.messages[0].content.endswith("Be loud.")
    assert not request.mode.thinks


async def test_a_field_that_there_is_none_of_is_refused(journal: Journal) -> None:
    with pytest.raises(TypeError, match="resume"):
        await agent(journal).run("t", resume="last")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"pass \['a\.csv'\]"):
        RunOptions(files="a.csv")
    with pytest.raises(ConfigurationError, match="not both"):
        RunOptions(after="last", history=HISTORY)


async def test_a_task_has_options_of_its_own() -> None:
    def said(request: Request) -> Reply:
        return says(request.messages[0].content[-9:])

    many = agent(None, said, said)
    tasks = ["usual", Task("own", RunOptions(instructions="Be quiet."))]
    async with aclosing(many.run_many(tasks, instructions="Be brief.", concurrency=1)) as results:
        answers = {number: result.answer async for number, result in results}
    assert answers == {0: "Be brief.", 1: "Be quiet."}


async def test_the_head_of_the_system_prompt_and_the_builtin_tools_are_the_users() -> None:
    one = agent(None, says("done"), sandbox=DummySandbox(), builtin=["python"], system="You are a clerk.")
    await one.run("t", instructions="Be brief.")
    [request] = requests(one)
    assert request.messages[0] == System("You are a clerk.\n\nBe brief.")
    assert [each.name for each in request.tools] == ["plan", "python", "give_up", "add"]
    with pytest.raises(ConfigurationError, match="'browser'"):
        agent(None, builtin=["browser"])


def test_a_message_is_told_and_read_again() -> None:
    for message in (System("s"), *HISTORY):
        assert from_dict(to_dict(message)) == message


async def test_a_run_starts_from_what_somebody_else_holds_and_has_it_again(journal: Journal) -> None:
    def crash(request: Request) -> Reply:
        raise SystemError

    before = (calls(("add", {"a": 3, "b": 1})), crash)
    with pytest.raises(SystemError):
        await agent(journal, *before).run("And one more?", history=HISTORY)
    again = agent(journal, says("It is 4."))
    result = await again.resume("last")
    assert result.exit is Exit.ANSWERED
    [request] = requests(again)
    assert request.messages[1:6] == (*HISTORY, User("And one more?"))
    replayed = [event async for event in agent(journal).replay(result.run)]
    assert isinstance(replayed[-1], RunFinished)
    assert replayed[-1].result.answer == "It is 4."
    after = agent(journal, says("Sure."))
    await after.run("Sure?", after=result.run)
    said = requests(after)[0].messages
    assert said[1:6] == (*HISTORY, User("And one more?"))
    assert said[-2:] == (Assistant("It is 4."), User("Sure?"))


async def test_the_same_key_runs_once(journal: Journal) -> None:
    first = await agent(journal, calls(("add", {"a": 1, "b": 2})), says("3")).run("t", key="order-7")
    silent = agent(journal)
    second = await silent.run("t", key="order-7")
    assert (second.run, second.answer, requests(silent)) == (first.run, "3", [])
    other = await agent(journal, says("other")).run("t", key="order-8")
    assert (other.run == first.run, other.answer) == (False, "other")
    assert len(journal.runs()) == 2


@pytest.mark.parametrize("key", ["order-7", ""])
async def test_a_killed_run_with_a_key_goes_on_and_one_without_begins_anew(tmp_path: Path, key: str) -> None:
    done = []

    @tool(effect="read")
    def once() -> str:
        """Do it."""
        done.append(1)
        return "did"

    dies = Dies(tmp_path / "runs.db", RunFinished)
    with pytest.raises(SystemError):
        await agent(dies, calls(("once", {})), says("it was done"), tools=[once]).run("t", key=key)
    again = agent(Journal(tmp_path / "runs.db"), calls(("once", {})), says("anew"), tools=[once])
    result = await again.run("t", key=key)
    assert (result.answer, len(done)) == (("it was done", 1) if key else ("anew", 2))
    assert any(isinstance(event, RunResumed) for event in result.events) == bool(key)


async def test_a_key_that_is_being_carried_out_is_busy(journal: Journal) -> None:
    async def nested(request: Request) -> Reply:
        with pytest.raises(RunBusy, match="'order-7' is being carried out already"):
            await agent(journal, says("twice")).run("t", key="order-7")
        return says("once")

    assert (await agent(journal, nested).run("t", key="order-7")).answer == "once"
    assert len(journal.runs()) == 1


async def test_a_key_needs_a_journal() -> None:
    with pytest.raises(ConfigurationError, match="keeps no journal"):
        await agent(None, says("done")).run("t", key="order-7")


async def test_last_is_no_run_within_another_one(journal: Journal) -> None:
    helper = agent(journal, says("found")).as_tool("look", "Look it up.")
    result = await agent(journal, calls(("look", {"task": "part"})), says("done"), tools=[helper]).run("whole")
    assert len(journal.runs()) == 2
    assert journal.find("last") == result.run
