"""Steps of an image's build."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from fastslow.sandbox.steps import ImageBuildFailed, in_thread, run_step

LEAVES = """
import asyncio, time
from fastslow.sandbox.steps import in_thread
try:
    asyncio.run(asyncio.wait_for(in_thread(time.sleep, 60), 0.1))
except TimeoutError:
    print("left")
"""


def test_what_a_thread_gives_or_raises_comes_back() -> None:
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(divmod, 7, 0))


def test_a_process_that_ends_does_not_wait_for_a_thread() -> None:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
    assert time.monotonic() - begun < 30


def test_a_step_tells_its_lines_and_why_it_failed() -> None:
    told: list[str] = []
    code = "print('one'); print('ERROR: two'); raise SystemExit(3)"
    with pytest.raises(ImageBuildFailed, match=r"Step: `.* …` ended with status 3: ERROR: two"):
        asyncio.run(run_step("Step", [sys.executable, "-c", code], lambda what, _: told.append(what)))
    assert told == ["Step: one", "Step: ERROR: two"]
