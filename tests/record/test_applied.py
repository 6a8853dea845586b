"""What was written to a user's folder, in the journal: taken back from there, and gone with its run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from fastslow import Agent, DummySandbox, Journal, JournalBroken, RunUnknown, ScriptedModel
from fastslow.agent.errors import ApplyFailed, Conflicted
from fastslow.agent.record.applied import AppliedChanges
from fastslow.agent.tree.apply import carry_out, plan_apply, plan_undo
from fastslow.agent.tree.changes import FILE, PROGRAM
from tests.agent.helpers import says
from tests.tree.helpers import Contents, State, read, write

BEFORE: State = {"a": (FILE, b"1\n2\n3\n4\n5\n"), "gone": (PROGRAM, b"\0\xff")}
AFTER: State = {"a": (FILE, b"1\n2\n3\n4\nfive\n"), "d/new": (FILE, b"x" * 600_000)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def a_run(journal: Journal) -> str:
    return Agent(engine=ScriptedModel([says("done")]), sandbox=DummySandbox(), journal=journal).run_sync("task").run


def apply(kept: AppliedChanges, root: Path, before: State = BEFORE, after: State = AFTER) -> None:
    contents = Contents()
    changes = contents.changes(before, after)
    for content in contents.values():
        kept.keep(content)
    carry_out(plan_apply(root, changes, kept.content), kept.keep, partial(kept.record, root))


def undo(kept: AppliedChanges) -> None:
    last = kept.last()
    assert last
    carry_out(plan_undo(last.root, last.files, kept.content), kept.keep, lambda applied: kept.undone(last.number))


def test_it_is_taken_back_by_another_process_the_last_first(journal: Journal, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    write(root, BEFORE)
    (root / "gone").chmod(0o700)
    run = a_run(journal)
    kept = AppliedChanges(journal, run)
    assert kept.last() is None
    apply(kept, root)
    further: State = {**AFTER, "a": (PROGRAM, b"")}
    apply(kept, root, AFTER, further)
    journal.close()
    later = AppliedChanges(Journal(journal.path), run)
    last = later.last()
    assert last
    assert (last.number, last.root, [file.path for file in last.files]) == (2, root, ["a"])
    undo(later)
    assert read(root) == AFTER
    undo(later)
    assert read(root) == BEFORE
    assert (root / "gone").stat().st_mode & 0o777 == 0o700
    assert later.last() is None


def test_what_stood_there_outlives_other_runs_and_goes_with_its_own(journal: Journal, tmp_path: Path) -> None:
    write(tmp_path / "root", {**BEFORE, "a": (FILE, b"one\n2\n3\n4\n5\n")})  # the user's own, to be merged
    run, other = a_run(journal), a_run(journal)
    kept = AppliedChanges(journal, run)
    apply(kept, tmp_path / "root")
    journal.remove([other])
    undo(kept)
    assert read(tmp_path / "root")["a"] == (FILE, b"one\n2\n3\n4\n5\n")
    journal.remove([run])
    assert journal.rows("SELECT * FROM applied") == []
    assert journal.rows("SELECT * FROM contents") == []


def test_a_kept_content_waits_for_its_record(journal: Journal) -> None:
    run, other = a_run(journal), a_run(journal)
    digest = AppliedChanges(journal, run).keep(b"1" * (3 << 20))  # three times as much as waits
    journal.remove([other])
    assert AppliedChanges(journal, run).content(digest) == b"1" * (3 << 20)


def test_small_contents_are_put_in_together_and_before_what_they_are_for(journal: Journal, tmp_path: Path) -> None:
    root, contents = tmp_path / "root", Contents()
    before = {f"{number}": (FILE, b"%d" % number) for number in range(1200)}
    write(root, before)
    kept = AppliedChanges(journal, a_run(journal))
    journal.rows("CREATE TABLE writes (size INTEGER)")
    journal.rows("CREATE TRIGGER w AFTER INSERT ON contents BEGIN INSERT INTO writes VALUES (1); END")
    plan = plan_apply(root, contents.changes(before, {}), kept.content)
    with pytest.raises(ZeroDivisionError):  # whatever it is: nothing is recorded, and all comes back
        carry_out(plan, kept.keep, lambda applied: 1 // 0)
    assert read(root) == before
    assert journal.rows("SELECT count(*) FROM writes") == [(1000,)]
    carry_out(plan, kept.keep, partial(kept.record, root))
    assert journal.rows("SELECT count(*) FROM writes") == [(1200,)]
    undo(kept)
    assert read(root) == before


def test_nothing_to_undo_is_undone(journal: Journal, tmp_path: Path) -> None:
    write(tmp_path / "root", BEFORE)
    kept = AppliedChanges(journal, a_run(journal))
    apply(kept, tmp_path / "root")
    apply(kept, tmp_path / "root")  # nothing to do, so nothing to undo
    assert journal.rows("SELECT DISTINCT number FROM applied") == [(1,)]
    undo(kept)
    assert kept.last() is None


def test_a_conflict_leaves_it_to_be_undone(journal: Journal, tmp_path: Path) -> None:
    write(tmp_path / "root", BEFORE)
    kept = AppliedChanges(journal, a_run(journal))
    apply(kept, tmp_path / "root")
    (tmp_path / "root/gone").write_bytes(b"mine")
    with pytest.raises(Conflicted):
        undo(kept)
    assert kept.last() is not None


def test_without_its_run_nothing_is_written(journal: Journal, tmp_path: Path) -> None:
    write(tmp_path / "root", BEFORE)
    kept = AppliedChanges(journal, "none")
    with pytest.raises(RunUnknown):
        apply(kept, tmp_path / "root")
    assert read(tmp_path / "root") == BEFORE


def test_a_journal_that_cannot_be_written_leaves_the_folder_as_it_was(journal: Journal, tmp_path: Path) -> None:
    write(tmp_path / "root", BEFORE)
    kept = AppliedChanges(journal, a_run(journal))
    contents = Contents()
    changes = contents.changes(BEFORE, AFTER)
    plan = plan_apply(tmp_path / "root", changes, contents.__getitem__)
    journal.rows("DROP TABLE applied")
    with pytest.raises(JournalBroken):
        carry_out(plan, contents.keep, partial(kept.record, tmp_path / "root"))
    assert read(tmp_path / "root") == BEFORE


def test_a_content_that_is_not_as_it_was_is_not_used(journal: Journal) -> None:
    kept = AppliedChanges(journal, a_run(journal))
    digest = kept.keep(b"1")
    assert kept.content(digest) == b"1"
    journal.rows("UPDATE contents SET content = ?", b"2")
    with pytest.raises(ApplyFailed, match="is damaged"):
        kept.content(digest)
    with pytest.raises(ApplyFailed, match="is not in the journal"):
        kept.content("0" * 64)
