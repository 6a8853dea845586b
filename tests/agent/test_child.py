"""An agent as another one's tool: a child run in the journal, in what is spent, and in how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fastslow import Agent, Answer, Budget, DummySandbox, Exit, Journal, Question, ScriptedModel, StepBudget
from fastslow.agent.approval import unattended
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, CallOutput, Event, Result, RunFinished, StepFinished
from fastslow.agent.record.written import RunInfo
from fastslow.agent.transcript import ToolResult, User
from fastslow.tools import Tool, tool
from tests.agent.helpers import add, calls, fail, plan, says


class Found(BaseModel):
    price: int


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any, **options: Any) -> Agent:
    return Agent(engine=ScriptedModel(script), journal=journal, **{"sandbox": None, **options})


def helper(journal: Journal | None, *script: Any, output: Any = None, **options: Any) -> Tool:
    return agent(journal, *script, **{"tools": (add, fail), **options}).as_tool("look", "Look it up.", output=output)


def look(task: str = "the part") -> Reply:
    return calls(("look", {"task": task}))


def finished(result: Result, name: str = "look") -> list[CallFinished]:
    return [event for event in result.events if isinstance(event, CallFinished) and event.name == name]


def family(journal: Journal) -> tuple[RunInfo, list[RunInfo]]:
    """The one run that is nobody's child, and the others, the first to begin first."""
    runs = journal.runs()
    [parent] = [info for info in runs if not info.parent]
    return parent, [info for info in reversed(runs) if info.parent]


async def test_a_call_is_a_run_of_its_own(journal: Journal) -> None:
    child = helper(journal, calls(("add", {"a": 1, "b": 2})), says("It is 3."))
    one = agent(journal, look(), says("done"), tools=[child])
    result = await one.run("the whole")
    assert [event.content for event in finished(result)] == ["It is 3."]
    parent, [below] = family(journal)
    assert (below.parent, below.task, below.exit) == (parent.run, "the part", Exit.ANSWERED)
    assert [event.text for event in result.events if isinstance(event, CallOutput)] == ["look: add\n"]


@pytest.mark.parametrize("where", ["run", "step"])
async def test_what_a_child_spends_counts_in_its_parent_whose_budget_ends_it(journal: Journal, where: str) -> None:
    usual = {"tools": [helper(None, calls(("add", {"a": 1, "b": 2})), says("3"))]}
    result = await agent(None, look(), says("done"), **usual).run("t")
    assert sum(row.turns for row in result.usage.values()) == 4
    endless = [calls(("add", {"a": n, "b": n})) for n in range(9)]
    script = [look()] if where == "run" else [plan("look it up"), look(), says("it failed")]
    limits = Budget(turns=3) if where == "run" else Budget(step=StepBudget(turns=3))
    one = agent(journal, *script, tools=[helper(journal, *endless)], budget=limits)
    result = await one.run("t")
    _, [below] = family(journal)
    assert below.exit is Exit.BUDGET
    assert "look came to no answer" in finished(result)[0].content
    if where == "run":
        assert (result.exit, sum(row.turns for row in result.usage.values())) == (Exit.BUDGET, 3)
    else:
        assert [event.ok for event in result.events if isinstance(event, StepFinished)] == [False]


async def test_a_childs_own_budget_ends_it_alone(journal: Journal) -> None:
    child = helper(journal, *[calls(("add", {"a": n, "b": n})) for n in range(9)], budget=Budget(turns=2))
    result = await agent(journal, look(), says("too long"), tools=[child]).run("t")
    assert result.exit is Exit.ANSWERED
    [call] = finished(result)
    assert (call.status, "the budget of 2 turns is spent" in call.content) == ("error", True)


async def test_what_a_finished_child_spent_counts_when_its_parent_is_resumed(tmp_path: Path) -> None:
    def crash(request: Request) -> Reply:
        raise SystemError

    journal = Journal(tmp_path / "runs.db")
    child = helper(journal, calls(("add", {"a": 1, "b": 2})), says("3"))
    with pytest.raises(SystemError):
        await agent(journal, look(), crash, tools=[child]).run("t")
    result = await agent(journal, says("done"), tools=[helper(journal)]).resume("last")
    assert result.exit is Exit.ANSWERED
    assert sum(row.turns for row in result.usage.values()) == 4


async def test_a_parent_that_its_child_brought_to_the_end_of_its_budget_goes_on(journal: Journal) -> None:
    child = helper(journal, *[calls(("add", {"a": n, "b": n})) for n in range(9)])
    assert (await agent(journal, look(), tools=[child], budget=Budget(turns=4)).run("t")).exit is Exit.BUDGET
    again = agent(journal, says("without it"), tools=[helper(journal)], budget=Budget(turns=4))
    assert (await again.resume("last")).answer == "without it"


async def test_cancelling_the_parent_cancels_the_child(journal: Journal) -> None:
    under_way, said = asyncio.Event(), list[Event]()

    async def waits(request: Request) -> Reply:
        under_way.set()
        await asyncio.sleep(60)
        raise AssertionError

    async def main() -> None:
        one = agent(journal, look(), tools=[helper(journal, waits)])
        async with aclosing(one.stream("t")) as events:
            async for event in events:
                said.append(event)

    running = asyncio.create_task(main())
    await under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert isinstance(said[-1], RunFinished)
    parent, [below] = family(journal)
    assert [info.exit for info in (parent, below)] == [Exit.CANCELLED] * 2
    assert [journal.read(info.run).finished is not None for info in (parent, below)] == [True] * 2
    again = agent(journal, says("done"), tools=[helper(journal, says("found"))])
    assert [event.content for event in finished(await again.resume(parent.run))] == ["found"]
    assert family(journal)[1] == [next(info for info in journal.runs() if info.run == below.run)]


class PowerLoss(Exception):
    """Behind it nothing is written any more."""


class DiesInChild(Journal):
    """Loses power at a write of the child's, or at the parent's right behind it."""

    def __init__(self, path: Path, at: str) -> None:
        super().__init__(path)
        self.at = at
        self.dead = False

    def writer(self, run: str, inputs: Sequence[Path] = ()) -> Callable[[Event], None]:
        write, whose = super().writer(run, inputs), "child" if self.runs() else "parent"

        def written(event: Event) -> None:
            self.dead = self.dead or self.at == f"{type(event).__name__} of the {whose}"
            if self.dead:
                raise PowerLoss
            write(event)

        return written


@pytest.mark.parametrize(
    "at", ["TurnFinished of the child", "RunFinished of the child", "CallFinished of the parent", "never"]
)
async def test_a_parent_killed_in_the_middle_of_its_child_goes_on_with_it(tmp_path: Path, at: str) -> None:
    done: list[int] = []

    @tool(effect="outside")
    def post(line: int) -> str:
        """Post a line.

        Args:
            line: Its number.
        """
        done.append(line)
        return f"posted {line}"

    async def yes(question: Question) -> Answer:
        return Answer("allow")

    def people(request: Request) -> Reply:
        """The child's model: posts once, then says so."""
        last = request.messages[-1]
        return calls(("post", {"line": 1})) if isinstance(last, User) else says(last.content)

    def boss(request: Request) -> Reply:
        last = request.messages[-1]
        return says(last.content) if isinstance(last, ToolResult) else look()

    def parent_of(journal: Journal) -> Agent:
        return agent(journal, *[boss] * 3, tools=[helper(journal, *[people] * 3, tools=[post])], ask=yes)

    first, journal = DiesInChild(tmp_path / "runs.db", at), Journal(tmp_path / "runs.db")
    with nullcontext() if at == "never" else pytest.raises(PowerLoss):
        await parent_of(first).run("t")
    assert [info.exit for info in journal.runs() if info.parent and "of the child" in at] in ([], [None])
    result = await parent_of(journal).resume("last")
    assert (result.answer, done) == ("posted 1", [1])
    parent, [below] = family(journal)
    assert [info.exit for info in (parent, below)] == [Exit.ANSWERED] * 2


async def test_structured_output_is_data_for_code_and_json_for_the_model(journal: Journal) -> None:
    child = helper(journal, calls(("answer", {"price": "much"})), calls(("answer", {"price": 7})), output=Found)
    result = await agent(journal, look(), says("done"), tools=[child]).run("t")
    assert [event.content for event in finished(result)] == ['{"price":7}']
    outcome = await helper(None, calls(("answer", {"price": 7})), output=Found).call({"task": "t"})
    assert outcome.data == {"price": 7}


async def test_a_child_that_fails_is_an_error_result(journal: Journal) -> None:
    child = helper(journal, calls(("give_up", {"why": "no such part"})))
    result = await agent(journal, look(), says("It cannot be found."), tools=[child]).run("t")
    assert result.exit is Exit.ANSWERED
    [call] = finished(result)
    assert (call.status, call.content) == ("error", "look came to no answer: the model gave up")
    assert family(journal)[1][0].exit is Exit.FAILED


async def test_two_children_run_side_by_side(journal: Journal) -> None:
    together = asyncio.Barrier(2)

    async def meets(request: Request) -> Reply:
        async with asyncio.timeout(10):
            await together.wait()
        return says(request.messages[-1].content)

    both = calls(("look", {"task": "one"}), ("look", {"task": "other"}))
    result = await agent(journal, both, says("done"), tools=[helper(journal, meets, meets)]).run("t")
    assert {event.content for event in finished(result)} == {"one", "other"}
    parent, children = family(journal)
    assert [info.parent for info in children] == [parent.run] * 2


async def test_a_child_within_a_step_and_a_child_of_a_child(journal: Journal) -> None:
    deepest = helper(journal, says("deep"))
    middle = agent(journal, look(), says("found it"), tools=[deepest]).as_tool("look", "Look it up.")
    script = [plan("look it up"), look("the middle"), says("step done"), says("done")]
    result = await agent(journal, *script, tools=[middle]).run("t")
    assert (result.exit, [event.branch for event in finished(result)]) == (Exit.ANSWERED, ["1"])
    parent, [one, two] = family(journal)
    assert (one.parent, two.parent) == (parent.run, one.run)
    assert sum(row.turns for row in result.usage.values()) == 7


async def test_the_parents_person_is_asked_about_the_childs_calls(journal: Journal) -> None:
    asked: list[str] = []

    @tool
    def post() -> str:
        """Post a line."""
        return "posted"

    async def ask(question: Question) -> Answer:
        asked.append(question.tool)
        return Answer("allow")

    child = helper(journal, calls(("post", {})), says("posted it"), tools=[post])
    assert (await agent(journal, look(), says("done"), tools=[child], ask=ask).run("t")).answer == "done"
    assert asked == ["post"]


@pytest.mark.parametrize("keeps", ["parent", "child", "none"])
async def test_either_may_keep_no_journal(journal: Journal, keeps: str) -> None:
    child = helper(journal if keeps == "child" else None, says("found"), sandbox=DummySandbox())
    result = await agent(journal if keeps == "parent" else None, look(), says("done"), tools=[child]).run("t")
    assert [event.content for event in finished(result)] == ["found"]
    assert [bool(info.parent) for info in journal.runs()] == {"parent": [False], "child": [True], "none": []}[keeps]


@pytest.mark.parametrize("here", ["a person", "nobody"])
async def test_a_question_that_ends_a_child_ends_its_caller(journal: Journal, here: str) -> None:
    sent: list[str] = []
    answers = [Answer("stop"), Answer("allow")]

    @tool(effect="outside")
    def send(line: str) -> str:
        """Send a line.

        Args:
            line: What to send.
        """
        sent.append(line)
        return "sent"

    async def ask(question: Question) -> Answer:
        return answers.pop(0)

    child = agent(journal, calls(("send", {"line": "a"})), says("sent it"), tools=[send])
    one = agent(journal, look(), says("done"), tools=[child.as_tool("look", "Look it up.")])
    result = await one.run("t", ask=ask if here == "a person" else unattended)
    assert (result.exit, sent) == (Exit.STOPPED, [])
    assert "send" in result.reason
    assert [info.exit for info in journal.runs()] == [Exit.STOPPED] * 2
    parent, _ = family(journal)
    answers = [Answer("allow")]
    assert ((await one.resume(parent.run, ask=ask)).exit, sent) == (Exit.ANSWERED, ["a"])
    assert len(journal.runs()) == 2
