"""Whole trees on their way in: packed by the host, written and listed by the guest, told again as they are."""

import asyncio
import hashlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_listing import Pair, work

from fastslow.sandbox import DockerSandbox, DockerSession, Limits, TreeFile
from fastslow.sandbox.sandbox import Changes, FileInfo
from fastslow.sandbox.tree import Parcel, packed
from fastslow.sandbox.wire import CHUNK, MAX_BODY, MAX_HEADER, encode

sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox" / "guest"))
import files as guest

__all__ = ["work"]  # a fixture
LIMITS = Limits(files=6000, upload=8 << 20, disk=64 << 20)
LONGEST = "/".join(["\U0001f600" * 60] * 4)  # of 960 bytes, three times that when escaped

ODD = [
    TreeFile("empty", b""),
    TreeFile("binary", bytes(range(256)) * 3),
    TreeFile("no last newline.txt", b"a\r\nb"),
    TreeFile("a/b/c/d/e/f/deep", b"down here"),
    TreeFile("a/b/with spaces & 'quotes'.py", b"1"),
    TreeFile("naïve/표/👩\u200d🔬.csv", "naïve".encode()),
    TreeFile("run.sh", b"#!/bin/sh\n", "100755"),
    TreeFile("large", b"0123456789" * 250_000),  # three frames
    TreeFile("large and executable", b"x" * (2 << 20), "100755"),
    TreeFile("-rf", b"an option"),
    TreeFile(".gitignore", b".git/"),
    TreeFile("out", b"/etc/passwd", "120000"),
    TreeFile("above", b"../../../outside", "120000"),
    TreeFile("dangling", b"nowhere", "120000"),
    TreeFile("a/cycle", b"../a", "120000"),
    TreeFile("self", b"self", "120000"),
    TreeFile("no Unicode", b"caf\xe9", "120000"),
    TreeFile("from the host", Path(__file__)),
]


def content(file: TreeFile) -> bytes:
    return file.content if isinstance(file.content, bytes) else file.content.read_bytes()


def told(files: Iterable[TreeFile]) -> list[FileInfo]:
    """What is to be heard of files once they are in, sorted by path."""
    pairs = sorted((file.path, file) for file in files)
    return [
        FileInfo(path, len(content(file)), hashlib.sha256(content(file)).hexdigest(), mode=file.mode)
        for path, file in pairs
    ]


def parcels(files: Iterable[TreeFile], limits: Limits = LIMITS) -> Iterator[Parcel]:
    return packed(((file.path, file.content, file.mode) for file in files), limits)


def nothing(changes: Changes) -> bool:
    return changes == Changes(changes.number)


def put(pair: Pair, files: Iterable[TreeFile]) -> None:
    """As `DockerSession` and the supervisor do it."""
    pair.host.links = True
    for parcel in parcels(files):
        modes = pair.guest.put(parcel.rows, bytes(parcel.body), True)
        for whole, mode in zip(parcel.whole, modes, strict=True):
            pair.host.note(FileInfo(*whole, mode=mode))


def test_odd_things_go_in_and_are_listed_as_they_are(work: Path) -> None:
    pair = Pair(LIMITS)
    put(pair, ODD)
    assert list(pair.host.all()) == told(ODD)
    assert nothing(pair.look(pair.host.number)), "the guest sees the same"
    fresh = Pair(LIMITS)
    fresh.guest.links = fresh.host.links = True
    assert list(fresh.look().changed) == told(ODD), "so does one that knows nothing"
    assert os.readlink(work / "out") == "/etc/passwd"
    assert not list(work.rglob("*.part"))


def test_what_was_put_is_not_read_again(work: Path) -> None:
    pair = Pair(LIMITS)
    row = ["a", "100644", 1, "f" * 64]  # no digest of anything: whoever reads the file finds another one
    pair.guest.put([row], b"x", True)
    pair.host.note(FileInfo("a", 1, "f" * 64))
    assert nothing(pair.look(pair.host.number))
    (work / "a").write_bytes(b"y")
    [info] = pair.look(pair.host.number).changed
    assert info.digest == hashlib.sha256(b"y").hexdigest()


def test_small_files_share_frames_that_are_never_too_large() -> None:
    small = [TreeFile(f"{LONGEST}/{n}", b"x" * 100) for n in range(5000)]
    frames = list(parcels(small))
    assert len(frames) == 20
    assert sum(len(frame.whole) for frame in frames) == 5000
    for frame in (*frames, *parcels(ODD), *parcels(TreeFile(f"{n}", b"x" * 300_000) for n in range(100))):
        encoded = encode({"op": "put", "id": 1 << 50, "files": frame.rows, "tree": True}, bytes(frame.body))
        assert len(frame.body) <= CHUNK < MAX_BODY
        assert len(encoded) - len(frame.body) < MAX_HEADER


def test_no_files_are_one_frame() -> None:
    [frame] = parcels([])
    assert (frame.rows, frame.body) == ([], b"")


def test_files_are_asked_for_as_they_go() -> None:
    asked = 0

    def many() -> Iterator[TreeFile]:
        nonlocal asked
        for asked in range(5000):
            yield TreeFile(str(asked), b"x" * 10_000)

    next(parcels(many()))
    assert 100 < asked < 110


@pytest.mark.parametrize("change", [b"", b"another and longer one" * 200_000])
def test_of_a_file_that_changes_while_it_is_read_counts_what_was_sent(tmp_path: Path, change: bytes) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 3_000_000)
    sent, whole = b"", []
    for parcel in parcels([TreeFile("log", file)]):
        sent += parcel.body
        whole += parcel.whole
        file.write_bytes(change)
    assert whole == [("log", len(sent), hashlib.sha256(sent).hexdigest())]
    assert sent.startswith(b"x" * CHUNK)
    assert len(sent) <= 3_000_000


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ([TreeFile("a"), TreeFile("b"), TreeFile("./a")], "'a' comes twice"),
        ([TreeFile(str(n)) for n in range(51)], r"'50' is file number 51 and at most 50 .* Limits\(files=…\)"),
        ([TreeFile("a", b"x" * 1001)], r"'a' has 1,001 bytes and at most 1,000 .* Limits\(upload=…\)"),
        (
            [TreeFile(str(n), b"x" * 900) for n in range(6)],
            r"with '5' .* 5,400 bytes .* most 5,000 .*Limits\(disk=…",
        ),
        ([TreeFile("../a")], "leads out of the workspace"),
        ([TreeFile("a\nb")], "control characters"),
        ([TreeFile("a", b"", "120000")], "'a' needs its target"),
        ([TreeFile("a", b"x\0", "120000")], "'a' needs its target"),
        ([TreeFile("a", Path(__file__).with_name("echoing.py"), "120000")], "'a' needs its target"),
    ],
)
def test_what_cannot_be_put_is_refused_with_its_reason(files: list[TreeFile], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        list(parcels(files, Limits(files=50, upload=1000, disk=5000)))


def test_links_and_what_is_no_file_are_not_opened_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(__file__)
    (tmp_path / "cycle").symlink_to("cycle")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        for path in tmp_path.iterdir():
            with pytest.raises(ValueError, match="not a regular file"):
                list(parcels([TreeFile("a", path)]))
    with pytest.raises(FileNotFoundError):
        list(parcels([TreeFile("a", tmp_path / "absent")]))


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ([TreeFile("to", b"/tmp", "120000"), TreeFile("to/evil")], "'to/evil': 'to' is not a directory"),
        ([TreeFile("to", b"to", "120000"), TreeFile("to/evil/deep")], "'to' is not a directory"),
        ([TreeFile("file"), TreeFile("file/below")], "'file' is not a directory"),
        ([TreeFile("folder/a"), TreeFile("folder")], "'folder': Is a directory"),
    ],
)
def test_no_path_leads_through_a_link(work: Path, files: list[TreeFile], match: str) -> None:
    pair = Pair(LIMITS)
    with pytest.raises(guest.Refused, match=match):
        put(pair, files)
    assert not list(work.rglob("*.part"))
    assert not Path("/tmp/evil").exists()


def test_links_are_left_out_until_a_tree_was_put(work: Path) -> None:
    (work / "link").symlink_to("/etc/passwd")
    pair = Pair(LIMITS)
    assert [one.path for one in pair.look().left] == ["link"]
    put(pair, [])
    changes = pair.look(pair.host.number)
    assert (list(changes.changed), changes.left) == (told([TreeFile("link", b"/etc/passwd", "120000")]), ())
    data, fields = pair.guest.get("link", 0, CHUNK)[::-1]
    assert (data, fields) == (b"/etc/passwd", {"final": True})


def test_modes_are_told_and_a_changed_one_is_a_change(work: Path) -> None:
    pair = Pair(LIMITS)
    put(pair, [TreeFile("a", b"a"), TreeFile("b", b"b", "100755")])
    (work / "a").chmod(0o755)
    (work / "b").chmod(0o711)
    changes = pair.look(pair.host.number)
    assert list(changes.changed) == told([TreeFile("a", b"a", "100755")])
    (work / "a").unlink()
    (work / "a").symlink_to("b")
    changes = pair.look(pair.host.number)
    assert list(changes.changed) == told([TreeFile("a", b"b", "120000")])


def test_a_file_keeps_its_mode_where_none_is_asked_for(work: Path) -> None:
    pair, digest = Pair(LIMITS), hashlib.sha256(b"x").hexdigest()

    def modes(path: str, mode: str | None) -> Any:
        return pair.guest.put([[path, mode, 1, digest]], b"x", False)

    assert modes("a", None) == ["100644"]
    assert modes("a", "100755") == ["100755"]
    assert modes("a", None) == ["100755"]
    assert (work / "a").stat().st_mode & 0o777 == 0o755
    assert modes("a", "100644") == ["100644"]
    assert modes("a", "120000") == ["120000"]
    assert modes("a", None) == ["100644"], "a link is replaced, not followed"
    assert (work / "a").read_bytes() == b"x"


def test_folders_of_git_are_never_listed(work: Path) -> None:
    for folder in (".git/objects", "deep/er/.git"):
        (work / folder).mkdir(parents=True)
        (work / folder / "file").write_text("x")
    (work / ".github").mkdir()
    (work / ".github" / "ci.yaml").write_text("x")
    pair = Pair(LIMITS)
    assert [info.path for info in pair.look().changed] == [".github/ci.yaml"]
    put(pair, [TreeFile(".git/config", b"[core]"), TreeFile("a/.git/HEAD", b"x"), TreeFile("b")])
    assert [info.path for info in pair.look(pair.host.number).changed] == []
    assert [info.path for info in pair.host.all()] == [".github/ci.yaml", "b"]
    assert (work / ".git" / "config").read_text() == "[core]"


def test_what_was_half_sent_is_gone_once_it_is_abandoned(work: Path) -> None:
    pair = Pair(LIMITS)
    first, *_ = parcels([TreeFile("a"), TreeFile("large", b"x" * (3 << 20))])
    pair.guest.put(first.rows, bytes(first.body), True)
    assert len(list(work.iterdir())) == 2
    pair.guest.abandon()
    assert [path.name for path in work.iterdir()] == ["a"]
    put(pair, [TreeFile("large", b"y")])
    assert (work / "large").read_bytes() == b"y"


@pytest.fixture
async def tree_session(client: object) -> Any:
    sandbox = DockerSandbox(LIMITS)
    yield await sandbox.session()
    await asyncio.wait_for(sandbox.aclose(), 20)


@pytest.mark.docker
async def test_a_tree_goes_in_and_comes_out(tree_session: DockerSession) -> None:
    infos = await tree_session.put_tree(iter(ODD))
    assert sorted(infos, key=lambda info: info.path) == told(ODD)
    assert list(await tree_session.files()) == told(ODD)
    for file in ODD:
        assert await tree_session.get(file.path) == content(file)
    number = tree_session.listed
    done = await tree_session.shell(
        "set -e; test -x run.sh; test ! -x binary; readlink out; cat self 2>/dev/null && exit 1; chmod +x binary; "
        "git init -q; git add -A; git commit -qm all; ln -sf elsewhere dangling; rm empty; cat 'no last newline.txt'"
    )
    assert (done.status, done.stdout) == ("ok", "/etc/passwd\na\r\nb"), done.stderr
    changes = await tree_session.changes(number)
    changed = [TreeFile("binary", content(ODD[1]), "100755"), TreeFile("dangling", b"elsewhere", "120000")]
    assert (list(changes.changed), changes.removed, changes.left) == (told(changed), ("empty",), ())
    info = await tree_session.put("run.sh", b"#!/bin/sh\necho it runs\n")
    assert info.mode == "100755"
    assert (await tree_session.shell("./run.sh")).stdout == "it runs\n"
    assert (await tree_session.put("new link", b"run.sh", "120000")).mode == "120000"
    assert (await tree_session.shell("'./new link'")).stdout == "it runs\n"
    copy = await tree_session.fork()
    assert await copy.files() == await tree_session.files()


@pytest.mark.docker
async def test_five_thousand_files_go_in_at_once(tree_session: DockerSession) -> None:
    small = [TreeFile(f"{n // 500}/{n % 7}/{n}", str(n).encode()) for n in range(5000)]
    assert len(await tree_session.put_tree(small)) == 5000
    counted = await tree_session.shell("find . -type f | wc -l; cat $(find . -name 4321)")
    assert counted.stdout.split() == ["5000", "4321"]
    assert nothing(await tree_session.changes(tree_session.listed))


@pytest.mark.docker
async def test_a_tree_that_breaks_off_leaves_the_session_in_step(tree_session: DockerSession, tmp_path: Path) -> None:
    await tree_session.put("first", b"1")

    def files(last: TreeFile) -> Iterator[TreeFile]:
        yield TreeFile("large", b"x" * (3 << 20))
        yield last

    for last, error in (
        (TreeFile("absent", tmp_path / "absent"), FileNotFoundError),
        (TreeFile("large"), ValueError),
        (TreeFile("large/below"), ValueError),
    ):
        with pytest.raises(error):
            await tree_session.put_tree(files(last))
        there = await tree_session.shell("find . -type f | sort")
        assert there.stdout.split() == ["./first"] + ["./large"] * (error is ValueError and last.path != "large")
        assert [f"./{info.path}" for info in await tree_session.files()] == there.stdout.split()

    def endless() -> Iterator[TreeFile]:
        for n in range(5000):
            time.sleep(0.001)
            yield TreeFile(f"{n}", b"x" * 10_000)

    putting = asyncio.create_task(tree_session.put_tree(endless()))
    await asyncio.sleep(0.5)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    there = await tree_session.shell("find . -type f | sed s,./,, | sort")
    assert [info.path for info in await tree_session.files()] == there.stdout.split()
    assert len(there.stdout.split()) < 5000


@pytest.mark.docker
async def test_a_full_workspace_is_told_with_its_limit(session: DockerSession) -> None:
    small = (TreeFile(str(n), b"x") for n in range(18_000))  # 64 MiB in pages of 4 KiB
    with pytest.raises(ValueError, match=re.escape("No space left: the workspace has room for 67,108,864 bytes")):
        await session.put_tree(small)
    await session.shell("find . -type f -delete")
    assert await session.files() == ()


@pytest.mark.docker
async def test_links_stay_links_without_a_tree(session: DockerSession) -> None:
    assert (await session.put("link", b"/etc/passwd", "120000")).mode == "120000"
    changes = await session.changes()
    assert ([one.path for one in changes.left], changes.changed) == (["link"], ())
    with pytest.raises(ValueError, match="link"):
        await session.get("link")
