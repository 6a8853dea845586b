"""The main job for real: the example by the console command, and whether its answer is right."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "data_analysis"
FASTSLOW = Path(sys.executable).with_name("fastslow")
RUN = [
    FASTSLOW,
    "run",
    (EXAMPLE / "task.txt").read_text().strip(),
    "--file",
    EXAMPLE / "orders.csv",
]


def test_the_examples_data_are_what_its_generator_makes(tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_bytes((EXAMPLE / "generate.py").read_bytes())
    runpy.run_path(str(tmp_path / "generate.py"), run_name="__main__")
    assert (tmp_path / "orders.csv").read_bytes() == (EXAMPLE / "orders.csv").read_bytes()


@pytest.mark.docker
@pytest.mark.engine
def test_the_example_is_answered_rightly(vllm_url: str, tmp_path: Path) -> None:
    region, revenue = runpy.run_path(str(EXAMPLE / "expected.py"))["answer"]()
    env = {name: value for name, value in os.environ.items() if name != "FASTSLOW_BASE_URL"}
    done = subprocess.run([*RUN, "--json", "--out", tmp_path], env=env, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    result = told[-1]["result"]
    assert result["exit"] == "answered"
    assert region in result["answer"]
    assert f"{revenue:.0f}" in result["answer"].replace(",", "") or f"{revenue:.2f}" in result["answer"].replace(
        ",", ""
    )
    assert (tmp_path / "revenue.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "revenue.png") in result["files"]

    turns = [event for event in told if event["event"] == "turn_finished"]
    thinking = {turn["mode"]["name"]: [] for turn in turns}
    for turn in turns:
        thinking[turn["mode"]["name"]].append(turn["reply"]["usage"]["thinking"])
    assert all(tokens > 0 for tokens in thinking["think"])
    assert all(tokens == 0 for tokens in thinking["fast"])
    assert all(turn["reply"]["usage"]["cached"] > 0 for turn in turns[1:])
    assert len(result["plan"]["steps"]) >= 2
