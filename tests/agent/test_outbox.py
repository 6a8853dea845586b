"""Files come into a folder of the user's: no link is followed, and nothing of somebody else's is replaced."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from fastslow import Agent, Budget, DummySandbox, Exit, Journal, Result, ScriptedModel
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import Notice
from fastslow.agent.outbox import Outbox
from tests.agent.helpers import calls, says

VICTIM = "do not touch"


def writing(*files: tuple[str, str]) -> Reply:
    return calls(*(("write_file", {"path": path, "content": content}) for path, content in files))


async def brought(out: Path | None, *files: tuple[str, str], journal: Journal | None = None) -> Result:
    """A run that wrote these files."""
    model = ScriptedModel([writing(*files), says("done")])
    result = await Agent(engine=model, sandbox=DummySandbox(), out=out, journal=journal).run("write")
    assert (result.exit, result.reason) == (Exit.ANSWERED, "answered")
    return result


def notices(result: Result) -> list[str]:
    return [event.text for event in result.events if isinstance(event, Notice)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.txt"
    path.write_text(VICTIM)
    return path


def left(folder: Path) -> list[str]:
    """All that is there; a file on its way would be among it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def holds(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_a_link_is_not_followed(out: Path, victim: Path) -> None:
    (out / "results.csv").symlink_to("../victim.txt")
    result = await brought(out, ("results.csv", "1,2"), ("other.csv", "3,4"))
    assert holds(victim.parent / "out") == {"results.csv": VICTIM, "results-2.csv": "1,2", "other.csv": "3,4"}
    assert result.files == (out / "other.csv", out / "results-2.csv")
    [told] = notices(result)
    assert told == f"results.csv came out as {out / 'results-2.csv'}: the name is taken by what this run did not make"
    assert left(out) == ["other.csv", "results-2.csv", "results.csv"]


async def test_a_link_on_the_way_is_not_followed(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (out / "plots").symlink_to("../elsewhere")
    result = await brought(out, ("plots/a.txt", "a"), ("plots/b/c.txt", "c"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert result.files == (out / "plots-2" / "a.txt", out / "plots-2" / "b" / "c.txt")


async def test_a_link_to_nowhere_makes_nothing_there(out: Path, tmp_path: Path) -> None:
    (out / "results.csv").symlink_to("../made.txt")
    await brought(out, ("results.csv", "1,2"))
    assert not (tmp_path / "made.txt").exists()


async def test_the_folder_that_nobody_named_is_no_link_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "fastslow-out").symlink_to("elsewhere")
    result = await brought(None, ("a.txt", "a"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert result.files == (Path("fastslow-out-2", result.run, "a.txt"),)


async def test_a_folder_that_the_user_named_may_be_one(tmp_path: Path, out: Path) -> None:
    (tmp_path / "named").symlink_to("out")
    result = await brought(tmp_path / "named", ("a.txt", "a"))
    assert result.files == (tmp_path / "named" / "a.txt",)
    assert left(out) == ["a.txt"]


@pytest.mark.parametrize("path", [".bashrc", ".vscode/tasks.json"])
async def test_hidden_names_stay_inside(out: Path, path: str) -> None:
    result = await brought(out, (path, "evil"), ("shown.txt", "fine"))
    assert left(out) == ["shown.txt"]
    assert result.files == (out / "shown.txt",)
    [told] = notices(result)
    assert told == f"did not come out: {path} (its name is hidden, and programs of this machine obey such files)"


@pytest.mark.parametrize("path", [".git/config", "a/.git/hooks/post-commit"])
async def test_what_is_gits_is_not_looked_at(out: Path, path: str) -> None:
    result = await brought(out, (path, "evil"), ("shown.txt", "fine"))
    assert left(out) == ["shown.txt"]
    assert notices(result) == []


@pytest.mark.parametrize("target", [None, "nowhere", "out"])
async def test_what_is_no_folder_is_named(tmp_path: Path, target: str | None) -> None:
    out = tmp_path / "out"
    os.symlink(target, out) if target else (tmp_path / "out").write_text("a file")
    result = await brought(out, ("a.txt", "a"), ("b.txt", "b"))
    why = f"{out} cannot be used as a folder: it is none; name another one"
    assert notices(result) == [f"did not come out: a.txt, b.txt ({why})"]


async def test_what_the_run_did_not_make_is_not_replaced(out: Path) -> None:
    (out / "report.md").write_text("mine")
    (out / "data").write_text("a file where a folder would be")
    (out / "same.txt").write_text("same")
    (out / "folder.txt").mkdir()
    os.mkfifo(out / "pipe.txt")
    files = [(path, "x") for path in ("data/x.txt", "folder.txt", "pipe.txt")]
    result = await brought(out, ("report.md", "new"), ("same.txt", "same"), *files)
    assert (out / "report.md").read_text() == "mine"
    assert (out / "report-2.md").read_text() == "new"
    assert (out / "data-2" / "x.txt").read_text() == "x"
    came = ("data-2/x.txt", "folder-2.txt", "pipe-2.txt", "report-2.md", "same.txt")
    assert result.files == tuple(out / path for path in came)
    again = await brought(out, ("report.md", "newer"))
    assert again.files == (out / "report-3.md",)


async def test_a_run_that_goes_on_replaces_what_it_brought_before(out: Path, tmp_path: Path) -> None:
    journal, given = Journal(tmp_path / "runs.db"), tmp_path / "given.txt"
    given.write_text("the user's")
    (out / "given.txt").write_text("the user's")
    read, write = calls(("read_file", {"path": "given.txt"})), (("mine.txt", "1"), ("edited.txt", "1"))
    engine = ScriptedModel([read, writing(*write, ("given.txt", "changed"))])
    agent = Agent(engine=engine, sandbox=DummySandbox(), out=out, journal=journal, budget=Budget(turns=2))
    assert (await agent.run("t", files=[given])).exit is Exit.BUDGET
    assert holds(out)["given-2.txt"] == "changed"
    (out / "edited.txt").write_text("by the user")
    model = ScriptedModel([writing(("mine.txt", "2"), ("edited.txt", "2")), says("done")])
    result = await Agent(engine=model, sandbox=DummySandbox(), out=out, journal=journal).resume("last")
    assert result.exit is Exit.ANSWERED
    assert holds(out) == {
        "mine.txt": "2",
        "edited.txt": "by the user",
        "edited-2.txt": "2",
        "given.txt": "the user's",
        "given-2.txt": "changed",
    }


async def test_one_that_this_machine_does_not_take_costs_only_itself(out: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        result = await brought(out, ("a.txt", "a"), ("big.txt", "b" * 200_000), ("z.txt", "z"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left(out) == ["a.txt", "z.txt"]
    assert result.files == (out / "a.txt", out / "z.txt")
    assert notices(result) == ["did not come out: big.txt (File too large)"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("only root may mount a disk of its own")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_costs_only_what_does_not_fit(disk: Path) -> None:
    result = await brought(disk, ("a.txt", "a"), ("big.txt", "b" * 100_000), ("z.txt", "z"))
    assert left(disk) == ["a.txt", "z.txt"]
    assert result.files == (disk / "a.txt", disk / "z.txt")
    assert notices(result) == ["did not come out: big.txt (No space left on device)"]


def test_two_names_that_are_one_on_this_machine_are_both_kept(out: Path) -> None:
    outbox = Outbox(out, "", lambda path: {sha256(b"upper").hexdigest()})
    with outbox.bring("Data.csv") as arrival:
        arrival.write(b"upper")
        assert arrival.settle() == (out / "Data.csv", True)
    os.link(out / "Data.csv", out / "data.csv")  # what a disk that knows no case says: one file, by either name
    with outbox.bring("data.csv") as arrival:
        arrival.write(b"lower")
        assert arrival.settle() == (out / "data-2.csv", False)
    assert (out / "Data.csv").read_text() == "upper"
    assert (out / "data-2.csv").read_text() == "lower"


def test_holes_stay_holes(out: Path) -> None:
    data = bytes(1 << 20) + b"x" + bytes(3 << 20)
    with Outbox(out, "", lambda path: ()).bring("sparse") as arrival:
        arrival.write(data)
        path, _ = arrival.settle()
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < 1 << 20


def test_what_is_not_settled_leaves_nothing(out: Path) -> None:
    with Outbox(out, "", lambda path: ()).bring("a/b.txt") as arrival:
        arrival.write(b"half")
    assert left(out) == []


async def test_a_path_as_long_as_one_may_be_comes_out(out: Path) -> None:
    deep = "/".join(["d" * 240] * 4 + ["deep.txt"])
    result = await brought(out, (deep, "deep"), ("a.txt", "a"))
    assert result.files == (out / "a.txt", out / deep)


async def test_a_replay_tells_of_files_what_the_run_told(out: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs.db")
    result = await brought(out, (".hidden", "x"), journal=journal)
    events = [
        event async for event in Agent(engine=ScriptedModel([]), sandbox=DummySandbox(), journal=journal).replay("last")
    ]
    assert [event.text for event in events if isinstance(event, Notice)] == notices(result) != []
