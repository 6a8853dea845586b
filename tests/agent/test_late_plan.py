"""A profile with a late plan: the whole task in one piece of code first, a plan where no such code works."""

from __future__ import annotations

import json
from itertools import count

from fastslow import Agent, Kind, Result, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import Notice, TurnStarted
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import DummySandbox, Execution
from fastslow.tools.builtin.python import SILENT
from tests.agent.helpers import WEAK, add, calls, fail, plan, says

_numbers = count(1)


def code(text: str) -> Reply:
    """A turn whose code stands in a block."""
    arguments = json.dumps({"code": text})
    return Reply(f"```python\n{text}\n```", calls=(ToolCall(f"code-{next(_numbers)}", "python", arguments, "fenced"),))


def printed(text: str) -> Execution:
    return Execution("ok", stdout=text)


def raised(error: str) -> Execution:
    return Execution("error", error=error)


async def run(model: ScriptedModel, *ran: Execution) -> tuple[Result, list[Kind]]:
    agent = Agent(engine=model, tools=[add, fail], sandbox=DummySandbox(ran), journal=None)
    result = await agent.run("the task")
    return result, [event.kind for event in result.events if isinstance(event, TurnStarted)]


async def test_code_that_prints_something_is_answered_from() -> None:
    model = ScriptedModel([code("print(7)"), says("It is 7.")], profile=WEAK)
    result, kinds = await run(model, printed("7\n"))
    assert (result.answer, result.plan, kinds) == ("It is 7.", None, [Kind.PLAN, Kind.ANSWER])
    said = model.requests[1].messages[-1].content
    assert said.startswith("7\n")
    assert said.endswith("The task was: the task")


async def test_a_task_that_needs_no_code_is_answered_at_once() -> None:
    result, kinds = await run(ScriptedModel([says("Hello.")], profile=WEAK))
    assert (result.answer, kinds) == ("Hello.", [Kind.PLAN])


async def test_words_behind_thoughts_are_said_again_without_them() -> None:
    """A budget ends the thoughts of a small model in mid-sentence, and its words go on there."""
    cut = says("assist you.", reasoning="The user greets me. I can")
    model = ScriptedModel([cut, says("I can assist you.")], profile=WEAK)
    result, kinds = await run(model)
    assert (result.answer, kinds) == ("I can assist you.", [Kind.PLAN, Kind.CALL])
    assert model.requests[1].messages == model.requests[0].messages
    assert not model.requests[1].mode.thinks


async def test_a_plan_follows_code_that_failed_twice_and_sees_none_of_it() -> None:
    tries = [code("1/0"), code("2/0")]
    steps = [plan("Find the sum of all"), code("print(3)"), code("print(4)"), says("It is 4.")]
    model = ScriptedModel([*tries, *steps], profile=WEAK)
    failed = raised("Traceback\nZeroDivisionError: division by zero")
    result, kinds = await run(model, failed, failed, printed("3"), printed("4"))
    assert (result.answer, kinds[:3]) == ("It is 4.", [Kind.PLAN, Kind.CALL, Kind.PLAN])
    planning = model.requests[2]
    assert planning.force == "plan"
    assert planning.mode.thinks
    assert len(planning.messages) == 2
    assert planning.messages[-1].content == "the task\n\nAn attempt failed: ZeroDivisionError: division by zero"


async def test_code_that_prints_nothing_is_no_answer() -> None:
    steps = [plan("Find the sum of all"), code("print(3)"), code("print(4)"), says("It is 4.")]
    model = ScriptedModel([code("x = 1"), code("x = 2"), *steps], profile=WEAK)
    result, kinds = await run(model, printed(""), printed(""), printed("3"), printed("4"))
    assert (result.answer, kinds[:3]) == ("It is 4.", [Kind.PLAN, Kind.CALL, Kind.PLAN])
    assert model.requests[1].messages[-1].content.startswith(SILENT)
    assert model.requests[2].messages[-1].content == f"the task\n\nAn attempt failed: {SILENT}"


async def test_words_behind_code_that_failed_are_no_answer() -> None:
    steps = [plan("Find the sum of all"), code("print(3)"), code("print(4)"), says("It is 4.")]
    model = ScriptedModel([code("1/0"), says("Install a package."), *steps], profile=WEAK)
    result, kinds = await run(model, raised("ZeroDivisionError: division by zero"), printed("3"), printed("4"))
    assert (result.answer, kinds[:3]) == ("It is 4.", [Kind.PLAN, Kind.CALL, Kind.PLAN])


async def test_other_tools_leave_the_next_turn_to_the_model() -> None:
    script = [calls(("add", {"a": 3, "b": 4})), calls(("fail", {"why": "closed"})), says("7, but it is closed.")]
    result, kinds = await run(ScriptedModel(script, profile=WEAK))
    assert (result.answer, kinds) == ("7, but it is closed.", [Kind.PLAN, Kind.CALL, Kind.CALL])


async def test_after_code_that_only_wrote_a_file_there_must_be_code_that_prints() -> None:
    """In words a small model makes the answer up."""
    model = ScriptedModel([code("plot()"), code("print(7)"), says("It is 7.")], profile=WEAK)
    result, kinds = await run(model, printed("Files written: a.png"), printed("7"))
    assert (result.answer, kinds) == ("It is 7.", [Kind.PLAN, Kind.CALL, Kind.ANSWER])
    assert [request.force for request in model.requests] == [None, "python", None]
    said = model.requests[1].messages[-1].content
    assert said.startswith("Files written: a.png\n\nStep 2 of 2: Print the answer to the question: the task\n")


async def test_an_answer_with_a_number_that_nothing_has_shown_is_given_again() -> None:
    replies = [code("print('June')"), says("June, with 12,500."), says("June.")]
    model = ScriptedModel(replies, profile=WEAK)
    result, kinds = await run(model, printed("June"))
    assert (result.answer, kinds) == ("June.", [Kind.PLAN, Kind.ANSWER, Kind.ANSWER])
    assert "a number that no output shows" in model.requests[2].messages[-1].content


async def test_a_number_that_stays_made_up_is_told() -> None:
    made_up = says("June, with 12,500.")
    model = ScriptedModel([code("print('June')"), made_up, made_up, made_up], profile=WEAK)
    result, _ = await run(model, printed("June"))
    assert result.answer == "June, with 12,500."
    notices = [event.text for event in result.events if isinstance(event, Notice)]
    assert notices == ["Nothing that was run has shown 12,500: check it."]
