"""`runs`, `show`, `fork`, `replay` and `resume`, as commands over a journal that a scripted run wrote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel

from fastslow import Agent, DummySandbox, Journal, JournalBroken, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.surfaces.cli import run as runner
from fastslow.agent.surfaces.cli import runs as commands
from tests.agent.helpers import add, calls, plan, says
from tests.surfaces.cli.test_asking import Terminal
from tests.surfaces.cli.test_main import FASTSLOW, nowhere

__all__ = ["nowhere"]


def journal_of(env: dict[str, str]) -> Journal:
    return Journal(Path(env["FASTSLOW_HOME"], "state", "runs.db"))


@pytest.fixture
def run(nowhere: dict[str, str]) -> str:
    """The id of a run in the journal of the environment."""
    script = plan("a", {"do": "b", "after": []}), says("A"), says("B"), says("The \x1b[31mend.")
    engine = ScriptedModel(script)
    return Agent(engine=engine, tools=[add], sandbox=None, journal=journal_of(nowhere)).run_sync("the task").run


def answered(env: dict[str, str], task: str, after: str | None = None) -> str:
    """The id of a further run."""
    agent = Agent(engine=ScriptedModel([says("done")]), tools=[add], sandbox=None, journal=journal_of(env))
    return agent.run_sync(task, after=after).run


def age(env: dict[str, str], run: str, days: int) -> None:
    """Make a run begin some days earlier."""
    with closing(sqlite3.connect(journal_of(env).path)) as database, database:
        database.execute("UPDATE runs SET started = started - ? WHERE run = ?", (days * 86400, run))


def left(env: dict[str, str]) -> set[str]:
    return {row["run"] for row in json.loads(fastslow(env, "runs", "--json").stdout)}


def fastslow(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FASTSLOW, *arguments],
        env=env,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_runs_are_listed(nowhere: dict[str, str], run: str) -> None:
    done = fastslow(nowhere, "runs")
    assert [line.split() for line in done.stdout.splitlines()][1:] == [[run, "answered", "the", "task"]]
    [row] = json.loads(fastslow(nowhere, "runs", "--json").stdout)
    assert (row["run"], row["state"], row["forked"], row["parent"]) == (run, "answered", "", "")


def test_a_run_within_another_one_is_listed_below_it(nowhere: dict[str, str], run: str) -> None:
    journal = journal_of(nowhere)
    helper = Agent(engine=ScriptedModel([says("found")]), sandbox=None, journal=journal).as_tool("look", "Look it up.")
    script = [calls(("look", {"task": "the part"})), says("done")]
    parent = (
        Agent(engine=ScriptedModel(script), tools=[helper], sandbox=None, journal=journal).run_sync("the whole").run
    )
    rows = {row["task"]: row for row in json.loads(fastslow(nowhere, "runs", "--json").stdout)}
    assert [rows[task]["parent"] for task in ("the whole", "the part", "the task")] == ["", parent, ""]
    listed = [line.split() for line in fastslow(nowhere, "runs").stdout.splitlines()[1:]]
    child = rows["the part"]["run"]
    assert [line[:2] for line in listed] == [[parent, "answered"], ["└", child], [run, "answered"]]
    assert parent in fastslow(nowhere, "show", "last", "--json").stdout.splitlines()[0]


def test_resumed_from_the_command_line_a_run_keeps_the_form_of_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Box(BaseModel):
        width: int

    def crash(request: Request) -> Reply:
        raise SystemError

    monkeypatch.setattr("fastslow.agent.record.journal.default_path", lambda: tmp_path / "runs.db")
    with pytest.raises(SystemError):
        Agent(engine=ScriptedModel([crash]), sandbox=DummySandbox()).run_sync("t", output=Box)
    script = [calls(("answer", {"width": "wide"})), calls(("answer", {"width": 3}))]
    monkeypatch.setattr(runner, "engine_of", lambda *_: ScriptedModel(script))
    monkeypatch.setattr(runner, "DockerSandbox", lambda limits, **_: DummySandbox(limits=limits))
    monkeypatch.setattr(runner, "prepare_run", lambda phases, model, **_: None)
    options = {"model": None, "base_url": "http://127.0.0.1:1", "rules": None, "show_thinking": False}
    status = commands.resume("last", None, seconds=None, memory=None, json_lines=True, **options)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["result"]
    assert (status, result["exit"], result["output"]) == (0, "answered", {"width": 3})


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


@pytest.mark.parametrize("command", ["show", "replay"])
@pytest.mark.parametrize("gone", ["out", "contents", "inputs"])
def test_what_is_gone_is_named_and_the_rest_is_shown(
    nowhere: dict[str, str], tmp_path: Path, command: str, gone: str
) -> None:
    """The folder of results was removed, or the journal came without some contents, or without the rows of files."""
    (tmp_path / "orders.csv").write_text("region\nSouth\n")
    script = [calls(("write_file", {"path": "plot.svg", "content": "<svg/>"})), says("South.")]
    sandbox, journal = DummySandbox(), journal_of(nowhere)
    agent = Agent(engine=ScriptedModel(script), sandbox=sandbox, journal=journal)
    done = agent.run_sync("Which region?", files=[tmp_path / "orders.csv"], out=tmp_path / "out")
    assert [file.name for file in done.files] == ["plot.svg"]
    match gone:
        case "out":
            shutil.rmtree(tmp_path / "out")
        case "contents" | "inputs":
            with closing(sqlite3.connect(journal.path)) as database, database:
                database.execute("DELETE FROM contents")
                database.execute("DELETE FROM files" if gone == "inputs" else "SELECT 1")
    shown = fastslow(nowhere, command)
    assert shown.returncode == 0, shown.stderr
    assert "Answer\nSouth." in shown.stdout
    assert ("plot.svg  not there any more" in shown.stdout) == (gone == "out")
    assert ("does not hold the contents of orders.csv any more" in shown.stdout) == (gone != "out")
    told = [json.loads(line) for line in fastslow(nowhere, command, "--json").stdout.splitlines()]
    assert told[-1]["result"]["answer"] == "South."
    if gone != "out":
        with pytest.raises(JournalBroken, match=r"contents of orders\.csv any more.*start the task anew"):
            Agent(engine=ScriptedModel([says("more")]), sandbox=sandbox, journal=journal).run_sync("?", after=done.run)


def test_a_fork_is_a_run_of_its_own_that_has_not_ended(nowhere: dict[str, str], run: str) -> None:
    done = fastslow(nowhere, "fork", "last", "--at", "4")
    new = done.stdout.strip()
    assert new != run
    assert f"fastslow resume {new}" in done.stderr
    rows = {row["run"]: row for row in json.loads(fastslow(nowhere, "runs", "--json").stdout)}
    assert (rows[new]["state"], rows[new]["forked"]) == ("interrupted", run)
    replayed = fastslow(nowhere, "replay", new)
    assert replayed.returncode == 1
    assert "holds no further reply" in replayed.stdout
    assert f"fastslow resume {new}" in replayed.stdout
    wrong = fastslow(nowhere, "fork", "last", "--at", "9")
    assert wrong.returncode == 1
    assert "has the turns 1, 2, 3, got 9" in wrong.stderr


def test_named_runs_are_removed(nowhere: dict[str, str], run: str) -> None:
    other, last = answered(nowhere, "another task"), answered(nowhere, "the last task")
    done = fastslow(nowhere, "runs", "rm", "last", run[:-2], "--yes")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith("2 runs removed; ")
    assert done.stderr.endswith("B given back to the disk\n")
    assert left(nowhere) == {other}
    again = fastslow(nowhere, "runs", "rm", last, "--yes")
    assert again.returncode == 1
    assert f"no run '{last}'" in again.stderr


def test_nothing_is_removed_where_nobody_can_be_asked(nowhere: dict[str, str], run: str) -> None:
    done = fastslow(nowhere, "runs", "rm", "last")
    assert done.returncode == 1
    assert done.stderr == "fastslow: 1 run would be removed, and nobody can be asked here; add --yes\n"
    assert left(nowhere) == {run}


def test_runs_of_an_age_are_removed_but_for_those_that_are_needed(nowhere: dict[str, str], run: str) -> None:
    old, needed = answered(nowhere, "old"), answered(nowhere, "old and needed")
    follower = answered(nowhere, "new", after=needed)
    for each in (old, needed):
        age(nowhere, each, days=31)
    done = fastslow(nowhere, "runs", "rm", "--older-than", "30d", "--yes")
    assert done.returncode == 0
    assert "1 run cannot be removed: still going on, or a run that stays follows it" in done.stderr
    assert "1 run removed" in done.stderr
    assert left(nowhere) == {run, needed, follower}
    none = fastslow(nowhere, "runs", "rm", "--older-than", "8w", "--yes")
    assert (none.returncode, none.stderr) == (0, "no runs to remove\n")


def test_all_runs_are_removed_but_for_one_that_is_carried_out_and_the_one_it_follows(
    nowhere: dict[str, str], run: str
) -> None:
    running = answered(nowhere, "still going on", after=run)
    gone = answered(nowhere, "after it", after=running)
    with journal_of(nowhere).hold(running):
        refused = fastslow(nowhere, "runs", "rm", running, gone, "--yes")
        assert refused.returncode == 1
        assert f"run {running} is being carried out" in refused.stderr
        done = fastslow(nowhere, "runs", "rm", "--all", "--yes")
        assert "2 runs cannot be removed" in done.stderr
        assert left(nowhere) == {run, running}
    assert fastslow(nowhere, "runs", "rm", "--all", "--yes").returncode == 0
    assert left(nowhere) == set()


def test_a_run_that_another_follows_is_refused_with_the_command_for_both(nowhere: dict[str, str], run: str) -> None:
    follower = answered(nowhere, "and then?", after=run)
    done = fastslow(nowhere, "runs", "rm", run, "--yes")
    assert done.returncode == 1
    assert f"to remove them too: fastslow runs rm {run} {follower}" in done.stderr
    assert left(nowhere) == {run, follower}


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 130), ("ctrl-c", 130)])
def test_a_person_is_asked_before_runs_are_removed(nowhere: dict[str, str], run: str, typed: str, status: int) -> None:
    home = Path(nowhere["FASTSLOW_HOME"])
    with closing(Terminal(home, [FASTSLOW, "runs", "rm", "last"])) as terminal:
        terminal.wait_for("Remove 1 run for good")
        assert run in terminal.shown
        if typed == "ctrl-c":
            os.killpg(terminal.process.pid, signal.SIGINT)
        else:
            terminal.type(typed)
        assert terminal.end() == status
    assert "Traceback" not in terminal.shown
    assert ("1 run removed" if status == 0 else "nothing was removed") in terminal.shown
    assert left(nowhere) == (set() if status == 0 else {run})
