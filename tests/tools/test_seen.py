"""What a run remembers of its files."""

from __future__ import annotations

from fastslow.tools.seen import Seen


def test_what_was_read_or_written_is_known_until_it_changes() -> None:
    seen = Seen()
    assert not seen.knows("a", "1")
    assert [seen.read("a", "1", 1, 9).times, seen.read("a", "1", 1, 9).times, seen.read("a", "2", 1, 9).times] == [
        1,
        2,
        1,
    ]
    assert [seen.knows("a", digest) for digest in ("1", "2")] == [False, True]
    assert [seen.edit_failed("a"), seen.edit_failed("a"), seen.edit_failed("b")] == [1, 2, 1]
    seen.wrote("a", "3")
    assert (seen.knows("a", "3"), seen.edit_failed("a")) == (True, 1)


def test_an_earlier_life_is_recalled_up_to_what_code_changed() -> None:
    seen = Seen()
    seen.recall("read_file", {"path": "/work/a"}, ())
    seen.recall("edit_file", {"path": "b", "edits": []}, ("b",))
    seen.recall("shell", {"command": "make"}, ("c",))
    assert [seen.knows(path, "whatever") for path in "abc"] == [True, True, False]
    seen.recall("python", {"code": "…"}, ("a",))
    assert [seen.knows(path, "whatever") for path in "abc"] == [False, True, False]
