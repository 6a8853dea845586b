"""The simulation of many servers: time that jumps, real code of ours, and what must come out of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from benchmarks.scale import POLICIES, Hardware, Script, SimulatedLoop, carry_out

STAYS = "a run stays (Pool)"


def test_an_hour_passes_at_once() -> None:
    began = time.monotonic()
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(asyncio.sleep(3600))
        assert runner.get_loop().time() >= 3600
    assert time.monotonic() - began < 5


def test_runs_that_stay_find_their_prompts() -> None:
    found = {policy: carry_out(policy, 48, 4, 6, 1, Hardware()) for policy in POLICIES}
    assert {outcome.answered for outcome in found.values()} == {48}
    stays = found.pop(STAYS)
    assert stays.calls == sum(len(Script.of(1, n).answers) for n in range(48))
    assert 0.99 <= stays.repeated <= 1.05  # whole blocks alone are found
    assert stays.bound <= stays.makespan
    assert stays.cached > found["round robin, each call"].cached + 0.1


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, second = (carry_out(STAYS, 30, 3, 5, 2, Hardware()) for _ in range(2))
    assert replace(first, cpu=0) == replace(second, cpu=0)


def test_servers_that_fail_lose_no_run() -> None:
    outcome = carry_out(STAYS, 60, 4, 6, 1, Hardware(mtbf=60.0, repair=40.0))
    assert (outcome.answered, outcome.lost, outcome.reasons) == (60, 0, {})
    assert outcome.failures > 0
    assert outcome.moved > 0
