"""The contenders as the driver sees them, and the processes that measure them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.environments import environment

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MOST_SECONDS = 180.0  # of one measurement
EARLY, MIDDLE, LATE = slice(0, 10), slice(45, 55), slice(90, 100)
OFFLINE = {"OTEL_SDK_DISABLED": "true", "LANGSMITH_TRACING": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1"}

Sample = dict[str, float]
"""What one measurement gave, by the keys of `report.COLUMNS`."""


@dataclass(frozen=True, slots=True)
class Contender:
    """place: file and class under contenders/. imports: what a program that uses it begins with.

    requirements: of its environment, the file's stem; empty for the project's own. threads: its runs at once are
    threads, so nothing of it is on an event loop.
    """

    name: str
    place: str
    imports: str = ""
    distributions: tuple[str, ...] = ()
    requirements: str = ""
    threads: bool = False

    def python(self) -> str:
        """Its interpreter; made if need be. Raises `NotInstalled`."""
        if not self.requirements:
            return sys.executable
        file = HERE / f"requirements/{self.requirements}.txt"
        return environment(f"loop-{self.requirements}", tuple(file.read_text("utf-8").split()))


BARE, BARE_SSE = "bare httpx", "bare httpx, SSE"
OURS, OURS_KEPT = "fastslow", "fastslow, journal"
CONTENDERS = (
    Contender(BARE, "bare.py:Plain", "import httpx", ("httpx",)),
    Contender(BARE_SSE, "bare.py:Streaming"),
    Contender("bare httpx, SSE, one client", "bare.py:OneClient"),
    Contender(OURS, "fastslow.py:Alone", "import fastslow", ("fastslow",)),
    Contender(OURS_KEPT, "fastslow.py:Kept"),
    Contender(
        "smolagents",
        "smolagents.py:Contender",
        "from smolagents import OpenAIModel, ToolCallingAgent",
        ("smolagents", "openai"),
        "smolagents",
        threads=True,
    ),
    Contender(
        "openai-agents",
        "openai_agents.py:Contender",
        "from agents import Agent, OpenAIChatCompletionsModel, Runner",
        ("openai-agents", "openai"),
        "openai_agents",
    ),
    Contender(
        "pydantic-ai",
        "pydantic_ai.py:Contender",
        "from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel",
        ("pydantic-ai-slim", "openai"),
        "pydantic_ai",
    ),
    Contender(
        "langgraph",
        "langgraph.py:Contender",
        "from langchain.agents import create_agent; from langchain_openai import ChatOpenAI",
        ("langgraph", "langchain", "langchain-openai", "openai"),
        "langgraph",
    ),
    Contender(
        "strands",
        "strands.py:Contender",
        "from strands import Agent; from strands.models.openai import OpenAIModel",
        ("strands-agents", "openai"),
        "strands",
    ),
)


class MeasurementFailed(RuntimeError):
    """A contender could not do what was asked; the message says what it said last."""


class Server:
    """The model's server, and what it saw."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def log(self) -> dict[str, list[tuple[float, float, int]]]:
        """Of each case since the last log: when each request was whole, when its answer was written, its bytes."""
        with self._open(f"{self._root}/log", timeout=10) as answer:
            return {case: [tuple(entry) for entry in said] for case, said in json.load(answer).items()}


@contextmanager
def server() -> Iterator[Server]:
    command = [sys.executable, "-P", str(HERE / "server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


class Bench:
    """One contender in its environment, beside the server."""

    def __init__(self, contender: Contender, python: str, beside: Server) -> None:
        self.contender, self.name = contender, contender.name
        self._python, self._server = python, beside
        self.versions: tuple[str, ...] = ()

    def turns(self, turns: int) -> Sample:
        """One run. The gaps are the server's: from an answer until the next request is whole."""
        told, log = self._measure(turns, 1)
        (said,) = log.values()
        spans = gaps(said)
        if turns >= LATE.stop:
            return {**depth(spans), "last_body": said[-1][2] / 1e3}
        return {
            "turn_ms": 1e3 * statistics.median(spans),
            "turn_cpu": 1e3 * told["cpu"] / (turns + 1),
            "sent": sum(size for _, _, size in said) / 1e3,
            "rss_import": told["rss_import"],
            "rss_turns": told["rss"],
        }

    def many(self, runs: int, turns: int) -> Sample:
        """Many runs at once. A step is a turn of any of them."""
        told, _ = self._measure(turns, runs)
        steps = runs * (turns + 1)
        sample = {"steps": steps / told["wall"], "step_cpu": 1e3 * told["cpu"] / steps, "rss_many": told["rss"]}
        return sample if self.contender.threads else {**sample, "stall": 1e3 * told["stall"]}

    def imported(self, times: int) -> Sample:
        """Seconds of wall clock from the start of an interpreter that imports it to its end."""
        if not self.contender.imports:
            return {}
        command = [self._python, "-P", "-c", self.contender.imports]
        return {"import": statistics.median(self._timed(command) for _ in range(times))}

    def encoded(self, turns: int) -> Sample:
        """Kilobytes of JSON that were made in a run, and those that were sent."""
        told, log = self._measure(turns, 1, "encoded")
        sent = sum(size for said in log.values() for _, _, size in said)
        return {"turns": turns, "encoded": told["encoded"] / 1e3, "sent": sent / 1e3}

    def _measure(self, turns: int, runs: int, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
        self._server.log()
        place = f"contenders/{self.contender.place}"
        distributions = ",".join(self.contender.distributions)
        arguments = [place, distributions, self._server.url, "c", str(turns), str(runs), *more]
        told = json.loads(self._run([self._python, "-P", str(HERE / "runner.py"), *arguments]))
        self.versions = tuple(told["versions"])
        log = {case: said for case, said in self._server.log().items() if "warm" not in case}
        if wrong := {case: len(said) for case, said in log.items() if len(said) != turns + 1}:
            raise MeasurementFailed(f"expected {turns + 1} requests a run, got {wrong}")
        return told, log

    def _timed(self, command: Sequence[str]) -> float:
        began = time.perf_counter()
        self._run(command)
        return time.perf_counter() - began

    def _run(self, command: Sequence[str]) -> str:
        """Ours is found in this folder, wherever the environment's own copy may lie; the others see nothing of it."""
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        variables = {**kept, **OFFLINE, "PYTHONPATH": "" if self.contender.requirements else str(ROOT)}
        try:
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise MeasurementFailed(f"no end within {MOST_SECONDS:.0f} s") from error
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:]
            raise MeasurementFailed(f"its process ended with {done.returncode}: {''.join(said)[:300]}")
        return done.stdout


def gaps(said: Sequence[tuple[float, float, int]]) -> list[float]:
    """Seconds between an answer of the server and the next request, which is the client's time.

    >>> gaps([(0.0, 1.0, 9), (1.5, 1.6, 9), (1.7, 1.8, 9)])[0]
    0.5
    """
    return [later[0] - earlier[1] for earlier, later in pairwise(said)]


def depth(spans: Sequence[float]) -> Sample:
    """How the client's time grows with the history: ms at its beginning, middle and end, and µs per turn of it.

    Of ten turns the median: on a machine with other work, one of them may wait for a whole time slice.
    """
    early, middle, late = (1e3 * statistics.median(spans[part]) for part in (EARLY, MIDDLE, LATE))
    growth = 1e3 * (late - early) / (LATE.start - EARLY.start)
    return {"early": early, "middle": middle, "late": late, "growth": growth, "late_by_early": late / early}
