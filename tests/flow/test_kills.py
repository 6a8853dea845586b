"""`fastslow map --workers` killed: each row once in the lines. `tests/soak` does it more often."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.engine.fake_server import serving
from tests.flow.echo import Echo
from tests.flow.killing import Map, kill_and_compare


@pytest.mark.parametrize(("kills", "workers"), [(8, True), (3, False)], ids=["workers", "coordinator"])
async def test_kills_leave_what_none_would(tmp_path: Path, kills: int, workers: bool) -> None:
    await kill_and_compare(tmp_path, kills, 80, workers=workers)


@pytest.mark.usefixtures("interruptible")
async def test_an_interrupted_map_leaves_no_worker(tmp_path: Path) -> None:
    async with serving(Echo(delay=2)) as server:
        map_ = Map(tmp_path / "map", server, 20, "--workers", "2")
        process = await map_.start()
        await server.busy(8)
        workers = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, words = await process.communicate()
    assert process.returncode == 130, words.decode()
    assert len(workers) == 2
    assert not any(worker.is_running() for worker in workers)
