"""Changes written to a user's folder and taken back: nothing of the user's is lost, whatever happens in between."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow import ConfigurationError
from fastslow.agent.errors import ApplyFailed, Conflicted
from fastslow.agent.tree.apply import Applied, Plan, carry_out, plan_apply, plan_undo
from fastslow.agent.tree.changes import FILE, LINK, PROGRAM, Change, Version
from tests.tree.helpers import Contents, State, read, write

TEXT = b"".join(b"line %d\n" % n for n in range(20))
TOP, END = TEXT.replace(b"line 1\n", b"one\n"), TEXT.replace(b"line 18\n", b"eighteen\n")
BOTH = TOP.replace(b"line 18\n", b"eighteen\n")
BEFORE: State = {
    "edit.py": (FILE, TEXT),
    "run.sh": (FILE, b"#!/bin/sh\n"),
    "gone/deep/a": (FILE, b"1"),
    "kept/b": (FILE, b"2"),
    "kept/c": (FILE, b"3"),
    "old": (FILE, b"renamed\r\n\xff"),
    "link": (LINK, b"kept"),
    "binary": (FILE, bytes(range(256))),
    "was_file": (FILE, b"x"),
    "was_folder/x": (FILE, b"x"),
    "was_folder/y/z": (FILE, b"y"),
}
AFTER: State = {
    "edit.py": (FILE, END),
    "run.sh": (PROGRAM, b"#!/bin/sh\n"),
    "kept/c": (FILE, b"3"),
    "new/deep/name": (FILE, b"renamed\r\n\xff"),
    "link": (LINK, b"kept/c"),
    "binary": (FILE, bytes(range(256)) * 2),
    "was_file/in": (FILE, b"x"),
    "was_folder": (PROGRAM, b"x"),
    "empty": (FILE, b""),
}


class World:
    """A folder, what a run made of it, and the contents that are kept."""

    def __init__(self, root: Path, before: State, after: State) -> None:
        self.root, self.before, self.after = root, before, after
        self.contents = Contents()
        self.changes = self.contents.changes(before, after)
        write(root, before)

    def plan(self, *paths: str) -> Plan:
        return plan_apply(self.root, self.changes, self.contents.__getitem__, paths)

    def apply(self, *paths: str) -> tuple[Applied, ...]:
        return carry_out(self.plan(*paths), self.contents.keep)

    def undo(self, applied: Sequence[Applied]) -> tuple[Applied, ...]:
        return carry_out(plan_undo(self.root, applied, self.contents.__getitem__), self.contents.keep)

    def hidden(self) -> list[str]:
        return [path.name for path in self.root.glob(".fastslow-*")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, BEFORE, AFTER)


def folders(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir() and not path.is_symlink()}


def test_all_kinds_of_changes_are_written_and_taken_back(world: World) -> None:
    before = folders(world.root)
    applied = world.apply()
    assert read(world.root) == AFTER
    assert folders(world.root) == {"kept", "new", "new/deep", "was_file"}
    assert [Change(file.path, file.before, file.after) for file in sorted(applied, key=lambda file: file.path)] == [
        *world.changes
    ]
    world.undo(applied)
    assert read(world.root) == BEFORE
    assert folders(world.root) == before
    assert world.hidden() == []


def test_a_plan_writes_nothing(world: World) -> None:
    plan = world.plan()
    assert len(plan.steps) == len(world.changes)
    assert read(world.root) == BEFORE
    assert world.hidden() == []


def test_twice_is_once(world: World) -> None:
    world.apply()
    plan = world.plan()
    assert (plan.steps, plan.conflicts) == ((), ())
    assert plan.done == tuple(change.path for change in world.changes)
    assert carry_out(plan, world.contents.keep) == ()


def test_undoing_twice_finds_nothing_to_do(world: World) -> None:
    applied = world.apply()
    world.undo(applied)
    assert world.undo(applied) == ()
    assert read(world.root) == BEFORE


def test_what_the_user_changed_elsewhere_in_a_file_is_merged_both_ways(world: World) -> None:
    (world.root / "edit.py").write_bytes(TOP)
    applied = world.apply()
    assert (world.root / "edit.py").read_bytes() == BOTH
    later = BOTH.replace(b"line 9\n", b"nine\n")
    (world.root / "edit.py").write_bytes(later)
    world.undo(applied)
    assert (world.root / "edit.py").read_bytes() == TOP.replace(b"line 9\n", b"nine\n")


def test_a_change_that_the_user_made_too_is_nothing_to_do(world: World) -> None:
    (world.root / "edit.py").write_bytes(BOTH)  # all that the run did, and more
    (world.root / "gone/deep/a").unlink()
    plan = world.plan("edit.py", "gone")
    assert (plan.steps, plan.conflicts, plan.done) == ((), (), ("edit.py", "gone/deep/a"))


def test_modes_merge_with_contents(world: World) -> None:
    (world.root / "edit.py").chmod(0o755)
    (world.root / "run.sh").write_bytes(b"#!/bin/bash\n")
    world.apply()
    assert read(world.root)["edit.py"] == (PROGRAM, END)
    assert read(world.root)["run.sh"] == (PROGRAM, b"#!/bin/bash\n")


def _write(path: str, content: bytes) -> Callable[[Path], object]:
    def do(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    return do


def _replace(path: str, by: Callable[[Path], object]) -> Callable[[Path], object]:
    def do(root: Path) -> None:
        if (root / path).is_dir():
            (root / path).rename(root / "moved away")
        else:
            (root / path).unlink(missing_ok=True)
        by(root / path)

    return do


CONFLICTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "same lines": (_write("edit.py", TEXT.replace(b"line 18\n", b"18\n")), "edit.py", "same lines"),
    "binary": (_write("binary", b"\0"), "binary", "no text"),
    "deleted": (lambda root: (root / "edit.py").unlink(), "edit.py", "deleted meanwhile"),
    "changed, to be deleted": (_write("gone/deep/a", b"2"), "gone/deep/a", "would be deleted"),
    "new on both sides": (_write("new/deep/name", b"mine"), "new/deep/name", "does not know"),
    "folder in its place": (_replace("edit.py", Path.mkdir), "edit.py", "a folder is in its place"),
    "link in its place": (_replace("edit.py", lambda path: path.symlink_to("kept/b")), "edit.py", "a link"),
    "pipe in its place": (_replace("edit.py", os.mkfifo), "edit.py", "no file"),
    "link on the way": (_replace("new", lambda path: path.symlink_to("kept")), "new/deep/name", "a link is in"),
    "file on the way": (_write("new", b"1"), "new/deep/name", "a file is in the place of the folder new"),
    "more in the folder": (_write("was_folder/y/mine", b"1"), "was_folder", "a folder is in its place"),
    "file kept": (_write("was_file", b"mine"), "was_file", "would be deleted"),
    "link changed": (_replace("link", lambda path: path.symlink_to("mine")), "link", "is a link"),
    "large": (lambda root: os.truncate(root / "edit.py", 65 << 20), "edit.py", "more than 64 MiB"),
}


@pytest.mark.parametrize(("do", "path", "reason"), CONFLICTS.values(), ids=CONFLICTS)
def test_a_conflict_is_named_and_nothing_is_written(
    world: World, do: Callable[[Path], object], path: str, reason: str
) -> None:
    do(world.root)
    pipes = {name for name in os.listdir(world.root) if stat.S_ISFIFO((world.root / name).lstat().st_mode)}
    there = read_but(world.root, pipes)
    with pytest.raises(Conflicted) as error:
        world.apply()
    assert reason in dict(error.value.conflicts)[path]
    assert path in str(error.value)
    assert read_but(world.root, pipes) == there
    assert world.hidden() == []


def read_but(root: Path, pipes: set[str]) -> State:
    for name in pipes:
        os.rename(root / name, root.parent / f"{root.name}-{name}")
    try:
        return read(root)
    finally:
        for name in pipes:
            os.rename(root.parent / f"{root.name}-{name}", root / name)


def test_every_conflict_is_named(world: World) -> None:
    _write("edit.py", b"mine")(world.root)
    _write("binary", b"mine")(world.root)
    assert [conflict.path for conflict in world.plan().conflicts] == ["binary", "edit.py"]


def test_undo_keeps_what_was_written_since(world: World) -> None:
    applied = world.apply()
    for path in ("edit.py", "empty", "gone/deep/a"):
        _write(path, b"mine")(world.root)
    there = read(world.root)
    with pytest.raises(Conflicted) as error:
        world.undo(applied)
    assert [path for path, _ in error.value.conflicts] == ["edit.py", "empty", "gone/deep/a"]
    assert read(world.root) == there


def test_paths_pick_files_and_folders(world: World) -> None:
    world.apply("kept", "./run.sh", str(world.root / "empty"))
    changed = {path for path in AFTER | BEFORE if read(world.root).get(path) != BEFORE.get(path)}
    assert changed == {"kept/b", "run.sh", "empty"}
    with pytest.raises(ConfigurationError, match=r"'edit.pi' was not changed by the run; what was: edit\.py"):
        world.apply("edit.pi")
    assert len(world.plan(".").steps) == len(world.changes) - 3


def test_permissions_stay_the_users_own(world: World) -> None:
    (world.root / "edit.py").chmod(0o600)
    (world.root / "run.sh").chmod(0o640)
    (world.root / "gone/deep/a").chmod(0o400)
    applied = world.apply()

    def mode(path: str) -> int:
        return stat.S_IMODE((world.root / path).stat().st_mode)

    assert (mode("edit.py"), mode("run.sh")) == (0o600, 0o750)
    world.undo(applied)
    assert (mode("edit.py"), mode("run.sh"), mode("gone/deep/a")) == (0o600, 0o640, 0o400)


def change(contents: Contents, path: str, content: bytes, mode: str = FILE) -> Change:
    return Change(path, None, Version(contents.keep(content), len(content), mode))


@pytest.mark.parametrize(
    "path",
    ["../out", "/tmp/out", "a/../../out", ".git/hooks/x", "a/.GIT/config", ".fastslow-apply-1/x", "a\nb", "a//b", ""],
)
def test_no_run_writes_there(tmp_path: Path, path: str) -> None:
    contents = Contents()
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(Conflicted):
        carry_out(plan_apply(root, [change(contents, path, b"x")], contents.__getitem__), contents.keep)
    assert read(tmp_path) == {}


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x", ".git/config", "a/../.GIT"])
def test_a_new_link_stays_inside(tmp_path: Path, target: str) -> None:
    contents = Contents()
    plan = plan_apply(tmp_path, [change(contents, "link", os.fsencode(target), LINK)], contents.__getitem__)
    assert "leads out" in plan.conflicts[0].reason


def test_a_link_of_the_users_own_comes_back_wherever_it_leads(tmp_path: Path) -> None:
    world = World(tmp_path, {"l": (LINK, b"/etc/hosts")}, {})
    world.undo(world.apply())
    assert read(tmp_path) == {"l": (LINK, b"/etc/hosts")}


def test_links_on_the_way_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, {"a": (FILE, b"1")})
    world = World(tmp_path / "root", {"d/a": (FILE, b"1")}, {"d/a": (FILE, b"2")})
    plan = world.plan()
    (world.root / "d").rename(world.root / "e")
    (world.root / "d").symlink_to(outside)
    assert "a link" in world.plan().conflicts[0].reason
    with pytest.raises(ApplyFailed, match="changed while"):  # it came after the plan was made
        carry_out(plan, world.contents.keep)
    assert read(outside) == {"a": (FILE, b"1")}


# --- what comes in between ---------------------------------------------------------------------------


@contextmanager
def disturbed(monkeypatch: pytest.MonkeyPatch, call: int, do: Callable[[], object]) -> Iterator[list[str]]:
    """Before the so-many-th call that changes something on the disk, something happens."""
    calls: list[str] = []

    def disturb(name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            do()
        return real(*args, **kwargs)

    with monkeypatch.context() as patched:
        for name in ("rename", "link", "mkdir", "rmdir", "fsync", "symlink", "unlink"):
            real = getattr(os, name) if name != "fsync" else lambda descriptor: None  # the machine goes on
            patched.setattr(os, name, partial(disturb, name, real))
        yield calls


def without_hidden(root: Path) -> State:
    return {path: file for path, file in read(root).items() if not path.startswith(".fastslow-")}


def count(world: World, monkeypatch: pytest.MonkeyPatch) -> int:
    with disturbed(monkeypatch, 0, lambda: None) as calls:
        applied = world.apply()
    world.undo(applied)
    return len(calls)


def test_a_failure_anywhere_leaves_all_or_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in range(1, count(world, monkeypatch) + 1):
        applied: tuple[Applied, ...] = ()
        with disturbed(monkeypatch, call, fail), suppress(ApplyFailed):
            applied = world.apply()
        assert without_hidden(world.root) == (AFTER if applied else BEFORE), call
        world.undo(applied)
        assert folders(world.root) == {"gone", "gone/deep", "kept", "was_folder", "was_folder/y"}, call
        assert read(world.root) == BEFORE, call
    assert world.hidden() == []


def test_a_kill_anywhere_is_put_right_by_the_next_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = set()
    for call in range(1, count(world, monkeypatch) + 1):
        child = os.fork()
        if not child:
            with disturbed(monkeypatch, call, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                world.apply()
            os._exit(0)
        os.waitpid(child, 0)
        broken = without_hidden(world.root) not in (BEFORE, AFTER)
        plan = world.plan()
        there = read(world.root)
        assert there in (BEFORE, AFTER), call
        assert bool(plan.notices) or not broken, call
        assert all("taken back" in notice for notice in plan.notices)
        assert world.hidden() == [], call
        outcomes.add((bool(plan.notices), there == AFTER))
        if there == AFTER:
            applied = [Applied(change.path, change.before, change.after) for change in world.changes]
            world.undo(applied)
        assert read(world.root) == BEFORE, call
    assert {(True, False), (False, True), (False, False)} <= outcomes


def test_an_edit_at_any_moment_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both as an editor writes that opens the file, and as one does that puts a new file in its place."""

    def open_and_write() -> None:
        (world.root / "edit.py").write_bytes(b"mine")

    def put_in_place() -> None:
        (world.root.parent / "mine").write_bytes(b"mine")
        os.replace(world.root.parent / "mine", world.root / "edit.py")

    for call in range(1, count(world, monkeypatch) + 1):
        for edit in (open_and_write, put_in_place):
            with disturbed(monkeypatch, call, edit):
                try:
                    world.apply()
                except (ApplyFailed, Conflicted):
                    assert {path: file for path, file in read(world.root).items() if path != "edit.py"} | {
                        "edit.py": BEFORE["edit.py"]
                    } in (BEFORE, BEFORE | {"edit.py.before-1": BEFORE["edit.py"]}), call
            contents = [content for path, (_, content) in read(world.root).items() if path.startswith("edit.py")]
            assert b"mine" in contents, (call, edit)
            assert world.hidden() == [], call
            shutil.rmtree(world.root)
            write(world.root, BEFORE)


def test_a_full_disk_is_found_before_anything_moves(world: World) -> None:
    """A real limit: no file of this process may become larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    plan = world.plan()
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(ApplyFailed, match="File too large; nothing was changed"):
            carry_out(plan, world.contents.keep)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert read(world.root) == BEFORE
    assert world.hidden() == []


def test_what_cannot_be_written_down_is_taken_back(world: World) -> None:
    def fail(applied: tuple[Applied, ...]) -> None:
        raise RuntimeError("the journal is full")

    with pytest.raises(RuntimeError, match="the journal is full"):
        carry_out(world.plan(), world.contents.keep, fail)
    assert read(world.root) == BEFORE
    assert world.hidden() == []


def test_a_file_system_without_second_names_does_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    world.undo(world.apply())
    assert read(world.root) == BEFORE
    test_a_failure_anywhere_leaves_all_or_nothing(world, monkeypatch)
    test_a_kill_anywhere_is_put_right_by_the_next_call(world, monkeypatch)


def test_two_at_once_are_one_after_the_other(world: World) -> None:
    def again(applied: tuple[Applied, ...]) -> None:
        with pytest.raises(ApplyFailed, match="by another process"):
            world.plan()

    assert carry_out(world.plan(), world.contents.keep, again)


def test_a_folder_that_looks_like_ours_harms_nobody(world: World) -> None:
    """It may come with a repository."""
    staging = world.root / ".fastslow-apply-1"
    staging.mkdir()
    (staging / "old-0").write_bytes(b"evil")
    move = '{"path": "%s", "old": {"digest": "", "size": 0, "mode": "100644"}, "new": null}'
    for path in (".git/hooks/post-checkout", "../out", "kept/../.git/x"):
        (staging / "manifest.json").write_text('{"moves": [%s], "made": [], "removed": {}}' % (move % path))
        assert "is no folder of files on their way" in world.plan().notices[0]
        assert not (world.root / ".git").exists()
    for text in ("[]", "{", '{"moves": 3}', "null", '{"moves": [], "made": ["../x"], "removed": {}}'):
        (staging / "manifest.json").write_text(text)
        world.plan()
    assert {path: file for path, file in read(world.root).items() if ".fastslow" not in path} == BEFORE


def test_a_damaged_content_is_not_written(world: World) -> None:
    plan = plan_apply(world.root, world.changes, lambda digest: b"other")
    with pytest.raises(ApplyFailed, match="damaged"):
        carry_out(plan, world.contents.keep)
    assert read(world.root) == BEFORE


def test_a_disk_that_knows_no_programs(tmp_path: Path) -> None:
    """There each file is one, or none: what the change made is known again by its content."""
    world = World(tmp_path, {"gone": (FILE, b"1")}, {"new": (FILE, b"2")})
    (tmp_path / "gone").chmod(0o755)
    applied = world.apply()
    (tmp_path / "new").chmod(0o755)
    assert world.plan().done == ("gone", "new")
    world.undo(applied)
    assert read(tmp_path) == {"gone": (PROGRAM, b"1")}


def test_nothing_is_written_below_a_folder_of_gits(tmp_path: Path) -> None:
    (tmp_path / ".git/hooks").mkdir(parents=True)
    contents = Contents()
    for folder in (".git", ".git/hooks"):
        with pytest.raises(ApplyFailed, match="Git's own"):
            plan_apply(tmp_path / folder, [change(contents, "post-checkout", b"x", PROGRAM)], contents.__getitem__)


def test_a_folder_that_is_gone(world: World) -> None:
    plan = world.plan()
    world.root.rename(world.root.with_name("elsewhere"))
    with pytest.raises(ApplyFailed, match="cannot be opened"):
        carry_out(plan, world.contents.keep)


names = st.sampled_from(["a", "b", "a/x", "a/y", "d/e/f", "b/x/y"])
states = st.dictionaries(
    names,
    st.tuples(st.sampled_from([FILE, PROGRAM]), st.sampled_from([b"", b"1\n", b"1\n2\n3\n4\n5\n", b"0\n2\n3\n4\n9\n"])),
).map(lambda state: {path: file for path, file in state.items() if not any(path.startswith(f"{o}/") for o in state)})


@settings(max_examples=60, deadline=None)
@given(states, states)
def test_any_state_becomes_any_other_and_back(
    tmp_path_factory: pytest.TempPathFactory, before: State, after: State
) -> None:
    world = World(tmp_path_factory.mktemp("world"), before, after)
    applied = world.apply()
    assert read(world.root) == after
    world.undo(applied)
    assert read(world.root) == before


@settings(max_examples=60, deadline=None)
@given(states, states, states)
def test_what_the_user_has_is_never_lost(
    tmp_path_factory: pytest.TempPathFactory, before: State, after: State, users: State
) -> None:
    """Whatever the user made of it meanwhile: either nothing is written, or undo brings it back."""
    world = World(tmp_path_factory.mktemp("world"), {}, {})
    write(world.root, users)
    world.changes = world.contents.changes(before, after)
    try:
        applied = world.apply()
    except Conflicted:
        assert read(world.root) == users
        return
    for path, file in users.items():
        if before.get(path) == after.get(path):
            assert read(world.root)[path] == file
    world.undo(applied)
    assert read(world.root) == users
