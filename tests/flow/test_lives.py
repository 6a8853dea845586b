"""Killed at every boundary of a step: each effect comes once, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_flow_that_is_killed_anywhere_does_everything_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.flow.lives", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    flows = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [
        flow
        for flow in flows
        if (flow["exit"], flow["value"], sorted(flow["effects"]))
        != ("answered", "<SAY A>", ["four", "one", "three", "two"])
    ]
    assert not wrong
    killed = Counter(flow["where"] for flow in flows if flow["died"])
    assert killed["before"] == killed["after"] >= 20
    assert killed["effect"] == 8  # in each of four, before it and behind it
