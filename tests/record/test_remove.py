"""What goes from the journal when runs are removed, and what must stay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, DummySandbox, Exit, Journal, RunBusy, RunFollowed, RunUnknown, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import RunResumed
from fastslow.agent.record.contents import Contents, Kept
from fastslow.agent.record.kept import KeptWorkspace
from tests.agent.helpers import add, calls, says


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def carry_out(journal: Journal, task: str = "the task", *script: Any, files: tuple[Path, ...] = (), **how: Any) -> str:
    """The id of a run that was answered."""
    engine = ScriptedModel(script or [says("done")])
    agent = Agent(engine=engine, tools=[add], sandbox=DummySandbox(), journal=journal)
    return agent.run_sync(task, files=files, **how).run


def stored(journal: Journal, table: str) -> int:
    journal.close()
    with sqlite3.connect(journal.path) as database:
        [count] = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    database.close()
    return int(count)


def given(tmp_path: Path, name: str, size: int = 1000) -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_removed_run_is_in_no_byte_of_the_file_and_its_space_is_given_back(journal: Journal, tmp_path: Path) -> None:
    kept = carry_out(journal)
    journal.close()
    empty = journal.path.stat().st_size
    secret = given(tmp_path, "secret.bin", 3 << 20)
    gone = carry_out(journal, "the secret task", files=(secret,))
    journal.remove([gone])
    assert journal.shrink() >= 3 << 20
    assert [info.run for info in journal.runs()] == [kept]
    with pytest.raises(RunUnknown):
        journal.read(gone)
    assert journal.read(kept).finished is not None
    journal.close()
    [file] = [path for path in tmp_path.glob("runs.db*") if path.is_file()]  # no side file is left
    left = file.read_bytes()
    assert len(left) <= empty + 65536
    assert b"the secret task" not in left
    assert secret.read_bytes()[:64] not in left
    assert secret.stat().st_size == 3 << 20, "the user's own file stays"


def test_a_journal_of_before_gives_its_space_back_too(journal: Journal, tmp_path: Path) -> None:
    runs = [carry_out(journal, files=(given(tmp_path, f"{n}.bin", 1 << 20),)) for n in range(2)]
    journal.close()
    with sqlite3.connect(journal.path, isolation_level=None) as database:
        database.execute("PRAGMA auto_vacuum = NONE")
        database.execute("VACUUM")
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    database.close()
    for run in runs:
        journal.remove([run])
        assert journal.shrink() >= 1 << 20
    assert stored(journal, "contents") == 0


def test_files_that_another_run_has_stay(journal: Journal, tmp_path: Path) -> None:
    shared, own = given(tmp_path, "shared.bin"), given(tmp_path, "own.bin")
    gone = carry_out(journal, files=(shared, own))
    kept = carry_out(journal, files=(shared,))
    assert stored(journal, "contents") == 2
    journal.remove([gone])
    assert stored(journal, "contents") == 1
    assert journal.read(kept).inputs == {"shared.bin": shared.read_bytes()}


async def test_a_content_on_its_way_in_stays_when_others_go(journal: Journal, tmp_path: Path) -> None:
    large = os.urandom((3 << 20) + 5)
    file = tmp_path / "large.bin"
    file.write_bytes(large)
    gone = (await asyncio.to_thread(carry_out, journal, files=(file,)),)
    kept = KeptWorkspace(journal, "run")
    content = kept.content()
    for start in range(0, len(large), 1 << 20):
        content.write(large[start : start + (1 << 20)])
    digest = await content.keep()
    content.close()
    other = Journal(journal.path)
    other.remove(gone)
    kept.save({"large.bin": Kept(digest)}, (), whole=True)
    assert Contents(journal.rows, {"large.bin": Kept(digest)}) == {"large.bin": large}
    assert (stored(journal, "contents"), stored(journal, "files")) == (13, 2)


def test_a_fork_goes_on_without_its_parent(journal: Journal, tmp_path: Path) -> None:
    file = given(tmp_path, "a.bin")
    parent = carry_out(journal, "Add.", calls(("add", {"a": 1, "b": 2})), says("3"), files=(file,))
    journal.fork(parent, 2, "fork")
    journal.remove([parent])
    assert [(info.run, info.forked) for info in journal.runs()] == [("fork", parent)]
    agent = Agent(engine=ScriptedModel([says("three")]), tools=[add], sandbox=DummySandbox(), journal=journal)
    result = asyncio.run(agent.resume("fork"))
    assert (result.exit, result.answer) == (Exit.ANSWERED, "three")
    assert journal.read("fork").inputs == {"a.bin": file.read_bytes()}


def test_a_run_that_others_follow_goes_only_with_them(journal: Journal) -> None:
    first = carry_out(journal)
    second = carry_out(journal, after=first)
    third = carry_out(journal, after=second)
    alone = carry_out(journal)
    assert [info.after for info in journal.runs()] == ["", second, first, ""]
    for some, told in (([first], [second, third]), ([first, third, alone], [second]), ([second], [third])):
        with pytest.raises(RunFollowed) as refused:
            journal.remove(some)
        message = str(refused.value)
        assert f"neither resumed nor replayed without it: {', '.join(told)};" in message
        assert message.endswith(f"fastslow runs rm {' '.join([*sorted(some), *told])}")
    assert len(journal.runs()) == 4, "all of them or none"
    journal.remove([third])
    journal.remove([second, first])
    assert [info.run for info in journal.runs()] == [alone]


def test_a_run_that_is_carried_out_stays(journal: Journal) -> None:
    done, running = carry_out(journal), carry_out(journal)
    with Journal(journal.path).hold(running):
        with pytest.raises(RunBusy, match=f"run {running} is being carried out"):
            journal.remove([done, running])
        assert len(journal.runs()) == 2, "all of them or none"
    journal.remove([done, running])
    assert (stored(journal, "runs"), stored(journal, "events"), stored(journal, "files")) == (0, 0, 0)


def test_what_is_not_there_cannot_be_removed(journal: Journal) -> None:
    run = carry_out(journal)
    with pytest.raises(RunUnknown, match="no run 'nobody'"):
        journal.remove([run, "nobody"])
    assert len(journal.runs()) == 1


def test_a_run_whose_beginning_cannot_be_read_can_be_removed(journal: Journal) -> None:
    run = carry_out(journal)
    journal.close()
    with sqlite3.connect(journal.path) as database:
        database.execute("UPDATE events SET event = 'no JSON' WHERE number = 1")
    database.close()
    journal.remove([run])
    assert journal.runs() == ()


def test_nothing_is_written_of_a_run_that_was_removed_while_it_began_to_go_on(journal: Journal) -> None:
    run = carry_out(journal)
    write = journal.writer(run)
    Journal(journal.path).remove([run])
    with pytest.raises(RunUnknown, match="was removed from the journal meanwhile"):
        write(RunResumed(run, 1, 1.0))
    assert stored(journal, "events") == 0


def test_a_task_whose_run_is_removed_while_it_starts_is_not_begun(journal: Journal) -> None:
    class Removes(ScriptedModel):
        async def connect(self) -> tuple[str, ...]:
            Journal(journal.path).remove([first])
            return await super().connect()

    def never(request: Request) -> Reply:
        raise AssertionError("the model is not asked")

    first = carry_out(journal)
    agent = Agent(engine=Removes([never]), tools=[add], sandbox=None, journal=journal)
    result = agent.run_sync("And now?", after=first)
    assert result.exit is Exit.FAILED
    assert f"run {first}, which the task follows, was removed" in result.reason
    assert (stored(journal, "runs"), stored(journal, "events")) == (0, 0)
