"""The contenders as the driver sees them: a process in an environment of its own that answers JSON lines."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SILENCE_SECONDS = 120.0  # of a contender that hangs altogether


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library. requirements: what pip installs; distribution: whose version is told."""

    name: str
    file: str
    distribution: str
    requirements: tuple[str, ...]


PEERS = (
    Peer("AutoGen", "autogen", "autogen-ext", ("autogen-ext[docker]==0.7.5",)),
    Peer("llm-sandbox", "llm_sandbox", "llm-sandbox", ("llm-sandbox[docker]==0.3.46",)),
    Peer("smolagents", "smolagents", "smolagents", ("smolagents[docker]==1.26.0",)),
    Peer("SWE-ReX", "swe_rex", "swe-rex", ("swe-rex==1.4.0", "aiohttp")),  # which it imports but does not ask for
)


class ContenderFailed(RuntimeError):
    """A contender could not do what was asked, or is gone; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """began: `time.perf_counter()`, one clock for all processes. seconds: how long it took. bytes: of output.

    error: `"timeout"` when the driver's limit was reached, else what was raised, or "".
    """

    began: float
    seconds: float
    bytes: int
    head: str
    error: str

    @property
    def ms(self) -> float:
        return 1000 * self.seconds


class Contender:
    """A contender's process. One request at a time."""

    def __init__(self, name: str, file: str, python: str, distributions: tuple[str, ...] = ()) -> None:
        self.name = name
        command = [python, "-P", str(HERE / "serve.py"), str(HERE / f"contenders/{file}.py"), *distributions]
        # Ours is found beside this file, wherever the environment's own copy may lie; the others see nothing of it.
        environment = {**os.environ, "PYTHONPATH": str(ROOT) if python == sys.executable else ""}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
            text=True,
        )
        self.versions: tuple[str, ...] = tuple(self._line()["versions"])

    def start(self, image: str) -> Answer:
        return self._send_or_fail({"op": "start", "image": image})

    def run(self, code: str, seconds: float = 60.0, limit: float = 90.0) -> Answer:
        """Run code; raises for what the contender raises, but not for a timeout at `limit`."""
        return self._send_or_fail({"op": "run", "code": code, "seconds": seconds, "limit": limit})

    def begin(self, code: str, seconds: float, limit: float) -> None:
        """Run code without waiting; `answer` is next."""
        self._send({"op": "run", "code": code, "seconds": seconds, "limit": limit})

    def answer(self) -> Answer:
        return Answer(**self._line())

    def stop(self) -> Answer:
        return self._send_or_fail({"op": "stop"})

    def close(self) -> None:
        self._process.kill()  # some keep threads that never end
        self._process.communicate()
        self._said.close()

    def _send_or_fail(self, request: Mapping[str, Any]) -> Answer:
        self._send(request)
        answer = self.answer()
        if answer.error and answer.error != "timeout":
            raise ContenderFailed(answer.error)
        return answer

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except OSError as error:
            raise ContenderFailed(f"its process is gone ({error})") from error

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + SILENCE_SECONDS
        if not select.select([self._process.stdout], [], [], deadline - time.monotonic())[0]:
            self.close()
            raise ContenderFailed(f"silent for {SILENCE_SECONDS:.0f} s")
        if not (line := self._process.stdout.readline()):
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").splitlines()[-1:]
            raise ContenderFailed(f"its process ended with {self._process.wait()}: {''.join(said)}")
        answer: dict[str, Any] = json.loads(line)
        return answer
