"""What code in the sandbox may cost this machine: sums, in the record of a run and in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workspace import measure
from fastslow import Agent, Budget, Exit, Journal, Result, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, Notice
from fastslow.agent.record.contents import CLAIMED, Contents, Kept
from fastslow.agent.record.kept import KeptWorkspace
from fastslow.sandbox import Changes, DockerSandbox, DummySandbox, Execution, FileInfo, Limits, OnEgress
from fastslow.sandbox.dummy import DummySession
from tests.agent.helpers import calls, says


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


def write(path: str, content: str) -> tuple[str, dict[str, Any]]:
    return "write_file", {"path": path, "content": content}


def agent(journal: Journal | None, limits: Limits, *script: Any, out: Path | None = None, **how: Any) -> Agent:
    sandbox = how.pop("sandbox", None) or DummySandbox([Execution("ok", stdout="1")] * 20, limits)
    return Agent(engine=ScriptedModel([*script, says("done")]), sandbox=sandbox, journal=journal, out=out, **how)


def notices(result: Result) -> list[str]:
    return [event.text for event in result.events if isinstance(event, Notice)]


def contents(result: Result) -> list[str]:
    return [event.content for event in result.events if isinstance(event, CallFinished)]


def size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def rows(journal: Journal, table: str = "files") -> int:
    [[count]] = journal.rows(f"SELECT count(*) FROM {table}")
    return int(count)


async def test_a_call_that_changes_nothing_writes_nothing_of_the_workspace(journal: Journal, tmp_path: Path) -> None:
    seen: list[int] = []

    def look(request: Request) -> Reply:
        seen.append(rows(journal))
        return calls(("python", {"code": "1"}))

    made = calls(*(write(f"f{n}", str(n)) for n in range(50)))
    await agent(journal, Limits(), made, look, look, look, out=tmp_path / "out").run("t")
    assert seen == [51, 51, 51], "one for each file, and one that says that there is a workspace"


async def test_only_what_changed_is_written_and_the_workspace_is_whole(journal: Journal, tmp_path: Path) -> None:
    script = (
        calls(*(write(f"f{n}", str(n)) for n in range(20))),
        calls(write("f3", "new"), write("more", "x")),
        calls(("python", {"code": "1"})),
    )
    run = (await agent(journal, Limits(), *script, out=tmp_path / "out").run("t")).run
    assert rows(journal) == 23
    kept = journal.read(run).workspace
    assert kept == {**{f"f{n}": str(n).encode() for n in range(20)}, "f3": b"new", "more": b"x"}
    journal.fork(run, 2, "fork")
    assert journal.read("fork").workspace == {f"f{n}": str(n).encode() for n in range(20)}


async def test_what_is_over_the_sum_is_not_kept_and_both_are_told(journal: Journal, tmp_path: Path) -> None:
    limits = Limits(out=2500)
    big = [write(f"big-{n}", str(n) * 1000) for n in range(4)]
    result = await agent(journal, limits, calls(*big, write("small", "x")), out=tmp_path / "out").run("t")
    why = "with it more than 2,500 bytes would be taken out (Limits.out)"
    told = "".join(contents(result))
    assert told.count(why) in (1, 2), "once for both, or with the call that each came with"
    assert "(Not kept in case the run is interrupted: big-2" in told
    assert "big-3 (with it more" in told
    kept = journal.read(result.run).workspace
    assert kept is not None
    assert sorted(path for path, content in kept.items() if content is None) == ["big-2", "big-3"]
    assert kept["small"] == b"x", "what is too much costs only itself"
    assert sorted(path.name for path in result.files) == ["big-0", "big-1", "small"]
    assert notices(result)[-1] == f"did not come out: big-2, big-3 ({why})"
    again = await agent(journal, limits, calls(("python", {"code": "1"})), out=tmp_path / "out").resume(result.run)
    assert again.exit is Exit.ANSWERED


async def test_a_file_that_changes_for_ever_is_kept_until_the_sum_is_reached(journal: Journal, tmp_path: Path) -> None:
    script = [calls(write("log", f"{n:04}" * 250)) for n in range(10)]
    result = await agent(journal, Limits(out=4500), *script, out=tmp_path / "out").run("t")
    assert rows(journal, "contents") == 4
    assert [path.name for path in result.files] == ["log"], "at the end there is as much again"


async def test_names_have_an_end_too(journal: Journal, tmp_path: Path) -> None:
    limits = Limits(traffic=5000)
    script = [calls(*(write(f"{turn}-{n}", "") for n in range(5))) for turn in range(10)]
    result = await agent(journal, limits, *script, out=tmp_path / "out").run("t")
    told = "".join(contents(result))
    assert told.count("later changes are not kept in case the run is interrupted") == 1
    assert any(text.startswith("the workspace was not written down to the end: ") for text in notices(result))
    written = journal.read(result.run)
    assert written.stopped
    assert written.workspace is not None
    assert 20 <= len(written.workspace) < 30
    assert len(result.files) == 50, "they come out all the same"


async def test_holes_are_kept_as_holes_and_come_back(journal: Journal) -> None:
    kept = KeptWorkspace(journal, "run")
    content, data = kept.content(), bytes(1 << 20) + b"x" + bytes(1 << 20) + b"y" + bytes(5)
    content.write(data)
    digest = await content.keep()
    content.close()
    kept.save({"a": Kept(digest)}, (), whole=True)
    assert Contents(journal.rows, {"a": Kept(digest)})["a"] == data
    journal.close()
    assert size([journal.path]) < 1 << 20


async def test_a_file_that_cannot_be_put_back_costs_only_itself(journal: Journal, tmp_path: Path) -> None:
    script = calls(write("big", "x" * 2000), write("small", "x"))
    once = Budget(turns=1)
    result = await agent(journal, Limits(), script, out=tmp_path / "out", budget=once).run("t")
    assert result.exit is Exit.BUDGET
    small = Limits(upload=1000)
    again = await agent(journal, small, calls(("python", {"code": "1"})), out=tmp_path / "out").resume("last")
    assert again.exit is Exit.ANSWERED
    assert contents(again)[-1] == "1\n(These files could not be kept, and are gone or as they were given: big.)"


async def test_a_file_that_does_not_go_in_ends_the_run_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastslow.agent.workspace.PAUSES", (0.01,))

    class Full(DummySession):
        async def put(self, path: str, data: bytes | Path) -> FileInfo:
            raise ValueError("'a.txt': No space left on device")

    class Small(DummySandbox):
        async def session(self, *, on_egress: OnEgress | None = None) -> DummySession:
            return Full(self)

    (tmp_path / "a.txt").write_text("a")
    running = agent(None, Limits(), calls(("python", {"code": "1"})), sandbox=Small())
    result = await running.run("t", files=[tmp_path / "a.txt"])
    assert result.exit is Exit.SANDBOX
    assert result.reason.startswith("a.txt does not go into the sandbox: 'a.txt': No space left on device")


async def test_claims_are_gone_once_a_call_is_written_down(journal: Journal, tmp_path: Path) -> None:
    big = calls(write("big", "x" * 1_900_000))
    result = await agent(journal, Limits(), big, out=tmp_path / "out").run("t")
    assert rows(journal, "contents") == 8
    [[claims]] = journal.rows("SELECT count(*) FROM files WHERE number = ?", CLAIMED)
    assert claims == 0
    kept = journal.read(result.run).workspace
    assert kept is not None
    assert kept["big"] == b"x" * 1_900_000


async def test_files_that_went_meanwhile_are_told_in_one_line(journal: Journal, tmp_path: Path) -> None:
    class Going(DummySession):
        async def read(self, path: str, write: Callable[[bytes], object]) -> None:
            raise FileNotFoundError(f"no file {path!r} in the workspace")

    class Busy(DummySandbox):
        async def session(self, *, on_egress: OnEgress | None = None) -> DummySession:
            return Going(self)

    made = calls(*(write(f"f{n}", str(n)) for n in range(7)))
    result = await agent(journal, Limits(), made, sandbox=Busy(), out=tmp_path / "out").run("t")
    assert notices(result)[-1] == "did not come out: f0, f1, f2, f3, f4 and 2 more (it is not there any more)"


class Thief(DummySandbox):
    """A guest that says of its file what another run's is known by."""

    digest = ""

    async def session(self, *, on_egress: OnEgress | None = None) -> DummySession:
        return Lies(self)


class Lies(DummySession):
    async def changes(self, since: int = 0) -> Changes:
        changes = await super().changes(since)
        digest = self._sandbox.digest  # type: ignore[attr-defined]
        return Changes(changes.number, tuple(FileInfo(i.path, i.size, digest) for i in changes.changed))


async def test_a_guest_that_names_the_digest_of_anothers_file_gets_its_own(journal: Journal, tmp_path: Path) -> None:
    await agent(journal, Limits(), calls(write("secret", "of another run")), out=tmp_path / "1").run("t")
    thief = Thief()
    [[thief.digest]] = journal.rows("SELECT digest FROM files WHERE path = 'secret'")
    result = await agent(journal, Limits(), calls(write("x", "mine")), out=tmp_path / "2", sandbox=thief).run("t")
    assert journal.read(result.run).workspace == {"x": b"mine"}


# --- with a real sandbox -----------------------------------------------------------------------------

SMALL = Limits(memory=256 << 20, disk=64 << 20, upload=8 << 20, seconds=20)
HOLES = """
for n in range(20):
    with open(f"sparse-{n:02}", "wb") as file: file.truncate(6 << 20)
open("zz.txt", "w").write("small")
"""
ODD = """
import os, socket
os.symlink("/etc/passwd", "link")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
open("locked.txt", "w").write("x"); os.chmod("locked.txt", 0)
open(b"caf\\xe9.txt", "w").write("x")
with open("large.bin", "wb") as file: file.truncate(9 << 20)
os.makedirs("shut"); open("shut/in.txt", "w").write("x"); os.chmod("shut", 0)
open("fine.txt", "w").write("fine")
"""


@pytest.mark.docker
async def test_files_of_holes_cost_no_more_than_there_may_be(journal: Journal, tmp_path: Path) -> None:
    """Twelve of 60 MiB cost 1 MB inside, and 720 MB of journal and of disk outside."""
    sandbox = DockerSandbox(SMALL)
    running = agent(journal, SMALL, calls(("python", {"code": HOLES})), out=tmp_path / "out", sandbox=sandbox)
    result = await running.run("t")
    await running.aclose()
    journal.close()
    assert 60 << 20 < size(result.files) <= SMALL.disk
    assert sum(path.stat().st_blocks * 512 for path in result.files) < 1 << 20
    assert size([journal.path]) < 1 << 20
    assert (tmp_path / "out" / "zz.txt") in result.files
    assert len(result.files) == 11
    [told] = contents(result)
    assert "Stays in the sandbox: sparse-10 (with it the files would have more than 67,108,864 bytes together)" in told
    [notice] = notices(result)
    assert notice.startswith("did not come out: sparse-10, sparse-11, sparse-12, sparse-13, sparse-14 and 5 more (with")


@pytest.mark.docker
async def test_what_cannot_come_out_costs_only_itself(journal: Journal, tmp_path: Path) -> None:
    sandbox = DockerSandbox(SMALL)
    running = agent(journal, SMALL, calls(("python", {"code": ODD})), out=tmp_path / "out", sandbox=sandbox)
    result = await running.run("t")
    await running.aclose()
    assert result.reason == "answered"
    assert [path.name for path in result.files] == ["fine.txt"]
    assert set(notices(result)) == {
        "did not come out: link (a link)",
        "did not come out: pipe, socket (a pipe, socket or device)",
        "did not come out: shut, locked.txt (it cannot be read)",
        "did not come out: caf\\udce9.txt (its name has control characters, is no Unicode, or has more than 240 bytes "
        "(1,000 with its folders))",
        "did not come out: large.bin (larger than 8,388,608 bytes)",
    }
    [told] = contents(result)
    assert "Stays in the sandbox: large.bin (larger than 8,388,608 bytes), locked.txt (it cannot be read)" in told


@pytest.mark.docker
async def test_a_call_that_changes_nothing_costs_the_same_with_many_files(tmp_path: Path) -> None:
    """10,000 files cost 12 s of our processor at each call, and stopped all other runs for as long."""
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    without, with_many = await measure(0, 5, empty), await measure(2000, 5, full)
    assert with_many.host_ms < 20
    assert with_many.host_ms < 4 * without.host_ms
    assert with_many.journal_bytes <= without.journal_bytes
