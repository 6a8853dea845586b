"""The workspace of a run in the journal."""

from __future__ import annotations

from pathlib import Path

from fastslow import Journal
from fastslow.agent.record.contents import Kept, given, latest, store
from fastslow.agent.record.kept import KeptWorkspace
from fastslow.agent.record.trees import has_changes
from tests.record.test_applied import a_run


def test_who_follows_finds_the_files_also_where_nothing_was_changed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    run = a_run(journal)
    with journal.transaction() as database:
        digest = store(database, b"1")
        files = [(run, 0, path, digest, "100644") for path in ("a", "b")]
        database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", files)
    begun = given(journal.rows, run)
    assert not has_changes(journal, run)
    kept = KeptWorkspace(journal, run)
    kept.save(begun, (), whole=True)
    assert has_changes(journal, run), "it was written down, as it was"
    assert latest(journal.rows, run) == begun
    kept.save({"c": Kept(digest, "100755")}, ("a",), whole=False)
    assert latest(journal.rows, run) == {"b": Kept(digest), "c": Kept(digest, "100755")}
