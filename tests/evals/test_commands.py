"""`fastslow eval` and `tune` on a real server, as a user types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastslow.agent.evals.rows import read
from fastslow.agent.evals.tune import BASE

FASTSLOW = Path(sys.executable).with_name("fastslow")


def fastslow(*arguments: str | Path, status: int = 0, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """config: where the user's settings are, for a command that writes some."""
    env = {**os.environ, "XDG_CONFIG_HOME": str(config)} if config else None
    done = subprocess.run([FASTSLOW, *arguments], text=True, capture_output=True, timeout=600, env=env)
    assert done.returncode == status, done.stderr[-2000:]
    return done


@pytest.mark.engine
@pytest.mark.docker
def test_a_suite_is_run_reported_and_gone_on_with(vllm_url: str, tmp_path: Path) -> None:
    asked = (
        "eval",
        "workflows",
        "--n",
        "1",
        "--budget",
        "turns=2",
        "--out",
        tmp_path,
        "--base-url",
        vllm_url,
        "--json",
    )
    (first,) = json.loads(fastslow(*asked, "--policy", "auto").stdout)
    assert first["success"]["of"] == 1
    again = fastslow(*asked, "--policy", "never", "--policy", "auto", "--at-once", "2")
    assert [one["name"] for one in json.loads(again.stdout)] == ["never", "auto"]
    assert again.stderr.count("top_region-2-0") == 1  # the other was there already
    rows = read(tmp_path / "rows.jsonl")
    assert [(row.arm, row.think_turns > 0) for row in rows] == [("auto", True), ("never", False)]
    assert "| never | " in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.svg").read_text().startswith("<svg")


@pytest.mark.engine
def test_tune_tries_its_candidates_and_says_what_came_of_each(vllm_url: str, tmp_path: Path) -> None:
    asked = ("--n", "1", "--at-once", "6", "--out", tmp_path, "--base-url", vllm_url)
    told = fastslow("tune", "single", *asked, config=tmp_path / "config")
    assert {row.arm for row in read(tmp_path / "rows.jsonl")} >= {BASE, "plan=0", "call=32"}
    assert re.search(r"^(taken|left )  plan 0: ", told.stderr, re.MULTILINE)
    assert "chance makes such a difference in" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("eval", "poems"), "expected workflows, single, chat, bfcl, edits, quixbugs, polyglot-python, got 'poems'"),
        (("eval", "chat", "--policy", "often"), "expected auto, never, always or a number of tokens above 0"),
        (("eval", "edits", "--edit", "all"), "expected replace or whole, got 'all'"),
        (("eval", "chat", "--policy", "none.toml"), "none.toml cannot be read: No such file or directory"),
        (("tune", "chat", "--n", "0"), "greater than or equal to 1"),
    ],
)
def test_a_slip_is_told_before_anything_is_set_up(arguments: tuple[str, ...], told: str) -> None:
    assert told in fastslow(*arguments, status=2).stderr


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        ("edits", "edits is made here and read from no folder; leave out --from ."),
        ("quixbugs", "skipped: expected a copy of https://github.com/jkoppel/QuixBugs, and '.' has no folder"),
    ],
)
def test_a_suite_that_is_not_to_be_had_is_told_before_anything_is_set_up(suite: str, told: str) -> None:
    assert told in fastslow("eval", suite, "--from", ".", status=1).stderr
