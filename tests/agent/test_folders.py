"""Files of ours in folders that others write to, too: a link there leads nobody elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from fastslow import ConfigurationError, Journal, JournalBroken
from fastslow.agent.engine.cassette import CassetteRecorder
from fastslow.agent.evals.rows import Row, append
from fastslow.agent.surfaces.cli import evaluate

ROW = Row("s", "g", "c", "a", 0, 1, "m", True, "", "answered", *[0] * 10, 1.0)


async def record(path: Path) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(b"{}")))
    async with httpx.AsyncClient(transport=CassetteRecorder(transport, path, str), base_url="http://x") as client:
        await client.get("/models")


def hold(path: Path) -> None:
    with Journal(path.with_name("runs.db")).hold_key("key"):
        pass


async def tried(write: Callable[[Path], object], path: Path) -> None:
    waits = write(path)
    if isinstance(waits, Awaitable):
        await waits


@pytest.mark.parametrize(
    ("name", "write", "error"),
    [
        ("rows.jsonl", lambda path: append(path, ROW), OSError),
        ("cassette.jsonl", record, OSError),
        (f"runs.db.running/key-{sha256(b'key').hexdigest()}", lambda path: hold(path.parent), JournalBroken),
        ("rows.jsonl", lambda path: evaluate._check_folder(path.parent), ConfigurationError),
        ("report.md", lambda path: evaluate._check_folder(path.parent), ConfigurationError),
        ("report.svg", lambda path: evaluate._check_folder(path.parent), ConfigurationError),
    ],
)
async def test_a_link_is_not_written_through(
    tmp_path: Path, name: str, write: Callable[[Path], object], error: type[Exception]
) -> None:
    victim, link = tmp_path / "victim.txt", tmp_path / "folder" / name
    victim.write_text("do not touch")
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(error):
        await tried(write, link)
    assert victim.read_bytes() == b"do not touch"


def test_a_report_takes_the_place_of_its_like_only(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("the user's")
    with pytest.raises(ConfigurationError, match=r"report\.md is there, and no evaluation made it; .* --out"):
        evaluate._check_folder(tmp_path)
    append(tmp_path / "rows.jsonl", ROW)
    evaluate._check_folder(tmp_path)
