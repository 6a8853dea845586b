"""What the ablation takes out is out while it is measured, and back afterwards; and what its table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablation import ALL, PARTS, Remembering, table
from fastslow import Agent, ScriptedModel
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished
from fastslow.agent.transcript import User
from fastslow.sandbox import DummySandbox, Execution
from fastslow.tools.builtin import BUILTIN
from tests.agent.helpers import WEAK, calls, says
from tests.engine.fake_server import FakeServer, said, serving
from tests.evals.test_tune import ran

BY_NAME = {part.name: part for part in PARTS}


def python() -> Reply:
    return calls(("python", {"code": "1"}))


async def told(name: str, *script: Execution) -> list[str]:
    """What the model is told of each call of the same code."""
    replies = [*(python() for _ in script), says("done")]
    sandbox = DummySandbox(script)
    with BY_NAME[name].code():
        agent = Agent(engine=ScriptedModel(replies), sandbox=sandbox, journal=None)
        result = await agent.run("the task")
    return [event.content for event in result.events if isinstance(event, CallFinished)]


@pytest.mark.parametrize(
    ("name", "script", "whole", "without"),
    [
        ("no last value", [Execution("ok", value="42")], "42", "(no output)"),
        ("no error text", [Execution("error", error="ValueError: no", exit_code=1)], "ValueError: no", "Error."),
        ("no hints at repeated calls", [Execution("ok", value="42")] * 2, "The same call gave the same result", "42"),
    ],
)
async def test_a_part_is_out_meanwhile_and_back_afterwards(
    name: str, script: list[Execution], whole: str, without: str
) -> None:
    assert whole in (await told(ALL, *script))[-1]
    text = (await told(name, *script))[-1]
    assert without in text
    assert whole not in text
    assert whole in (await told(ALL, *script))[-1]


async def test_an_answer_is_given_again_also_by_the_next_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(FakeServer()) as fake:
        fake.answers = [said("One."), said("Two.")]
        monkeypatch.setenv("FASTSLOW_BASE_URL", fake.url)
        for task, answer in (("A", "One."), ("A", "One."), ("B", "Two."), ("B", "Two.")):
            engine = Remembering(INSTRUCT, tmp_path / "replies.txt")
            *_, reply = [item async for item in engine.stream(Request((User(task),)))]
            assert isinstance(reply, Reply)
            assert reply.content == answer
            await engine.aclose()
    assert len(fake.chats) == 2


def test_parts_of_the_profile_are_fields_of_it() -> None:
    for part in PARTS:
        changed: Any = replace(INSTRUCT, **part.profile)
        assert (changed == INSTRUCT) == (not part.profile), part.name


def test_the_table_says_what_each_change_costs() -> None:
    text = table([*ran(ALL, "1110"), *ran("no thinking", "1000")])
    assert "| nothing | 3 of 4 | 30% to 95% |  |  | 200 |" in text
    assert "| no thinking | 1 of 4 | 5% to 70% | 50 points | 50% | 200 |" in text


async def forced(name: str) -> list[str | None]:
    """What each turn is forced to call, of a run whose first code prints nothing."""
    model = ScriptedModel([python(), python(), says("It is 7.")], profile=WEAK)
    sandbox = DummySandbox([Execution("ok"), Execution("ok", stdout="7")])
    with BY_NAME[name].code():
        await Agent(engine=model, sandbox=sandbox, journal=None).run("the task")
    return [request.force for request in model.requests]


async def test_code_is_not_forced_and_a_plan_is_meanwhile() -> None:
    """Code that printed nothing must be followed by code."""
    assert await forced(ALL) == [None, "python", None]
    assert await forced("code asked for, not forced") == [None, None, None]
    assert (await forced("a plan before any code"))[0] == "plan"
    assert await forced(ALL) == [None, "python", None]


@pytest.mark.parametrize(
    ("name", "tools"),
    [
        (ALL, {"plan", "python"}),
        ("all tools offered", {"plan", *BUILTIN}),
    ],
)
async def test_all_tools_are_offered_meanwhile(name: str, tools: set[str]) -> None:
    model = ScriptedModel([says("Hello.")], profile=WEAK)
    with BY_NAME[name].code():
        await Agent(engine=model, sandbox=DummySandbox(), journal=None).run("the task")
    assert {tool.name for tool in model.requests[0].tools} == tools


async def test_steps_end_with_words_meanwhile() -> None:
    for name, turns in ((ALL, 4), ("steps end with words", 6)):
        plan = calls(("plan", {"goal": "g", "steps": ["Compute the sum"]}))
        ends = [says("It is 7.")] if name != ALL else []
        model = ScriptedModel([plan, python(), *ends, python(), *ends, says("7")], profile=WEAK)
        sandbox = DummySandbox([Execution("ok", stdout="7")] * 2)
        with BY_NAME[name].code():
            await Agent(engine=model, sandbox=sandbox, journal=None).run("the task")
        assert len(model.requests) == turns
