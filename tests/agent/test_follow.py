"""A task that follows an answered run: what was said, the files and the variables are there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fastslow import Agent, Approval, ApprovalRule, ConfigurationError, Exit, Journal, RunUnknown, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, RunStarted, TurnStarted
from fastslow.agent.transcript import Assistant, Message, System, ToolResult, User
from fastslow.sandbox import DummySandbox, Execution
from tests.agent.helpers import add, calls, fail, plan, says


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any, **options: Any) -> Agent:
    options = {"sandbox": None, "tools": (add, fail), "approval": Approval((ApprovalRule("allow"),)), **options}
    return Agent(engine=ScriptedModel(script), journal=journal, **options)


class Asked:
    """The last turn of a script: keeps what it was asked, and answers."""

    def __init__(self, answer: str = "as I said") -> None:
        self.answer = answer
        self.messages: tuple[Message, ...] = ()

    def __call__(self, request: Request) -> Reply:
        self.messages = tuple(request.messages)
        return says(self.answer)


async def test_the_model_is_told_what_was_said(journal: Journal) -> None:
    first = await agent(journal, calls(("add", {"a": 1, "b": 2})), says("It is 3.")).run("What is 1 + 2?")
    second = await agent(journal, Asked("Yes, 3.")).run("Is that so?", after=first.run[:18])
    asked = Asked()
    third = await agent(journal, asked).run("And sure?", after="last")
    system, one, call, result, three, two, yes, three_asked = asked.messages
    assert isinstance(system, System)
    assert (one, two, three_asked) == (User("What is 1 + 2?"), User("Is that so?"), User("And sure?"))
    assert isinstance(call, Assistant)
    assert isinstance(result, ToolResult)
    assert (call.calls[0].name, result.content, result.call_id) == ("add", "3", call.calls[0].id)
    assert (three, yes) == (Assistant("It is 3."), Assistant("Yes, 3."))
    started = [event for event in third.events if isinstance(event, RunStarted)]
    assert [event.after for event in started] == [second.run]


async def test_an_answer_that_was_given_by_the_tool_is_told_once(journal: Journal) -> None:
    class Sum(BaseModel):
        total: int

    await agent(journal, calls(("answer", {"total": 3}))).run("What is 1 + 2?", output=Sum)
    asked = Asked()
    await agent(journal, asked).run("Is that so?", after="last")
    assert asked.messages[1:] == (User("What is 1 + 2?"), Assistant('{"total":3}'), User("Is that so?"))


async def test_a_plan_is_told_with_what_came_of_it_and_without_its_steps(journal: Journal) -> None:
    script = plan("Add"), calls(("add", {"a": 1, "b": 2})), says("three"), says("It is 3.")
    await agent(journal, *script).run("Add one to two.")
    asked = Asked()
    await agent(journal, asked).run("Is that so?", after="last")
    _, _, made, result, answer, _ = asked.messages
    assert isinstance(made, Assistant)
    assert isinstance(result, ToolResult)
    assert (made.calls[0].name, result.name, answer) == ("plan", "plan", Assistant("It is 3."))
    assert "three" in result.content


async def test_files_and_variables_are_there_and_only_what_is_new_comes_out(journal: Journal, tmp_path: Path) -> None:
    given = tmp_path / "orders.csv"
    given.write_text("a\n1\n")
    first = DummySandbox([Execution("ok", stdout="1")])
    script = calls(("python", {"code": "x = 1"})), calls(("write_file", {"path": "made.txt", "content": "old"}))
    await agent(journal, *script, says("done"), sandbox=first, out=tmp_path / "one").run("Make it.", files=[given])
    given.write_text("a\n2\n")
    second = DummySandbox([Execution("ok"), Execution("ok", stdout="1")])
    script = (
        calls(("python", {"code": "x"})),
        calls(("read_file", {"path": "made.txt"})),
        calls(("read_file", {"path": "orders.csv"})),
        calls(("write_file", {"path": "more.txt", "content": "new"})),
    )
    more = agent(journal, *script, says("done"), sandbox=second, out=tmp_path / "two")
    result = await more.run("Make more.", files=[given], after="last")
    assert second.ran == ["x = 1", "x"]
    contents = [e.content for e in result.events if isinstance(e, CallFinished)]
    assert contents[1:3] == ["1\told", "1\ta\n2\t2"]  # the user's own file is the newer one
    assert [path.name for path in result.files] == ["more.txt"]
    third = DummySandbox([Execution("ok"), Execution("ok")])
    script = (calls(("read_file", {"path": "more.txt"})), says("done"))
    result = await agent(journal, *script, sandbox=third, out=tmp_path / "three").run("Read it.", after="last")
    assert third.ran == ["x = 1", "x"]
    assert [e.content for e in result.events if isinstance(e, CallFinished)] == ["1\tnew"]


async def test_files_are_there_where_nothing_ran(journal: Journal, tmp_path: Path) -> None:
    given = tmp_path / "orders.csv"
    given.write_text("a\n1\n")
    await agent(journal, says("Fine."), sandbox=DummySandbox([])).run("Look at it.", files=[given])
    given.unlink()
    script = calls(("read_file", {"path": "orders.csv"})), says("done")
    result = await agent(journal, *script, sandbox=DummySandbox([])).run("Read it.", after="last")
    assert [e.content for e in result.events if isinstance(e, CallFinished)] == ["1\ta\n2\t1"]


async def test_it_is_resumed_and_replayed_like_any_run(journal: Journal, tmp_path: Path) -> None:
    script = calls(("python", {"code": "x = 1"})), says("done")
    await agent(journal, *script, sandbox=DummySandbox([Execution("ok")])).run("Set x.")

    def crash(request: Request) -> Reply:
        raise SystemError

    again = DummySandbox([Execution("ok"), Execution("ok")])
    with pytest.raises(SystemError):
        await agent(journal, calls(("python", {"code": "y = x"})), crash, sandbox=again).run("Set y.", after="last")
    asked, sandbox = Asked(), DummySandbox([Execution("ok"), Execution("ok"), Execution("ok", stdout="1")])
    result = await agent(journal, calls(("python", {"code": "y"})), asked, sandbox=sandbox).resume("last")
    assert result.exit is Exit.ANSWERED
    assert sandbox.ran == ["x = 1", "y = x", "y"]
    assert [m.content for m in asked.messages if isinstance(m, User)] == ["Set x.", "Set y."]
    said = [event async for event in agent(journal).replay("last")]
    assert said[-1].result.answer == "as I said"  # type: ignore[union-attr]


async def test_a_replay_knows_what_files_were_there(journal: Journal) -> None:
    """Else the answer would be sent back for a file that it names and nothing made, and the record has no such turn."""
    script = calls(("write_file", {"path": "notes.md", "content": "x"})), says("Done.")
    await agent(journal, *script, sandbox=DummySandbox([])).run("Write notes.md.")
    again = agent(journal, says("Yes."), sandbox=DummySandbox([]))
    first = await again.run("Is notes.md fine?", after="last")
    assert first.answer == "Yes."
    said = [event async for event in again.replay("last")]
    assert sum(isinstance(event, TurnStarted) for event in said) == 1


async def test_the_model_is_told_how_a_run_without_an_answer_ended(journal: Journal) -> None:
    failed = await agent(journal, *[calls(("fail", {}))] * 10).run("Try.")
    assert failed.exit is Exit.FAILED
    asked = Asked()
    await agent(journal, asked).run("And?", after="last")
    assert isinstance(asked.messages[-3], ToolResult)
    last, task = asked.messages[-2:]
    assert isinstance(last, Assistant)
    assert last.content.startswith("(I did not finish this: gave up after 10 turns")
    assert "\n" not in last.content
    assert task == User("And?")


async def test_a_cancelled_run_can_be_followed(journal: Journal) -> None:
    async def waits(request: Request) -> Reply:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await asyncio.sleep(60)
        return says("never")

    running = asyncio.create_task(agent(journal, waits).run("Try."))
    with pytest.raises(asyncio.CancelledError):
        await running
    asked = Asked()
    await agent(journal, asked).run("And?", after="last")
    assert asked.messages[1:] == (
        User("Try."),
        Assistant("(I did not finish this: cancelled by the user.)"),
        User("And?"),
    )


async def test_a_shorter_history_is_written_down_and_keeps_calls_with_their_results(journal: Journal) -> None:
    long = [calls(("fail", {"why": f"{n} " + "long " * 900})) for n in range(6)]
    await agent(journal, *long, says("It cannot be done.")).run("Try.")
    whole, short, after = Asked(), Asked(), Asked()
    await agent(journal, whole).run("And?", after="last")
    await agent(journal, short).run("Really?", after="last", compact=True)
    await agent(journal, after).run("So?", after="last")
    sizes = [sum(len(m.content) for m in one.messages[1:]) for one in (whole, short, after)]
    assert sizes[1] < 0.6 * sizes[0]
    assert after.messages[: len(short.messages)] == short.messages  # a later task begins with it, too
    made = [call.id for m in short.messages if isinstance(m, Assistant) for call in m.calls]
    assert made == [m.call_id for m in short.messages if isinstance(m, ToolResult)]


async def test_what_nothing_can_follow(journal: Journal) -> None:
    with pytest.raises(RunUnknown, match="no run 'last'"):
        await agent(journal).run("And?", after="last")
    with pytest.raises(ConfigurationError, match="keeps no journal"):
        await agent(None).run("And?", after="last")
    with pytest.raises(AssertionError):  # its script has ended: as if it were killed
        await agent(journal, calls(("add", {"a": 1, "b": 2}))).run("Try.")
    killed = journal.find("last")
    with pytest.raises(ConfigurationError, match=f"go on with it: fastslow resume {killed}"):
        await agent(journal).run("And?", after="last")
    with pytest.raises(ConfigurationError, match="not both"):
        await agent(journal).run("And?", after="last", history=[User("Hi")])
