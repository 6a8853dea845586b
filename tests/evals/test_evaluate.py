"""Evaluations: rows, intervals, going on where one stopped, and the report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from xml.etree import ElementTree

from fastslow import Budget, ModePolicy, ScriptedModel
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.evals.evaluate import Arm, Setting, evaluate
from fastslow.agent.evals.report import page, picture, summaries
from fastslow.agent.evals.rows import Row, Share, append, read
from fastslow.agent.evals.suites.single import single
from tests.agent.helpers import calls, says

ARMS = (Arm("auto"), Arm("never", ModePolicy(think="never")))


async def rows(model: ScriptedModel, done: Sequence[Row] = (), n: int = 3) -> list[Row]:
    setting = Setting(model, None, Budget(turns=4), seed=1)
    async with aclosing(evaluate(setting, single(1)[:n], ARMS, done={row.key for row in done})) as measured:
        return [row async for row in measured]


async def test_each_case_runs_under_each_arm_and_is_left_when_it_is_decided() -> None:
    weather, *_ = single(1)

    def right(request: Request) -> Reply:
        named = next(city for city in ("Oslo", "Lima", "Cairo", "Quito", "Seoul", "Porto") if city in weather.task)
        unit = "celsius" if "celsius" in weather.task else "fahrenheit"
        return calls(("get_weather", {"city": named, "unit": unit}))

    found = await rows(ScriptedModel([right, says("It rains.")]), n=1)
    assert [(row.arm, row.right, row.turns) for row in found] == [("auto", True, 1), ("never", False, 1)]
    assert found[0].think_turns == 1
    assert (found[0].calls, found[0].valid) == (1, 1)
    assert [(row.tool_turns, row.tool_tokens) for row in found] == [(1, 5), (0, 0)]  # a first turn may act already
    assert found[1].wrong == "expected a call of get_weather, got none"


async def test_an_arm_may_have_the_model_under_another_profile() -> None:
    usual, other = (ScriptedModel([says("no")]) for _ in range(2))
    arms = (Arm("auto"), Arm("auto, whole", engine=other))
    async with aclosing(evaluate(Setting(usual, None, Budget(turns=4), seed=1), single(1)[:1], arms)) as measured:
        assert [row.arm async for row in measured] == ["auto", "auto, whole"]
    assert len(usual.requests) == len(other.requests) == 1


async def test_an_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = await rows(ScriptedModel([says("no")] * 2), n=1)
    for row in first:
        append(path, row)
    with path.open("a") as file:
        file.write('{"suite": "single", "gro')  # killed in the middle of a line
    assert read(path) == first
    more = await rows(ScriptedModel([says("no")] * 4), read(path), n=3)
    assert [row.case for row in more] == [case.id for case in single(1)[1:3] for _ in ARMS]


async def test_runs_go_side_by_side_where_that_is_wished() -> None:
    waiting, most = 0, 0

    class Slow(ScriptedModel):
        async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await asyncio.sleep(0.05)
            waiting -= 1
            yield says("no")

    setting = Setting(Slow([]), None, Budget(turns=4), seed=1, at_once=3)
    async with aclosing(evaluate(setting, single(1)[:4], ARMS)) as measured:
        found = [row async for row in measured]
    assert len(found) == 8
    assert most == 3


def test_wilsons_interval() -> None:
    assert [round(bound, 3) for bound in Share(0, 10).interval] == [0.0, 0.278]
    assert [round(bound, 3) for bound in Share(10, 10).interval] == [0.722, 1.0]
    assert Share(0, 0).interval == (0.0, 1.0)


async def test_the_report_tells_arms_and_groups() -> None:
    found = await rows(ScriptedModel([says("no")] * 6))
    text = page(found, "fastslow eval single")
    assert "| auto | 0 of 3 | 0% to 56% |" in text
    assert "| never |" in text
    assert "| never | 3 | 0 | 0 | 100% | 1.0 times | - |" in text  # no tool was called, so no turn of one is compared
    svg = ElementTree.fromstring(picture("single <1>", summaries(found)))
    assert "".join(svg.itertext()).startswith("single <1>")
