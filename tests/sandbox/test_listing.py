"""The guest's listing of a real folder, and what the host makes of it: differences that add up to what is there."""

import hashlib
import os
import random
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from fastslow.sandbox.listing import NAMED, Listing, Update
from fastslow.sandbox.sandbox import Changes, FileInfo, Limits
from fastslow.sandbox.wire import Frame, ProtocolError

sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox" / "guest"))
import files as guest

SMALL = Limits(files=50, upload=1000, disk=5000)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(guest, "WORK", str(tmp_path))
    return tmp_path


class Pair:
    """A guest's listing and the host's."""

    def __init__(self, limits: Limits = SMALL) -> None:
        self.guest = guest.Files(limits.upload, limits.files, limits.disk)
        self.host = Listing(limits)
        self.frames = 0

    def look(self, since: int = 0) -> Changes:
        update, *_, done = self.said()
        self.host.apply(update, done)
        return self.host.changes(since)

    def said(self) -> tuple[Update, dict[str, Any]]:
        update = Update(self.host)
        for said in self.guest.list(self.host.heard):
            if said is not None and "number" in said:
                return update, said
            if said is not None:
                self.frames += 1
                update.feed(Frame(said))
        raise AssertionError


def there(work: Path) -> dict[str, tuple[int, str]]:
    """Size and digest of all files, by path."""
    paths = [path for path in work.rglob("*") if path.is_file() and not path.is_symlink()]
    contents = {path.relative_to(work).as_posix(): path.read_bytes() for path in paths}
    return {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()}


def change(work: Path, chance: random.Random) -> None:
    path = work / chance.choice("abc") / chance.choice("de") / chance.choice("fghi")
    match chance.randrange(6):
        case 0 | 1 | 2:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(chance.randrange(20)))
        case 3:
            path.unlink(missing_ok=True)
        case 4:
            shutil.rmtree(path.parent, ignore_errors=True)
        case 5 if path.exists():
            path.rename(path.with_name("moved"))


@pytest.mark.parametrize("seed", range(10))
def test_differences_add_up_to_what_is_there(work: Path, seed: int) -> None:
    chance, pair = random.Random(seed), Pair()
    seen: dict[str, tuple[int, str]] = {}  # as one knows who hears of changes only, now and then
    number = 0
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            change(work, chance)
        if chance.random() < 0.1:
            pair.host.heard = 0  # an answer that was lost: all is told again
        changes = pair.look(number)
        assert {info.path: (info.size, info.digest) for info in pair.host.all()} == there(work)
        if chance.random() < 0.5:
            seen = {} if changes.whole else {path: facts for path, facts in seen.items() if path not in changes.removed}
            seen |= {info.path: (info.size, info.digest) for info in changes.changed}
            assert seen == there(work)
            number = changes.number


def test_what_has_not_changed_is_not_told_again(work: Path) -> None:
    for n in range(50):
        (work / f"{n:02}").write_text(str(n))
    pair = Pair()
    first = pair.look()
    assert (len(first.changed), first.whole, pair.frames) == (50, True, 1)
    again = pair.look(first.number)
    assert again == Changes(first.number)
    assert pair.frames == 1
    (work / "07").write_text("new")
    (work / "08").unlink()
    third = pair.look(first.number)
    assert ([info.path for info in third.changed], third.removed) == (["07"], ("08",))


def test_what_the_host_has_put_is_known_to_both(work: Path) -> None:
    pair = Pair()
    pair.look()
    digest = hashlib.sha256(b"x").hexdigest()
    assert pair.guest.put([["a/b", None, 1, digest]], b"x", False) == ["100644"]
    pair.host.note(FileInfo("a/b", 1, digest))
    number = pair.host.number
    assert pair.look(number) == Changes(number)
    (work / "a" / "b").unlink()
    assert pair.look(number).removed == ("a/b",)


def test_each_thing_that_cannot_come_out_is_named_with_its_reason(work: Path) -> None:
    (work / "fine.txt").write_text("fine")
    (work / "link").symlink_to("/etc/passwd")
    (work / "folder").symlink_to("/etc")
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(work / "socket"))
    with (work / "large").open("wb") as file:
        file.truncate(1001)
    Path(os.fsdecode(os.fsencode(work) + b"/caf\xe9")).write_text("Latin-1")
    (work / "two\nlines").write_text("x")
    deep = work.joinpath(*["d"] * (guest.DEPTH + 2))
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    changes = Pair().look()
    assert [(info.path, info.left) for info in changes.changed] == [
        ("fine.txt", ""),
        ("large", "larger than 1,000 bytes"),
    ]
    name = "its name has control characters, is no Unicode, or has more than 240 bytes (1,000 with its folders)"
    reasons = {one.path: one.reason for one in changes.left}
    assert reasons.pop("/".join(["d"] * (guest.DEPTH + 1))) == "too many folders deep"
    assert reasons == {
        "link": "a link",
        "folder": "a link",
        "pipe": "a pipe, socket or device",
        "socket": "a pipe, socket or device",
        "caf\\udce9": name,
        "two\\nlines": name,
    }


def test_files_of_holes_count_with_the_size_that_they_show(work: Path) -> None:
    for n in range(7):
        with (work / f"sparse-{n}").open("wb") as file:
            file.truncate(900)
    (work / "zz-small").write_text("x")
    pair = Pair()
    left = [info.path for info in pair.look().changed if info.left]
    assert left == ["sparse-5", "sparse-6"]
    (work / "sparse-0").unlink()
    changes = pair.look(pair.host.number)
    assert [(info.path, info.left) for info in changes.changed] == [("sparse-5", "")]


def test_there_are_only_so_many_and_the_shallow_come_first(work: Path) -> None:
    (work / "deep").mkdir()
    for n in range(100):
        (work / "deep" / f"{n:03}").write_text("")
    (work / "result.csv").write_text("1")
    changes = Pair().look()
    assert len(changes.changed) == 50
    assert changes.changed[-1].path == "result.csv"
    assert [one.reason for one in changes.left] == ["there are more than 50 files"]
    assert Pair().look().changed == changes.changed, "the same ones each time"


def test_a_thousand_links_are_not_a_thousand_names(work: Path) -> None:
    for n in range(150):
        (work / f"{n:03}").symlink_to("x")
    changes = Pair().look()
    assert len(changes.left) == NAMED + 1
    assert changes.left[-1].reason == "50 more of these kinds"


def test_what_went_long_ago_is_forgotten_and_all_is_told(work: Path) -> None:
    pair = Pair()
    (work / "stays").write_text("x")
    first = pair.look().number
    for turn in range(10):
        for n in range(40):
            (work / f"{turn}-{n}").write_text("")
        pair.look()
        for n in range(40):
            (work / f"{turn}-{n}").unlink()
        pair.look()
    assert len(pair.host._log) <= 4 * SMALL.files
    changes = pair.host.changes(first)
    assert (changes.whole, [info.path for info in changes.changed]) == (True, ["stays"])


ROW = ["a", 1, "0" * 64, "", "100644"]
DONE = {"number": 1, "whole": True, "left": [], "more": 0}


@pytest.mark.parametrize(
    "frames",
    [
        [{"files": [], "gone": []}],  # else there would be no end of them
        [{"files": [ROW] * 65, "gone": []}],
        [{"files": [[f"{n}", *ROW[1:]]], "gone": []} for n in range(51)],
        [{"files": [ROW]}],
        [{"files": [], "gone": ["never there"]}],
        [{"files": [["a", 5001, *ROW[2:]]], "gone": []}],
        [{"files": [["a", 3000, *ROW[2:]], ["b", 3000, *ROW[2:]]], "gone": []}],
    ],
)
def test_a_listing_that_lies_is_not_taken_in(frames: list[dict[str, Any]]) -> None:
    listing = Listing(SMALL)
    update = Update(listing)

    def take() -> None:
        for frame in frames:
            update.feed(Frame(frame))
        listing.apply(update, DONE)

    with pytest.raises(ProtocolError):
        take()
    assert (listing.number, listing.all()) == (0, ())


@pytest.mark.parametrize(
    "done",
    [
        {**DONE, "number": 0},
        {**DONE, "whole": 1},
        {**DONE, "left": {}},
        {**DONE, "left": [["x", "link"]] * 101},
        {**DONE, "left": [["x"]]},
        {**DONE, "left": [["x\x1b[31m", "link"]]},
        {**DONE, "left": [["x", "because"]]},
        {**DONE, "more": -1},
    ],
)
def test_an_end_that_lies_is_not_taken_in(done: dict[str, Any]) -> None:
    listing = Listing(SMALL)
    update = Update(listing)
    update.feed(Frame({"files": [ROW], "gone": []}))
    with pytest.raises(ProtocolError):
        listing.apply(update, done)
    assert (listing.number, listing.all()) == (0, ())
