"""The loop against scripted models: what is asked, in which mode, and how a run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from fastslow import Agent, Budget, DummySandbox, Exit, Journal, Result, ScriptedModel, StepBudget
from fastslow.agent.engine.scripted import SCRIPTED
from fastslow.agent.engine.types import Reply, Request, Usage
from fastslow.agent.events import CallFinished, Event, PlanMade, RunFinished, StepFinished, TurnStarted
from fastslow.agent.modes import FAST, Kind
from fastslow.agent.plan import Plan, Step
from fastslow.agent.transcript import Assistant, System, ToolResult, User
from fastslow.sandbox import Execution
from fastslow.tools import Tool, tool
from tests.agent.helpers import add, calls, fail, plan, says


async def run(
    script: list[Reply | Callable[[Request], Any]], *tools: Tool, **options: Any
) -> tuple[Result, ScriptedModel]:
    model = ScriptedModel(script, profile=options.pop("profile", SCRIPTED))
    asked = {key: options.pop(key) for key in ("output",) if key in options}
    agent = Agent(engine=model, tools=tools or (add, fail), sandbox=None, **options)
    result = await agent.run("the task", **asked)
    if result.exit is Exit.ANSWERED:
        model.assert_complete()
    return result, model


def turns(result: Result) -> list[TurnStarted]:
    return [event for event in result.events if isinstance(event, TurnStarted)]


def finished(result: Result) -> list[CallFinished]:
    return [event for event in result.events if isinstance(event, CallFinished)]


async def test_an_answer_without_a_call_ends_the_run() -> None:
    result, model = await run([says("42")])
    assert (result.answer, result.exit, result.output, result.plan) == ("42", Exit.ANSWERED, None, None)
    assert [type(message) for message in model.requests[0].messages] == [System, User]
    assert turns(result)[0].kind is Kind.PLAN
    assert model.requests[0].mode.thinks


async def test_a_call_runs_and_its_result_comes_back_in_a_fast_turn() -> None:
    result, model = await run([calls(("add", {"a": 2, "b": 3})), says("5")])
    assert result.answer == "5"
    said = model.requests[1].messages[-1]
    assert isinstance(said, ToolResult)
    assert said.content == "5"
    assert [request.mode.thinks for request in model.requests] == [True, False]
    assert {name: row.turns for name, row in result.usage.items()} == {"think": 1, "fast": 1}


async def test_history_only_grows_and_tools_stay_the_same() -> None:
    script = [
        calls(("add", {"a": 1, "b": 1})),
        calls(("fail", {"why": "no"})),
        calls(("nope", {})),
        says("done"),
    ]
    _, model = await run(script)
    for earlier, later in zip(model.requests, model.requests[1:], strict=False):
        assert later.messages[: len(earlier.messages)] == earlier.messages
        assert later.tools is earlier.tools


async def test_parallel_calls_run_at_once_and_answer_in_order() -> None:
    both = asyncio.Barrier(2)

    @tool(effect="read")
    async def meet(name: str) -> str:
        """Wait for the other.

        Args:
            name: Who waits.
        """
        async with asyncio.timeout(5):
            await both.wait()
        return name

    _, model = await run([calls(("meet", {"name": "x"}), ("meet", {"name": "y"})), says("ok")], meet)
    assert [m.content for m in model.requests[1].messages if isinstance(m, ToolResult)] == ["x", "y"]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (("fail", {"why": "boom"}), "boom"),
        (("nope", {}), "add"),  # the names that exist are offered
        (("add", {"a": 1}), "b"),
        (("add", {"a": 1, "b": "many"}), "integer"),
    ],
)
async def test_a_failed_call_tells_the_model_why(call: tuple[str, dict[str, Any]], text: str) -> None:
    result, model = await run([calls(call), says("sorry")])
    assert not finished(result)[0].ok
    assert text in model.requests[1].messages[-1].content


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [{"do": "a" * 500, "after": [1]}],
            "steps: step 1 can only come after earlier steps: it is the first, so give []",
        ),
        (["a", {"do": ""}], 'steps[1].do: String should have at least 1 character, got ""'),
    ],
)
async def test_a_plan_that_cannot_be_is_told_in_our_words(steps: list[Any], said: str) -> None:
    script = [plan(*steps), calls(("give_up", {"why": "x"}))]
    result, model = await run(script)
    assert finished(result)[0].status == "refused"
    assert model.requests[1].messages[-1].content == said


async def test_the_second_failure_in_a_row_makes_the_next_turn_think() -> None:
    script = [
        calls(("fail", {"why": "a"})),
        calls(("fail", {"why": "b"})),
        calls(("add", {"a": 1, "b": 1})),
        says("2"),
    ]
    result, model = await run(script)
    assert [turn.kind for turn in turns(result)] == [Kind.PLAN, Kind.CALL, Kind.REPAIR, Kind.CALL]
    assert [request.mode.thinks for request in model.requests] == [True, False, True, False]


async def test_a_call_that_fails_again_in_the_same_world_gets_a_hint() -> None:
    same = calls(("fail", {"why": "a"})), calls(("fail", {"why": "a"}))
    result, model = await run([*same, calls(("add", {"a": 1, "b": 1})), says("no")])
    assert "nothing has changed" not in model.requests[1].messages[-1].content
    assert "nothing has changed" in model.requests[2].messages[-1].content
    assert model.requests[2].mode.thinks
    assert [event.status for event in finished(result)] == ["error", "error", "ok"]


async def test_a_call_that_failed_is_made_again_once_anything_has_changed() -> None:
    """A failing test run, an edit, and the same test run."""
    test = ("python", {"code": "import test"})
    edit = ("write_file", {"path": "code.txt", "content": "fixed"})
    script = [calls(test), calls(edit), calls(test), calls(test), says("done")]
    failed = Execution("error", error="AssertionError", exit_code=1)
    sandbox = DummySandbox([failed, failed, failed])
    model = ScriptedModel(script)
    result = await Agent(engine=model, sandbox=sandbox, journal=None).run("the task")
    assert [event.status for event in finished(result)] == ["error", "ok", "error", "error"]
    told = [str(request.messages[-1].content) for request in model.requests[1:]]
    assert ["nothing has changed" in text for text in told] == [False, False, False, True]


async def test_an_exit_status_is_information_and_no_failure() -> None:
    grep = calls(("shell", {"command": "grep x a"})), calls(("shell", {"command": "diff a b"}))
    found = Execution("error", exit_code=1), Execution("error", stdout="< 1", exit_code=1)
    agent = Agent(engine=ScriptedModel([*grep, says("No.")]), sandbox=DummySandbox(found), journal=None)
    result = await agent.run("the task")
    assert [(e.status, e.exit_code, e.silent) for e in finished(result)] == [("ok", 1, True), ("ok", 1, False)]
    assert finished(result)[0].content == "Exit code 1."
    assert [turn.kind for turn in turns(result)] == [Kind.PLAN, Kind.CALL, Kind.CALL]


async def test_what_could_not_be_run_at_all_has_failed() -> None:
    missing = Execution("error", stderr="bash: pytset: command not found", exit_code=127)
    script = [calls(("shell", {"command": "pytset"})), says("No.")]
    agent = Agent(engine=ScriptedModel(script), sandbox=DummySandbox([missing]), journal=None)
    assert [event.status for event in finished(await agent.run("the task"))] == ["error"]


async def test_of_a_cut_off_reply_the_whole_calls_run_and_the_lost_one_is_named() -> None:
    cut = calls(("add", {"a": 1, "b": 1}), finish="length", dropped=("write_file",))
    result, model = await run([cut, says("2")])
    assert result.answer == "2"
    said = model.requests[1].messages[-1].content
    assert said.startswith("2\n")
    assert "write_file behind this did not run" in said
    assert "nothing of it was run" not in said


async def test_a_model_that_gives_up_says_why_and_the_run_has_failed() -> None:
    result, _ = await run([calls(("give_up", {"why": "The file is empty."}))])
    assert (result.exit, result.answer, result.reason) == (Exit.FAILED, "The file is empty.", "the model gave up")


async def test_a_step_sees_what_the_step_before_it_saw() -> None:
    script = [
        plan("first", "second", {"do": "third", "after": [1]}),
        calls(("add", {"a": 40, "b": 2})),
        says("it is done"),
        says("second is done"),
        says("third is done"),
        says("all done"),
    ]
    _, model = await run(script)
    first, second = model.requests[2].messages, model.requests[3].messages
    assert second[: len(first) - 1] == first[:-1], "all but its last message, which has a hint now"
    assert second[-1].content.startswith("42\n\nStep 1: first\nResult: it is done")
    assert model.requests[4].messages[: len(first) - 1] == first[:-1]


async def test_the_same_result_twice_is_noticed_then_thought_about() -> None:
    same = ("add", {"a": 1, "b": 1})
    result, model = await run([calls(same), calls(same), calls(same), says("2")])
    assert "same result" in model.requests[2].messages[-1].content
    assert [turn.kind for turn in turns(result)] == [Kind.PLAN, Kind.CALL, Kind.CALL, Kind.REPAIR]


async def test_an_empty_reply_is_asked_for_again_with_the_thoughts_quoted() -> None:
    result, model = await run([Reply(reasoning="I should add 1 and 1"), says("2")])
    assert result.answer == "2"
    assert "I should add 1 and 1" in model.requests[1].messages[-1].content
    assert not model.requests[1].mode.thinks
    assert not any(isinstance(message, Assistant) for message in model.requests[1].messages)


@pytest.mark.parametrize("nothing", ["```", "\n```python", "```python\n```", "```\n\n```\n"])
async def test_a_fence_around_nothing_is_no_answer(nothing: str) -> None:
    result, model = await run([says(nothing), says("```\n2\n```")])
    assert (result.exit, result.answer) == (Exit.ANSWERED, "```\n2\n```")
    assert "no answer and no call" in model.requests[1].messages[-1].content
    result, _ = await run([says(nothing)] * 3)
    assert result.exit is Exit.FAILED


async def test_a_cut_off_answer_is_asked_for_again_with_more_room() -> None:
    result, model = await run([says("A very lo", finish="length"), says("A ve", finish="length"), says("Short.")])
    assert result.answer == "Short."
    assert "cut off" in model.requests[1].messages[-1].content
    room = SCRIPTED.answer_tokens
    assert [request.answer_tokens for request in model.requests] == [None, 2 * room, 4 * room]


async def test_an_answer_that_goes_in_circles_is_asked_for_again() -> None:
    result, model = await run([says("so so so so", finish="repetition"), says("So.")])
    assert result.answer == "So."
    assert "in circles" in model.requests[1].messages[-1].content
    result, _ = await run([says("so so", finish="repetition")] * 3)
    assert result.exit is Exit.FAILED, "the text of a circle is no answer"


async def test_a_step_that_cannot_be_done_says_so() -> None:
    wrong = [calls(("fail", {"why": f"wrong {n}"})) for n in range(3)]
    script = [plan("a step"), *wrong, calls(("give_up", {"why": "It fails."})), says("It could not be done.")]
    result, _ = await run(script)
    [step] = [event for event in result.events if isinstance(event, StepFinished)]
    assert (step.ok, step.result) == (False, "It fails.")
    assert [turn.mode.thinks for turn in turns(result) if turn.branch] == [False, False, True, True]
    assert result.answer == "It could not be done."


async def test_a_step_whose_calls_fail_again_and_again_fails_and_the_run_goes_on() -> None:
    wrong = [calls(("fail", {"why": f"wrong {n}"})) for n in range(10)]
    result, _ = await run([plan("a step"), *wrong, says("There is another way: 5.")])
    [step] = [event for event in result.events if isinstance(event, StepFinished)]
    assert (step.ok, "wrong 9" in step.result) == (False, True)
    assert (result.exit, result.answer) == (Exit.ANSWERED, "There is another way: 5.")


async def test_a_model_that_never_answers_fails_with_the_reason() -> None:
    result, _ = await run([Reply(), Reply(), Reply()])
    assert result.exit is Exit.FAILED
    assert result.reason


async def test_a_plan_runs_its_steps_in_branches_and_returns_only_results() -> None:
    script = [
        plan("first", "second"),
        calls(("add", {"a": 1, "b": 2})),
        says("the sum is 3"),
        says("second is done"),
        says("3, all done"),
    ]
    result, model = await run(script)
    assert result.answer == "3, all done"
    assert result.plan is not None
    assert [step.do for step in result.plan.steps] == ["first", "second"]
    assert [event.ok for event in result.events if isinstance(event, StepFinished)] == [True, True]
    trunk = model.requests[4].messages
    assert [type(message) for message in trunk] == [System, User, Assistant, ToolResult]
    assert "the sum is 3" in trunk[-1].content
    assert "the sum is 3" in model.requests[3].messages[-1].content, "a step sees the results that it depends on"
    assert all(request.messages[:3] == trunk[:3] for request in model.requests[1:]), "branches share the prefix"
    assert [turn.kind for turn in turns(result)] == [Kind.PLAN, Kind.CALL, Kind.CALL, Kind.CALL, Kind.ANSWER]
    assert [turn.branch for turn in turns(result)] == ["", "1", "1", "2", ""]


async def test_independent_steps_run_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def together(request: Request) -> Reply:
        async with asyncio.timeout(5):
            await both.wait()
        return says("met")

    result, _ = await run([plan({"do": "a", "after": []}, {"do": "b", "after": []}), together, together, says("ok")])
    assert result.exit is Exit.ANSWERED


async def test_a_failed_step_stops_what_needs_it_and_the_trunk_thinks() -> None:
    script = [
        plan("first", "second"),
        *[calls(("fail", {"why": str(n)})) for n in range(8)],
        says("it failed"),
    ]
    result, model = await run(script, budget=Budget(step=StepBudget(turns=8)))
    ended = [event for event in result.events if isinstance(event, StepFinished)]
    assert [event.ok for event in ended] == [False, False]
    assert "step 1 failed" in ended[1].result
    assert turns(result)[-1].kind is Kind.REPAIR
    assert model.requests[-1].mode.thinks


@pytest.mark.parametrize(
    ("steps", "told"),
    [([{"do": "a", "after": [1]}], "after earlier steps"), ([{"do": ""}], "do"), ([], "steps")],
)
async def test_a_bad_plan_is_told_to_the_model(steps: list[dict[str, Any]], told: str) -> None:
    result, model = await run([plan(*steps), says("ok")])
    assert not finished(result)[0].ok
    assert told in model.requests[1].messages[-1].content
    assert not any(isinstance(event, PlanMade) for event in result.events)


async def test_a_plan_inside_a_step_is_refused() -> None:
    result, _ = await run([plan("one"), plan("nested"), calls(("add", {"a": 1, "b": 1})), says("2"), says("done")])
    assert result.exit is Exit.ANSWERED
    assert [(event.name, event.ok) for event in finished(result)] == [
        ("plan", False),
        ("add", True),
        ("plan", True),
    ]


class Sum(BaseModel):
    total: int

    @field_validator("total")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("the total must be even")
        return value


async def test_structured_output_is_forced_and_validated() -> None:
    script = [says("It is 4."), calls(("answer", {"total": 3})), calls(("answer", {"total": 4}))]
    result, model = await run(script, output=Sum)
    assert result.output == Sum(total=4)
    assert model.requests[1].force == "answer"
    assert "even" in model.requests[2].messages[-1].content


async def test_structured_output_that_never_fits_fails() -> None:
    result, _ = await run([says("four")] * 3, output=Sum)
    assert (result.exit, result.output) == (Exit.FAILED, None)
    assert "Sum" in result.reason


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(turns=2), "2 turns"),
        (Budget(tokens=8), "8 tokens"),
        (Budget(seconds=0.2), "0.2 seconds"),
    ],
)
async def test_a_budget_ends_the_run_with_what_there_is(budget: Budget, said: str) -> None:
    async def slow(request: Request) -> Reply:
        await asyncio.sleep(5 if budget.seconds else 0)
        return calls(("add", {"a": 2, "b": 2}))

    first = Reply(
        "So far so good.",
        calls(("add", {"a": 1, "b": 1})).calls and "",
        calls(("add", {"a": 1, "b": 1})).calls,
    )
    result, _ = await run([replace(first, usage=Usage(answer=5)), slow, slow], budget=budget)
    assert result.exit is Exit.BUDGET
    assert said in result.reason
    assert result.answer == "So far so good."


async def test_a_thinking_budget_that_is_spent_makes_turns_fast() -> None:
    first = replace(calls(("fail", {"why": "a"})), usage=Usage(thinking=100, answer=1))
    result, model = await run([first, calls(("fail", {"why": "b"})), says("x")], budget=Budget(thinking_tokens=100))
    assert result.exit is Exit.BUDGET
    assert len(model.requests) == 1


@pytest.mark.parametrize(("think", "modes"), [("never", [0, 0]), ("always", [4096, 2048]), (77, [77, 0])])
async def test_think_overrides_the_rules(think: Any, modes: list[int]) -> None:
    _, model = await run([calls(("add", {"a": 1, "b": 1})), says("2")], think=think)
    assert [request.mode.budget for request in model.requests] == modes


async def test_cancelling_ends_with_a_partial_result_first() -> None:
    started = asyncio.Event()

    async def hang(request: Request) -> Reply:
        started.set()
        await asyncio.sleep(60)
        raise AssertionError("not reached")

    model = ScriptedModel([plan({"do": "a"}, {"do": "b"}), says("a is 1"), hang])
    agent = Agent(engine=model, tools=[add], sandbox=None)
    events: list[Event] = []

    async def consume() -> None:
        async with aclosing(agent.stream("the task")) as stream:
            async for event in stream:
                events.append(event)

    task = asyncio.create_task(consume())
    await asyncio.wait_for(started.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.result.exit is Exit.CANCELLED
    assert "a is 1" in last.result.answer


def test_run_sync_works_twice() -> None:
    agent = Agent(engine=ScriptedModel([says("1"), says("2")]), sandbox=None)
    assert [agent.run_sync("x").answer, agent.run_sync("y").answer] == ["1", "2"]


async def test_a_given_plan_is_carried_out_without_a_turn_that_plans(tmp_path: Path) -> None:
    model = ScriptedModel([calls(("add", {"a": 1, "b": 2})), says("It is 3."), says("3.")])
    agent = Agent(engine=model, tools=[add], sandbox=None, journal=Journal(tmp_path / "runs.db"))
    plan = Plan(goal="Add", steps=(Step(do="Add 1 and 2"),))
    result = await agent.run("What is 1 + 2?", plan=plan)
    assert (result.answer, result.plan, len(model.requests)) == ("3.", plan, 3)
    turns = [event for event in result.events if isinstance(event, TurnStarted)]
    assert (turns[0].mode, turns[0].reason) == (FAST, "the plan is given")
    told = [event async for event in agent.replay("last")]
    assert told[-1] == RunFinished(replace(result, events=told[-1].result.events))  # type: ignore[union-attr]
