"""A server that misbehaves on command, for the tests of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fake_server import FakeServer, serving

from fastslow.agent.engine import retries


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with serving(FakeServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.05)
    monkeypatch.delenv("FASTSLOW_API_KEY", raising=False)
    monkeypatch.delenv("FASTSLOW_BASE_URL", raising=False)
