"""A map that is killed fifty times at random moments."""

from __future__ import annotations

from pathlib import Path

from tests.engine.fake_server import serving
from tests.flow.stub_server import RowServer
from tests.surfaces.cli.test_map import Shell, kill_and_compare


async def test_fifty_kills(tmp_path: Path) -> None:
    async with serving(RowServer()) as server:
        await kill_and_compare(Shell(tmp_path, server), rows=3000, kills=50)
