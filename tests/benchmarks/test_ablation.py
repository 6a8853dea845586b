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
from fastslow.agent.events import CallFinished, Notice
from fastslow.agent.transcript import User
from fastslow.sandbox import DummySandbox, Execution
from fastslow.tools.builtin.python import COLUMNS
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
        ("no last value", [Execution("ok", value="42")], "42", "(no output: print what you need)"),
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


async def test_no_code_looks_for_columns_meanwhile() -> None:
    for name, looked in ((ALL, COLUMNS), ("no columns at a KeyError", "")):
        sandbox = DummySandbox([Execution("error", error="KeyError: 'x'", exit_code=1), Execution("ok")])
        with BY_NAME[name].code():
            await Agent(engine=ScriptedModel([python(), says("done")]), sandbox=sandbox, journal=None).run("the task")
        assert sandbox.ran == ["1", looked]


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


async def test_code_is_not_forced_meanwhile() -> None:
    """Code that printed nothing must be followed by code; and nobody looks the answer's numbers up."""
    for name, forces, notices in (
        (ALL, "python", 1),
        ("code asked for, not forced", None, 1),
        ("numbers not looked up", "python", 0),
    ):
        model = ScriptedModel([python(), python(), *[says("It is 77.")] * 3], profile=WEAK)
        sandbox = DummySandbox([Execution("ok"), Execution("ok", stdout="7")])
        with BY_NAME[name].code():
            result = await Agent(engine=model, sandbox=sandbox, journal=None).run("the task")
        assert model.requests[1].force == forces
        assert len([event for event in result.events if isinstance(event, Notice)]) == notices
