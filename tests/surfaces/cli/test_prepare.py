"""Set-up in a process of its own: what goes on side by side ends together."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.surfaces.cli.test_main import FASTSLOW, fastslow, nowhere, one_sentence

__all__ = ["nowhere"]


@pytest.fixture
def silent_index(nowhere: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment whose package index takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        yield {**nowhere, "PIP_INDEX_URL": address, "PIP_FIND_LINKS": nowhere["FASTSLOW_HOME"]}


def test_a_branch_that_fails_ends_the_other_and_says_why(nowhere: dict[str, str]) -> None:
    done = fastslow("up", env={**nowhere, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": nowhere["FASTSLOW_HOME"]})
    assert "could not be" in one_sentence(done)
    ends = {line.split("  ")[0] for line in done.stderr.splitlines() if line[0] in "✗■✓"}
    assert ends in ({"✗ Model weights", "■ Engine"}, {"✗ Engine", "■ Model weights"})
    assert "Model server" not in done.stderr


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_that_was_started(silent_index: dict[str, str], number: signal.Signals, status: int) -> None:
    with subprocess.Popen([FASTSLOW, "up"], env=silent_index, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "Model weights" not in process.stderr.readline():
            assert process.poll() is None
        ours, deadline = psutil.Process(process.pid), time.monotonic() + 20
        while not (started := ours.children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == status
    assert "■ Engine" in stderr
    assert "■ Model weights" in stderr
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(started, timeout=5)[1]


def test_nothing_is_begun_where_docker_cannot_be(nowhere: dict[str, str]) -> None:
    done = fastslow("setup", env=nowhere)
    assert "DOCKER_HOST='tcp://127.0.0.1:1'" in one_sentence(done, 6)
    assert len(done.stderr.splitlines()) == 1
    assert not Path(nowhere["FASTSLOW_HOME"], "data").exists()
