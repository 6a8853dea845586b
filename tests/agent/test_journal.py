"""What is written down of a run, and how it goes on from there."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from fastslow import (
    Agent,
    Approval,
    ApprovalRule,
    Budget,
    ConfigurationError,
    Exit,
    Journal,
    JournalBroken,
    RunBusy,
    RunUnknown,
    ScriptedModel,
)
from fastslow.agent.calls import IN_DOUBT
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, CallStarted, Notice, RunFinished, RunResumed, TurnFinished, TurnStarted
from fastslow.agent.modes import FAST
from fastslow.agent.record.kept import KeptWorkspace
from fastslow.agent.surfaces.cli import runs as commands
from fastslow.agent.transcript import ToolCall, ToolResult
from fastslow.sandbox import DummySandbox, Execution
from fastslow.tools import Tool, tool
from tests.agent.helpers import Dies, add, calls, fail, plan, says

ROOT = Path(__file__).parents[2]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def agent(journal: Journal | None, *script: Any, tools: tuple[Tool, ...] = (add, fail), **options: Any) -> Agent:
    options = {"sandbox": None, "approval": Approval((ApprovalRule("allow"),)), **options}
    return Agent(engine=ScriptedModel(script), tools=tools, journal=journal, **options)


def crash(request: Request) -> Reply:
    """Ends the run as a power cut would, as far as the journal can tell: nothing is said after it."""
    raise SystemError


async def crashed(journal: Journal, *script: Any, **options: Any) -> str:
    """The id of a run that did not get behind the end of its script."""
    with pytest.raises(SystemError):
        await agent(journal, *script, crash, **options).run("the task")
    return journal.runs()[0].run


# --- killed and resumed ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [[], pytest.param(["docker"], marks=pytest.mark.docker)], ids=["tools", "sandbox"])
def test_a_run_killed_at_any_write_ends_the_same_and_does_nothing_twice(where: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.agent.lives", str(tmp_path), *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    ways = 2 if where else 3
    assert len([run for run in runs if not run["died"]]) == ways, "each way of dying goes on until nothing is left"
    assert len(runs) > ways * 3
    for run in runs:
        assert (run["exit"], run["reason"]) == ("answered", "answered"), run
        assert run["answer"] == ("Got 'kept21'" if where else "Posted: 1 2 3"), run
        assert sorted(run["effects"]) == ([] if where else ["1", "2", "3"]), run
        assert run["made"] == ({"made.txt": "kept"} if where else {}), run


async def test_what_was_paid_for_is_not_asked_again(journal: Journal) -> None:
    run = await crashed(journal, calls(("add", {"a": 1, "b": 2})), calls(("add", {"a": 3, "b": 4})))
    again = agent(journal, says("10"))
    result = await again.resume(run)
    assert (result.run, result.answer, result.exit) == (run, "10", Exit.ANSWERED)
    [request] = again.engine.requests  # type: ignore[attr-defined]
    assert [m.content for m in request.messages if isinstance(m, ToolResult)] == ["3", "7"]
    assert sum(row.turns for row in result.usage.values()) == 3
    assert [type(event) for event in result.events].count(RunResumed) == 1
    resumed = next(event for event in result.events if isinstance(event, RunResumed))
    assert resumed.turns == 2


async def test_nothing_is_written_twice(journal: Journal) -> None:
    run = await crashed(journal, plan("a", {"do": "b", "after": []}), says("A"), says("B"))
    for _ in range(3):
        with pytest.raises(SystemError):
            await agent(journal, crash).resume(run)
    await agent(journal, says("done")).resume(run)
    written = journal.read(run)
    kinds = Counter(type(event) for event in written.events)
    assert (kinds[TurnFinished], kinds[CallStarted], kinds[CallFinished]) == (4, 1, 1)
    assert kinds[TurnStarted] == 4, "a turn that was cut off is begun once"
    assert written.finished is not None


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


@pytest.mark.parametrize(("effect", "runs"), [("read", 2), ("sandbox", 2), ("outside", 1)])
async def test_a_call_in_doubt_runs_again_only_where_that_does_no_harm(tmp_path: Path, effect: Any, runs: int) -> None:
    ran = []

    @tool(effect=effect)
    def touch() -> str:
        """Touch."""
        ran.append(1)
        return "touched"

    dying = Dies(tmp_path / "runs.db", CallFinished)
    with pytest.raises(SystemError):
        await agent(dying, calls(("touch", {})), tools=(touch,)).run("the task")
    again = agent(Journal(dying.path), says("done"), tools=(touch,))
    result = await again.resume("last")
    assert len(ran) == runs
    [finished] = [event for event in result.events if isinstance(event, CallFinished)]
    assert finished.content == ("touched" if runs == 2 else IN_DOUBT)
    assert finished.ok is (runs == 2)


async def test_a_model_that_looked_may_repeat_a_call_in_doubt(tmp_path: Path) -> None:
    ran = []

    @tool(effect="outside")
    def touch() -> str:
        """Touch."""
        ran.append(1)
        return "touched"

    dying = Dies(tmp_path / "runs.db", CallFinished)
    with pytest.raises(SystemError):
        await agent(dying, calls(("touch", {})), tools=(touch, look)).run("the task")
    script = calls(("look", {})), calls(("touch", {})), says("done")
    result = await agent(Journal(dying.path), *script, tools=(touch, look)).resume("last")
    assert [e.content for e in result.events if isinstance(e, CallFinished)] == [IN_DOUBT, "seen", "touched"]
    assert len(ran) == 2


async def test_files_and_variables_are_there_again(journal: Journal, tmp_path: Path) -> None:
    given = tmp_path / "orders.csv"
    given.write_text("a,b\n1,2\n")
    first = DummySandbox([Execution("ok", stdout="one"), Execution("error", error="ValueError")])
    cells = calls(("python", {"code": "x = 1"})), calls(("python", {"code": "x = 2; 1/0"}))
    script = *cells, calls(("write_file", {"path": "new.txt", "content": "kept"}))
    with pytest.raises(SystemError):
        await agent(journal, *script, crash, sandbox=first).run("the task", files=[given])
    given.write_text("changed since")
    second = DummySandbox([Execution("ok"), Execution("error"), Execution("ok", stdout="three")])
    out = tmp_path / "out"
    script = calls(("read_file", {"path": "orders.csv"})), calls(("python", {"code": "x"})), says("done")
    result = await agent(journal, *script, sandbox=second, out=out).resume("last")
    assert second.ran == ["x = 1", "x = 2; 1/0", "x"]
    contents = [e.content for e in result.events if isinstance(e, CallFinished)]
    assert contents[3:] == ["1\ta,b\n2\t1,2", "three"]
    assert {path.name: path.read_text() for path in result.files} == {"new.txt": "kept"}


async def test_variables_that_cannot_be_had_again_are_told_as_gone(journal: Journal) -> None:
    first = DummySandbox([Execution("ok", stdout="one")])
    await crashed(journal, calls(("python", {"code": "x = 1"})), sandbox=first)
    second = DummySandbox([Execution("error"), Execution("ok", stdout="two"), Execution("ok", stdout="three")])
    script = calls(("python", {"code": "y"})), calls(("python", {"code": "z"})), says("done")
    result = await agent(journal, *script, sandbox=second).resume("last")
    _, told, after = [e.content for e in result.events if isinstance(e, CallFinished)]
    assert told.startswith("two\n(The interpreter was started anew: variables and imports are gone")
    assert after == "three"


async def test_what_commands_made_besides_files_is_told_as_gone(journal: Journal) -> None:
    first = DummySandbox([Execution("ok", stdout="one")])
    await crashed(journal, calls(("shell", {"command": "mkdir d; sleep 9 &"})), sandbox=first)
    second = DummySandbox([Execution("ok", stdout="two"), Execution("ok", stdout="three")])
    script = calls(("shell", {"command": "ls"})), calls(("shell", {"command": "ls d"})), says("done")
    result = await agent(journal, *script, sandbox=second).resume("last")
    _, told, after = [e.content for e in result.events if isinstance(e, CallFinished)]
    assert told.startswith("two\n(Files are back without links, empty folders and permissions; what ran in the back")
    assert after == "three"


async def test_code_that_called_tools_is_not_run_for_its_variables(journal: Journal) -> None:
    """It would call them again."""
    code, called = "tools.add(a=1, b=2)", ToolCall("c1.1", "add", '{"a": 1, "b": 2}')
    call = ToolCall("c1", "python", json.dumps({"code": code}))
    run = await crashed(journal)
    write = journal.writer(run)
    for event in (
        TurnFinished("", 1, FAST, Reply(calls=(call,))),
        CallStarted("", call, {"code": code}),
        CallStarted("", called, {"a": 1, "b": 2}, "c1"),
        CallFinished("", "c1.1", "add", "ok", "3", 0.0, "c1"),
        CallFinished("", "c1", "python", "ok", "3", 0.0),
    ):
        write(event)
    KeptWorkspace(journal, run).save({}, (), whole=True)
    sandbox = DummySandbox([Execution("ok", stdout="new")])
    script = calls(("python", {"code": "y"})), says("done")
    result = await agent(journal, *script, sandbox=sandbox).resume(run)
    assert sandbox.ran == ["y"]
    told = [e for e in result.events if isinstance(e, CallFinished)]
    assert [e.call_id for e in told[:2]] == ["c1.1", "c1"]
    assert "variables and imports are gone" in told[2].content


# --- who may go on -----------------------------------------------------------------------------------


async def test_a_cancelled_run_goes_on(journal: Journal) -> None:
    asked = asyncio.Event()

    async def wait(request: Request) -> Reply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(agent(journal, calls(("add", {"a": 1, "b": 2})), wait).run("the task"))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.runs()[0].exit is Exit.CANCELLED
    result = await agent(journal, says("3")).resume("last")
    assert (result.answer, result.exit) == ("3", Exit.ANSWERED)


async def test_a_run_out_of_budget_gets_it_once_more(journal: Journal) -> None:
    def some(*script: Any) -> Agent:
        return agent(journal, *script, budget=Budget(turns=2))

    adding = [calls(("add", {"a": 1, "b": n})) for n in range(6)]
    assert (await some(*adding[:2]).run("the task")).exit is Exit.BUDGET
    assert (await some(*adding[2:4]).resume("last")).exit is Exit.BUDGET
    with pytest.raises(SystemError):
        await some(adding[4], crash).resume("last")
    result = await some(says("done")).resume("last")
    assert (result.answer, result.exit) == ("done", Exit.ANSWERED)
    assert sum(row.turns for row in result.usage.values()) == 6


async def test_an_answered_run_is_only_told_again(journal: Journal) -> None:
    first = await agent(journal, calls(("add", {"a": 1, "b": 2})), says("3")).run("the task")
    rows = len(journal.read(first.run).events)
    again = await agent(journal).resume(first.run)
    assert (again.answer, again.exit, again.seconds) == ("3", Exit.ANSWERED, first.seconds)
    assert again.usage == first.usage
    assert len(journal.read(first.run).events) == rows


async def test_two_cannot_carry_out_one_run(journal: Journal) -> None:
    run = await crashed(journal)
    other = Journal(journal.path)
    with journal.hold(run):
        assert other.runs()[0].running
        with pytest.raises(RunBusy, match=run):
            await agent(other, says("x")).resume(run)
    assert not other.runs()[0].running
    held = f"with Journal({str(journal.path)!r}).hold({run!r}): print(1, flush=True); input()"
    code = f"from fastslow import Journal\n{held}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    assert process.stdout
    assert await process.stdout.readline() == b"1\n"
    with pytest.raises(RunBusy):
        await agent(journal, says("x")).resume(run)
    process.kill()
    await process.wait()
    assert (await agent(journal, says("x")).resume(run)).answer == "x"
    assert not list(journal.path.with_name("runs.db.running").iterdir())


async def test_one_of_two_that_start_at_once_goes_on(journal: Journal) -> None:
    run = await crashed(journal)

    async def slow(request: Request) -> Reply:
        await asyncio.sleep(0.1)
        return says("x")

    ends = await asyncio.gather(*(agent(journal, slow).resume(run) for _ in range(5)), return_exceptions=True)
    assert Counter(type(end) for end in ends)[RunBusy] == 4


async def test_a_run_that_nobody_knows_cannot_go_on(journal: Journal) -> None:
    with pytest.raises(ConfigurationError, match="keeps no journal"):
        await agent(None).resume("last")
    with pytest.raises(RunUnknown, match="`fastslow runs` lists them"):
        await agent(journal).resume("20200101")


# --- fork and replay ---------------------------------------------------------------------------------


async def test_a_fork_goes_another_way_from_a_turn_on(journal: Journal) -> None:
    first = await agent(journal, calls(("add", {"a": 1, "b": 2})), calls(("add", {"a": 3, "b": 4})), says("7")).run("t")
    journal.fork(first.run, 2, "fork")
    assert journal.runs()[0].forked == first.run
    other = agent(journal, says("only 3"))
    result = await other.resume("fork")
    assert (result.run, result.answer) == ("fork", "only 3")
    [request] = other.engine.requests  # type: ignore[attr-defined]
    assert [m.content for m in request.messages if isinstance(m, ToolResult)] == ["3"]
    assert (await agent(journal).resume(first.run)).answer == "7"
    with pytest.raises(ValueError, match="has the turns 1, 2, 3, got 9"):
        journal.fork(first.run, 9, "other")


async def test_a_replay_says_what_was_said(journal: Journal) -> None:
    script = plan("a", {"do": "b", "after": []}), calls(("add", {"a": 1, "b": 2})), says("B"), says("3"), says("done")
    first = await agent(journal, *script).run("t")
    replay = agent(journal)
    async with aclosing(replay.replay(first.run)) as stream:
        events = [event async for event in stream]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result.answer == first.answer
    told = [event for event in first.events if type(event).__name__ not in ("TurnDelta", "CallOutput")]
    assert sorted(map(repr, events[:-1])) == sorted(map(repr, told))
    assert replay.engine.requests == []  # type: ignore[attr-defined]


async def test_a_replay_of_half_a_run_ends_where_it_ends(journal: Journal) -> None:
    run = await crashed(journal, calls(("add", {"a": 1, "b": 2})))
    async with aclosing(agent(journal).replay(run)) as stream:
        events = [event async for event in stream]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result.exit is Exit.FAILED
    assert "holds no further reply" in events[-1].result.reason


# --- the file ----------------------------------------------------------------------------------------


async def test_the_journal_lists_runs_and_finds_them_by_their_beginning(journal: Journal) -> None:
    first = await agent(journal, says("1")).run("one")
    second = await agent(journal, says("2")).run("two")
    assert [(row.task, row.exit, row.running) for row in journal.runs()] == [
        ("two", Exit.ANSWERED, False),
        ("one", Exit.ANSWERED, False),
    ]
    assert journal.find("last") == second.run
    assert journal.find(first.run) == first.run
    with pytest.raises(RunUnknown, match="2 runs begin with '20'"):
        journal.find("20")
    with pytest.raises(RunUnknown, match="no run ''"):  # an unset variable of a shell
        journal.find("")


async def test_a_run_without_a_journal_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.record.journal.default_path", lambda: tmp_path / "runs.db")
    await agent(None, says("1")).run("one")
    assert not (tmp_path / "runs.db").exists()
    await Agent(engine=ScriptedModel([says("1")]), sandbox=None).run("one")
    assert (tmp_path / "runs.db").stat().st_mode & 0o777 == 0o600


async def test_a_run_goes_on_where_the_default_journal_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.record.journal.default_path", lambda: Path("/proc/no/runs.db"))
    result = await Agent(engine=ScriptedModel([says("1")]), sandbox=None).run("one")
    assert result.exit is Exit.ANSWERED
    [notice] = [event.text for event in result.events if isinstance(event, Notice)]
    assert notice.startswith("this run is not written down and cannot be resumed: ")
    with pytest.raises((OSError, JournalBroken)):
        await Agent(engine=ScriptedModel([]), sandbox=None, journal=Journal("/proc/no/runs.db")).run("one")


def test_a_newer_file_is_left_alone(journal: Journal) -> None:
    with closing(sqlite3.connect(journal.path)) as database, database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalBroken, match="the format 99"):
        journal.runs()


def test_a_file_that_is_no_journal_is_told_as_such(journal: Journal) -> None:
    journal.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalBroken, match=r"not a database; it is damaged: .* move it away"):
        journal.runs()


def test_a_place_that_cannot_be_written_is_told_as_such() -> None:
    with pytest.raises(JournalBroken, match=r"cannot be written: .* FASTSLOW_HOME"):
        Journal("/proc/no/runs.db").runs()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE events SET event = '{broken' WHERE number > 4",
            "cannot be read: .* `fastslow fork the-run --at TURN`",
        ),
        ("UPDATE events SET event = '5' WHERE number > 4", "cannot be read"),
        ('UPDATE events SET event = \'{"event": "call_display"}\' WHERE number > 4', "cannot be read"),
        ("DELETE FROM events WHERE number = 1", "the beginning of run the-run"),
        ("UPDATE runs SET exit = 'martian'", "it is damaged"),
    ],
)
async def test_a_damaged_run_is_told_and_can_be_forked_before_the_damage(
    journal: Journal, damage: str, said: str
) -> None:
    run = (await agent(journal, calls(("add", {"a": 1, "b": 2})), says("3")).run("t")).run
    with closing(sqlite3.connect(journal.path)) as database, database:
        database.execute(damage)
    with pytest.raises(JournalBroken, match=said.replace("the-run", run)):
        journal.runs() if "UPDATE runs" in damage else journal.read(run)
    if "number > 4" in damage:
        journal.fork(run, 1, "fork")
        assert (await agent(journal, says("3")).resume("fork")).answer == "3"


async def test_the_command_does_not_go_on_without_the_tools_of_a_run(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedModel([calls(("add", {"a": 1, "b": 2}))] * 2)
    budget = Budget(turns=1)
    run = (await Agent(engine=engine, tools=[add], sandbox=None, journal=journal, budget=budget).run("t")).run
    monkeypatch.setattr(commands, "Journal", lambda: Journal(journal.path))
    with pytest.raises(ConfigurationError, match=f"given tools in Python, add, .*{run}"):
        commands.resume("last", None, seconds=None, memory=None)


async def test_hostile_text_is_kept(journal: Journal) -> None:
    text = "half \ud83d a pair, \x00, \u2028, \x1b[31m"
    first = await agent(journal, says(text)).run("t")
    assert first.answer == text.strip().replace("\ud83d", "\ufffd")
    assert (await agent(journal).resume("last")).answer == first.answer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("only root may mount a disk of its own")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def test_a_full_disk_ends_the_run_with_one_clear_reason_and_it_goes_on_later(small_disk: Path) -> None:
    filler = small_disk / "filler"

    @tool(effect="read")
    def fill() -> str:
        """Fill the disk."""
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        return "full"

    journal = Journal(small_disk / "runs.db")
    first = await agent(journal, calls(("fill", {})), says("done"), tools=(fill,)).run("t")
    assert first.exit is Exit.FAILED
    assert "free some space on its disk" in first.reason
    assert "fastslow resume" in first.reason
    journal.close()
    filler.unlink()

    @tool(name="fill", effect="read")
    def now_fine() -> str:
        """Do nothing."""
        return "fine"

    again = await agent(journal, says("done"), tools=(now_fine,)).resume("last")
    assert (again.exit, again.answer) == (Exit.ANSWERED, "done")
    journal.close()


async def test_notices_are_said_once(journal: Journal) -> None:
    reply = says("3", notes=("mended",))
    run = await crashed(journal, calls(("add", {"a": 1, "b": 2}), notes=("mended",)))
    result = await agent(journal, reply).resume(run)
    assert [e.text for e in result.events if isinstance(e, Notice)] == ["mended", "mended"]
    assert sum(isinstance(e, Notice) for e in journal.read(run).events) == 2


async def test_only_what_begins_a_turn_does_not_wait_for_the_disk(journal: Journal) -> None:
    said: list[str] = []
    with journal.transaction() as database:
        database.set_trace_callback(said.append)
    await agent(journal, calls(("add", {"a": 1, "b": 2})), says("3")).run("add")
    waits, late = False, Counter[str]()
    for statement in said:
        if statement.startswith("PRAGMA synchronous"):
            waits = statement.endswith("FULL")
        elif statement.startswith("INSERT INTO events") and not waits:
            late[statement.partition('"event": "')[2].partition('"')[0]] += 1
    assert late == {"turn_started": 2}
