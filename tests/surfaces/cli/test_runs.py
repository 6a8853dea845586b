"""`runs`, `show`, `fork`, `replay` and `resume`, as commands over a journal that a scripted run wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fastslow import Agent, Journal, ScriptedModel
from tests.agent.helpers import add, plan, says
from tests.surfaces.cli.test_main import FASTSLOW, nowhere

__all__ = ["nowhere"]


@pytest.fixture
def run(nowhere: dict[str, str]) -> str:
    """The id of a run in the journal of the environment."""
    script = plan("a", {"do": "b", "after": []}), says("A"), says("B"), says("The \x1b[31mend.")
    engine = ScriptedModel(script)
    journal = Journal(Path(nowhere["FASTSLOW_HOME"], "state", "runs.db"))
    return Agent(engine=engine, tools=[add], sandbox=None, journal=journal).run_sync("the task").run


def fastslow(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FASTSLOW, *arguments], env=env, text=True, capture_output=True, timeout=60, check=False)


def test_runs_are_listed(nowhere: dict[str, str], run: str) -> None:
    done = fastslow(nowhere, "runs")
    assert [line.split() for line in done.stdout.splitlines()][1:] == [[run, "answered", "the", "task"]]
    [row] = json.loads(fastslow(nowhere, "runs", "--json").stdout)
    assert (row["run"], row["state"], row["parent"]) == (run, "answered", None)


def test_no_run_is_told_as_such(nowhere: dict[str, str]) -> None:
    done = fastslow(nowhere, "runs")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no run yet" in done.stderr
    assert fastslow(nowhere, "runs", "--json").stdout == "[]\n"
    for command in ("show", "resume", "replay"):
        done = fastslow(nowhere, command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no run 'last'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["show", "replay"])
def test_what_a_run_said_is_shown_again(nowhere: dict[str, str], run: str, command: str) -> None:
    done = fastslow(nowhere, command, run[:17])
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "✓ step 2 done" in done.stdout
    assert "Answer\nThe end." in done.stdout
    told = [json.loads(line) for line in fastslow(nowhere, command, "--json").stdout.splitlines()]
    assert (told[0]["event"], told[-1]["event"]) == ("run_started", "run_finished")
    assert told[-1]["result"]["answer"].endswith("end.")


def test_a_fork_is_a_run_of_its_own_that_has_not_ended(nowhere: dict[str, str], run: str) -> None:
    done = fastslow(nowhere, "fork", "last", "--at", "4")
    new = done.stdout.strip()
    assert new != run
    assert f"fastslow resume {new}" in done.stderr
    rows = {row["run"]: row for row in json.loads(fastslow(nowhere, "runs", "--json").stdout)}
    assert (rows[new]["state"], rows[new]["parent"]) == ("interrupted", run)
    replayed = fastslow(nowhere, "replay", new)
    assert replayed.returncode == 1
    assert "holds no further reply" in replayed.stdout
    assert f"fastslow resume {new}" in replayed.stdout
    wrong = fastslow(nowhere, "fork", "last", "--at", "9")
    assert wrong.returncode == 1
    assert "has the turns 1, 2, 3, got 9" in wrong.stderr
