"""Rows of a map in other processes: each once, whoever is killed, and whatever a worker says."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from fastslow.agent.errors import AgentError, EngineError, WorkersFailed
from fastslow.agent.events import Exit
from fastslow.agent.flow.elsewhere import DIED, Elsewhere
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.workers import Process, Processes
from fastslow.agent.record.jobs import StepResult
from fastslow.agent.record.journal import Journal
from tests.engine.fake_server import serving
from tests.flow.echo import Echo, rows, spec_for

FULL = {"number": 1, "failure": {"whose": "other", "message": "the disk is full"}}


def workers() -> list[psutil.Process]:
    """Those of this process that have not ended."""
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


async def collected(crew: Elsewhere, asked: list[Row]) -> list[StepResult]:
    async with crew, aclosing(crew.carry_out(asked)) as results:
        return [result async for result in results]


def program(code: str) -> tuple[str, ...]:
    """A worker that is a few lines: `say` writes a line, `row()` waits for one and gives its number and its key."""
    start = (
        "import json, os, sys, time\n"
        "def say(text): print(text, flush=True)\n"
        "def row():\n"
        "    said = json.loads(sys.stdin.readline() or sys.exit())\n"
        "    return said['number'], said['row']['key']\n"
        "def done(number, key): say(json.dumps({'number': number, 'done': {'key': key, 'name': key, "
        "'exit': 'answered'}}))\n"
        "sys.stdin.readline()\n"
    )
    return (sys.executable, "-c", start + code)


def played(code: str, count: int = 1, at_once: int = 4) -> Elsewhere:
    start = partial(Process.start, spec_for(Echo()), program(code))
    return Elsewhere([start] * count, at_once)


async def test_rows_are_shared_by_processes() -> None:
    async with serving(Echo(delay=0.01)) as server:
        crew = Processes(spec_for(server), 2)
        async with crew, aclosing(crew.carry_out(rows(40))) as results:
            assert len(workers()) == 2
            ended = [result async for result in results]
        assert not workers()
    assert sorted(int(result.name) for result in ended) == list(range(1, 41))
    assert all(result.output == {"n": f"v{result.name}"} and result.exit is Exit.ANSWERED for result in ended)
    assert set(server.received.values()) == {1}


async def test_no_more_processes_than_rows_at_once() -> None:
    async with serving(Echo()) as server, Processes(spec_for(server, at_once=1), 4):
        assert len(workers()) == 1


async def test_killed_workers_lose_no_row_and_do_none_twice() -> None:
    chance, kills = random.Random(18), 0
    async with serving(Echo(delay=0.02)) as server:
        crew = Processes(spec_for(server), 2)
        async with crew, aclosing(crew.carry_out(rows(200))) as results:
            ended: list[StepResult] = []
            async for result in results:
                ended.append(result)
                if kills < 10 and len(ended) > 18 * kills and (running := workers()):
                    chance.choice(running).kill()
                    kills += 1
    assert kills == 10
    assert sorted(int(result.name) for result in ended) == list(range(1, 201))
    assert all(result.output == {"n": f"v{result.name}"} for result in ended)


async def test_a_row_that_kills_its_workers_fails_and_takes_no_other_with_it() -> None:
    code = "say('{}')\nheld = []\nwhile True:\n    held.append(row())\n"
    code += "    os._exit(9) if held[-1][1] == 'key-3' else time.sleep(0.05)\n    done(*held[-1])\n"
    ended = await collected(played(code, count=2), rows(12))
    failed = {result.name: result for result in ended if result.exit is not Exit.ANSWERED}
    assert len(ended) == 12
    assert set(failed) == {"3"}
    assert (failed["3"].failure, failed["3"].exit) == (DIED, Exit.FAILED)
    assert "3 workers died of this row; of the last one: it ended with status 9" in failed["3"].reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("say('hello')", "it said what is no answer: Invalid JSON"),
        ("say('[]')", "it said what is no answer"),
        ("done(77, 'key-1')", "an answer to number 77, which was not asked"),
        ("done(1, 'key-9')", "it answered for another row"),
        ("say('{\"number\": 1}')", "it answered for another row"),
        ("sys.stdout.write('x' * 2000)", "it said what is no answer"),
        ("sys.stderr.write('no \\x1b[2Jmemory\\n')", "it ended with status 0 and said: no memory"),
        ("os.kill(os.getpid(), 9)", "it ended with status -9"),
    ],
)
async def test_nonsense_counts_as_a_death(words: str, reason: str) -> None:
    [result] = await collected(played(f"say('{{}}')\nrow()\n{words}\n"), rows(1))
    assert result.failure == DIED
    assert reason in result.reason


async def test_a_line_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.flow.workers.LINE", 100_000)
    [result] = await collected(played("say('{}')\nrow()\nwhile True: sys.stdout.write('x' * 5000)\n"), rows(1))
    assert result.failure == DIED


async def test_a_row_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.flow.words.LINE", 1000)
    long = Row(1, "1", "key-1", {"n": "x" * 1000})
    ended = await collected(played("say('{}')\ndone(*row())\nrow()\n"), [long, *rows(2)[1:]])
    assert {result.name: result.failure for result in ended} == {"1": "too long", "key-2": ""}


async def test_workers_that_cannot_start_are_given_up() -> None:
    with pytest.raises(
        WorkersFailed, match="3 of them died before they were ready; of the last one: it ended with status 7"
    ):
        await collected(played("sys.exit(7)", count=2), rows(3))
    assert not workers()


async def test_what_a_worker_cannot_do_is_raised_here() -> None:
    gone = Echo()
    async with serving(gone):
        pass
    with pytest.raises(EngineError, match="no server answers at"):
        await collected(Processes(spec_for(gone), 2), rows(3))
    with pytest.raises(AgentError, match="the disk is full"):
        await collected(played(f"say('{{}}')\nrow()\nsay({json.dumps(FULL)!r})\nrow()"), rows(1))
    assert not workers()


async def test_closing_leaves_what_is_in_hand() -> None:
    async with serving(Echo(delay=2)) as server:
        crew = Processes(spec_for(server), 2)
        async with crew:
            results = crew.carry_out(rows(5))
            waiting = asyncio.create_task(anext(results))
            await asyncio.sleep(0.3)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await results.aclose()
        assert not workers()


async def test_workers_end_with_a_coordinator_that_was_killed(tmp_path: Path) -> None:
    async with serving(Echo(delay=2)) as server:
        code = (
            "import asyncio, sys\n"
            "from fastslow.agent.flow.spec import MapSpec\n"
            "from fastslow.agent.flow.workers import Processes\n"
            "from tests.flow.echo import rows\n"
            "async def main():\n"
            "    async with Processes(MapSpec.from_json(sys.argv[1]), 2) as crew:\n"
            "        async for _ in crew.carry_out(rows(4)): pass\n"
            "asyncio.run(main())\n"
        )
        coordinator = await asyncio.create_subprocess_exec(sys.executable, "-c", code, spec_for(server).to_json())
        await server.busy(4)
        left = psutil.Process(coordinator.pid).children()
        os.kill(coordinator.pid, signal.SIGKILL)
        await coordinator.wait()
        _, alive = await asyncio.to_thread(psutil.wait_procs, left, 10)
    assert len(left) == 2
    assert not alive


@pytest.mark.docker
async def test_a_run_that_lost_its_worker_goes_on_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path))
    async with serving(Echo(delay=0.5)) as server:
        spec = replace(spec_for(server, at_once=2), schema=None, tools=True)
        crew = Processes(spec, 2)
        async with crew, aclosing(crew.carry_out(rows(6))) as results:
            ended = [await anext(results)]
            workers()[0].kill()
            ended += [result async for result in results]
    assert sorted(result.name for result in ended) == list("123456")
    assert all(result.exit is Exit.ANSWERED for result in ended), ended
    journal = Journal(tmp_path / "state" / "runs.db")
    assert {run.run for run in journal.runs()} == {result.run for result in ended}  # none was begun twice
