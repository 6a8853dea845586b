"""A map is killed 50 times: its workers, then the map itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.killing import kill_and_compare


@pytest.mark.parametrize("workers", [True, False], ids=["workers", "coordinator"])
async def test_fifty_kills_leave_what_none_would(tmp_path: Path, workers: bool) -> None:
    await kill_and_compare(tmp_path, 50, 4000 if workers else 1000, workers=workers)
