"""A sandbox that dies in the middle of a run takes nothing with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import docker
import pytest

from fastslow import Agent, Exit, Journal, Result, ScriptedModel
from fastslow.agent.calls import DIED
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, CallOutput, RunFinished
from fastslow.agent.workspace import RENEWALS
from fastslow.sandbox import DockerSandbox
from fastslow.sandbox.owner import LABEL, Owner
from tests.agent.helpers import calls, says

pytestmark = pytest.mark.docker


CUT_OFF = "open('half.txt', 'w').write('no'); print('kill me', flush=True); import time; time.sleep(50)"


def kill_containers() -> None:
    """Those of this process that run code; warm ones stay."""
    client = docker.from_env()
    for container in client.containers.list(filters={"label": f"{LABEL}={Owner.me().label()}"}):
        container.kill()
    client.close()


async def run(journal: Journal | None, *script: Reply) -> tuple[Result, list[CallFinished]]:
    """A run whose container is killed whenever code says so."""
    agent = Agent(engine=ScriptedModel(script), sandbox=DockerSandbox(), journal=journal)
    try:
        async for event in agent.stream("the task"):
            if isinstance(event, CallOutput) and "kill me" in event.text:
                await asyncio.to_thread(kill_containers)
        assert isinstance(event, RunFinished)
        return event.result, [event for event in event.result.events if isinstance(event, CallFinished)]
    finally:
        await agent.aclose()


async def test_a_killed_container_is_replaced_with_files_and_variables(tmp_path: Path) -> None:
    script = [
        calls(("python", {"code": "x = 41; open('made.txt', 'w').write('kept')"})),
        calls(("python", {"code": CUT_OFF})),
        calls(("python", {"code": "import os; x + 1, open('made.txt').read(), os.path.exists('half.txt')"})),
        says("done"),
    ]
    result, finished = await run(Journal(tmp_path / "runs.db"), *script)
    assert (result.exit, result.answer) == (Exit.ANSWERED, "done"), result.reason
    assert [event.ok for event in finished] == [True, False, True]
    assert finished[1].content == DIED
    assert finished[2].content == "(42, 'kept', False)"


async def test_a_call_behind_one_that_took_the_container_along_has_a_new_one(tmp_path: Path) -> None:
    both = calls(("python", {"code": CUT_OFF}), ("python", {"code": "open('half.txt', 'w')"}))
    after = calls(("shell", {"command": "ls | wc -l"}))
    result, finished = await run(Journal(tmp_path / "runs.db"), both, after, says("done"))
    assert (result.exit, result.answer) == (Exit.ANSWERED, "done"), result.reason
    assert finished[0].content == DIED
    assert "Files written: half.txt" in finished[1].content
    assert finished[2].content == "1"


async def test_code_that_kills_every_container_ends_the_run_in_the_end(tmp_path: Path) -> None:
    script = [calls(("python", {"code": f"{CUT_OFF} # {n}"})) for n in range(RENEWALS + 1)]
    result, finished = await run(Journal(tmp_path / "runs.db"), *script)
    assert result.exit is Exit.SANDBOX
    assert "its container ended" in result.reason
    assert [event.content for event in finished] == [DIED] * RENEWALS


async def test_without_a_journal_the_run_ends_and_says_why() -> None:
    result, finished = await run(None, calls(("python", {"code": CUT_OFF})))
    assert (result.exit, finished) == (Exit.SANDBOX, [])
    assert "its container ended" in result.reason
