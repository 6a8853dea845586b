"""Conversations of the leaderboard: its own calls lead to the right end, in its own worlds, and others do not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from fastslow import Budget, ScriptedModel
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.evaluate import Arm, Setting, evaluate
from fastslow.agent.evals.suites.multi_turn import (
    FUNCTIONS,
    Conversation,
    call_source,
    case_of,
    conversations,
    tools_of,
    verdict,
)
from fastslow.tools import ToolError
from tests.agent.helpers import calls, says

pytestmark = pytest.mark.index


def parsed(call: str, talk: Conversation) -> tuple[str, dict[str, Any]]:
    """A call of the leaderboard's answers, in Python, as name and arguments."""
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    tool = next(tool for tool in tools_of(talk) if tool.name == name)
    names = list(tool.parameters["properties"])
    given = {names[n]: ast.literal_eval(each) for n, each in enumerate(node.args)}
    return name, given | {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}


async def measured(case: Case, *script: Any) -> Any:
    setting = Setting(ScriptedModel(script), None, Budget(), 2)
    [row] = [row async for row in evaluate(setting, [case], [Arm("auto")])]
    return row


def test_the_answers_lead_to_the_right_end_and_others_do_not() -> None:
    for kind in FUNCTIONS:
        talk = next(each for each in conversations() if kind in each.world["involved_classes"])
        assert verdict(talk, talk.answers) == "", talk.id
        assert verdict(talk, [*talk.answers[:-1], []]), talk.id
        assert (
            verdict(talk, talk.answers[:-1])
            == f"expected {len(talk.tasks)} tasks to be done, got {len(talk.tasks) - 1}"
        )


async def test_a_whole_conversation_is_measured() -> None:
    talk = next(iter(conversations()))
    script = []
    for answer in talk.answers:
        script += [calls(*(parsed(call, talk) for call in answer)), says("Done.")]
    row = await measured(case_of(talk), *script)
    assert (row.right, row.wrong, row.group) == (True, "", "multi_turn_base")
    assert row.turns == 2 * len(talk.tasks)
    assert row.calls == row.valid == sum(map(len, talk.answers))


async def test_each_run_has_a_world_of_its_own() -> None:
    talk = next(iter(conversations()))
    for _ in range(2):
        tools = {tool.name: tool for tool in tools_of(talk)}
        assert "final_report.pdf" not in await tools["ls"].run({})
        await tools["cd"].run({"folder": "document"})
        assert "final_report.pdf" in await tools["ls"].run({})


async def test_a_conversation_ends_where_a_task_has_no_answer() -> None:
    talk = next(iter(conversations()))
    row = await measured(case_of(talk), *[says("")] * 5)
    assert not row.right
    assert row.exit == "failed"
    assert "tasks to be done, got 1" in row.wrong


def test_all_of_them_become_tools() -> None:
    assert len(conversations()) == 200
    assert {kind for talk in conversations() for kind in talk.world["involved_classes"]} == set(FUNCTIONS)
    for kind in FUNCTIONS:
        assert tools_of(next(talk for talk in conversations() if kind in talk.world["involved_classes"]))


async def test_what_is_no_name_is_not_evaluated(tmp_path: Path) -> None:
    bad = f"x=open({str(tmp_path / 'made')!r}, 'w'), y"
    with pytest.raises(ToolError, match="expected names of Python"):
        call_source("cd", {bad: 1})
    tools = {tool.name: tool for tool in tools_of(next(iter(conversations())))}
    await tools["echo"].run({"content": f"'); {bad[2:-3]}; ('", "file_name": "x.txt"})
    assert not (tmp_path / "made").exists()
