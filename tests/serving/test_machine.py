"""Commands that end with us, and work side by side."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import psutil
import pytest

from fastslow.agent.serving.machine import only_one, run_lines, side_by_side

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)" + FAMILY
TIDY = """
import sys, time
from pathlib import Path
try:
    print("here", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    Path(sys.argv[1]).touch()
"""


def test_lines_are_handed_on_and_a_bar_is_one_line_each_time() -> None:
    seen: list[str] = []
    code = "print('é one'); print(' 1 %\\r 2 %', end=''); print(); print(); raise SystemExit(3)"
    status, last = asyncio.run(run_lines([sys.executable, "-X", "utf8", "-c", code], seen.append))
    assert (status, seen) == (3, ["é one", "1 %", "2 %"])
    assert last == "é one\n1 %\n2 %"


async def cancelled(command: list[str]) -> list[str]:
    """What it had said when it was cancelled, after its first line."""
    seen: list[str] = []
    spoken = asyncio.Event()

    def on_line(line: str) -> None:
        seen.append(line)
        spoken.set()

    task = asyncio.create_task(run_lines(command, on_line))
    await asyncio.wait_for(spoken.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return seen


@pytest.mark.parametrize("code", [FAMILY, STUBBORN], ids=["polite", "stubborn"])
def test_a_command_that_is_cancelled_ends_with_all_it_started(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.serving.machine.END_SECONDS", 1.0)
    (child,) = asyncio.run(cancelled([sys.executable, "-c", code]))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(child)) and psutil.Process(int(child)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("interruptible")
def test_a_command_that_is_cancelled_may_tidy_up(tmp_path: Path) -> None:
    asyncio.run(cancelled([sys.executable, "-c", TIDY, str(tmp_path / "tidied")]))
    assert (tmp_path / "tidied").exists()


def test_the_first_that_fails_ends_the_others_and_is_what_is_told() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("slow")
            raise

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        asyncio.run(side_by_side(slow(), fails(), slow()))
    assert ended == ["slow", "slow"]


def test_what_is_cancelled_is_given_the_time_to_end() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            ended.append("slow")

    async def main() -> None:
        task = asyncio.create_task(side_by_side(side_by_side(slow(), asyncio.sleep(60)), asyncio.sleep(60)))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ended == ["slow"]


def test_a_lock_is_waited_for_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path))
    told: list[str] = []
    order: list[str] = []

    async def hold(name: str) -> None:
        async with only_one("test", lambda what, _: told.append(what)):
            order.append(f"{name} begins")
            await asyncio.sleep(0.1)
            order.append(f"{name} ends")

    asyncio.run(side_by_side(hold("a"), hold("b")))
    assert order == ["a begins", "a ends", "b begins", "b ends"]
    assert told == ["waiting: another process is busy with the test"]
