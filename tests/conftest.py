"""What the real tests share: one managed vLLM server with the embedded model, started once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.managed_server import running_server, stop_server
from fastslow.agent.serving.catalog import find_model
from fastslow.agent.serving.fetch import fetch, weights_state
from fastslow.agent.serving.install import install_engine
from fastslow.agent.serving.start import start_server

MODEL = "qwen2.5-coder-1.5b"


@dataclass
class _Said:
    """Prints each new phase once: a first session takes minutes here."""

    last: str = ""

    def __call__(self, what: str, fraction: float | None) -> None:
        if what != self.last:
            self.last = what
            print(f"  {what}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def vllm_url() -> Iterator[str]:
    """Address of a real vLLM that serves the embedded model, as `fastslow up` starts it."""
    said = _Said()
    entry = find_model(MODEL)
    before = running_server()
    asyncio.run(install_engine(said))
    if weights_state(entry) != "present":
        asyncio.run(fetch(entry, said))
    record = asyncio.run(start_server(entry, find_profile(entry.family), said))
    yield record.base_url
    if before is None or before.pid != record.pid:
        stop_server(record)


@pytest.fixture(autouse=True)
def journal_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes its runs beside those of whoever runs the tests."""
    monkeypatch.setattr(
        "fastslow.agent.record.journal.default_path", lambda: tmp_path_factory.mktemp("journal") / "runs.db"
    )


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Programs that a test starts can be interrupted. Where the tests' own parent ignores SIGINT (a shell does so for
    what runs in the background), they would inherit that, and go on: what is handled here is the default there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
