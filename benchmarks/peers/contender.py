"""The contenders, and the process that each of the others runs in."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import environment

HERE = Path(__file__).parent
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}
MOST_BYTES = 16 << 20  # of one answer


@dataclass(frozen=True, slots=True)
class Contender:
    """place: file and function under contenders/. requirements: of its environment, the file's stem, in this folder or
    in the loop benchmark's; empty for the project's own. coding: mends repositories, and can do nothing else."""

    name: str
    place: str
    requirements: str = ""
    distribution: str = ""
    coding: bool = False

    def python(self) -> str:
        """Its interpreter; made if need be. Raises `NotInstalled`."""
        if not self.requirements:
            return sys.executable
        folder = "peers" if self._file.is_relative_to(HERE) else "loop"
        return environment(f"{folder}-{self.requirements}", self._pins)

    @property
    def version(self) -> str:
        """As it is pinned; empty for what is the project's own."""
        return next((pin for pin in self._pins if pin.startswith(f"{self.distribution}==")), "")

    @property
    def _file(self) -> Path:
        name = f"requirements/{self.requirements}.txt"
        return next(path for path in (HERE / name, HERE.parent / "loop" / name) if path.exists())

    @property
    def _pins(self) -> tuple[str, ...]:
        return tuple(self._file.read_text("utf-8").split()) if self.requirements else ()


OURS = Contender("fastslow", "")
CONTENDERS = (
    OURS,
    Contender("bare loop", "bare.py:run"),
    Contender("bare loop, required", "bare.py:required"),
    Contender("bare loop, whole files", "whole_files.py:run", coding=True),
    Contender("mini-swe-agent", "mini_swe_agent.py:run", "mini_swe_agent", "mini-swe-agent", coding=True),
    Contender("smolagents, calls", "smolagents.py:tool_calling", "smolagents", "smolagents"),
    Contender("smolagents, code", "smolagents.py:code", "smolagents", "smolagents"),
    Contender("openai-agents", "openai_agents.py:run", "openai_agents", "openai-agents"),
    Contender("pydantic-ai", "pydantic_ai.py:run", "pydantic_ai", "pydantic-ai-slim"),
    Contender("langgraph", "langgraph.py:run", "langgraph", "langgraph"),
    Contender("qwen-agent", "qwen_agent.py:run", "qwen_agent", "qwen-agent"),
)


class ProcessEnded(Exception):
    """A contender's process is gone, and with it the runs that it carried out."""


@dataclass(slots=True)
class Worker:
    """One contender's process, started when it is first needed, and anew after it died. log: what it prints."""

    contender: Contender
    python: str
    log: Path
    _process: Process | None = None
    _waiting: dict[str, asyncio.Future[tuple[str, str]]] = field(default_factory=dict)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Returns when the process has imported all it needs. Raises ProcessEnded."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()

    async def run(self, job: Mapping[str, Any]) -> tuple[str, str]:
        """The answer to a job, and the error that it ended with. Raises ProcessEnded. Wants a process that is ready."""
        assert self._process
        assert self._process.stdin
        future = self._waiting[job["id"]] = asyncio.get_running_loop().create_future()
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            await self._process.stdin.drain()
            return await future
        except ConnectionError as error:
            raise self._ended(self._process.returncode) from error
        finally:
            del self._waiting[job["id"]]

    async def close(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            await self._reading

    async def _start(self) -> None:
        file, _, function = self.contender.place.partition(":")
        command = [self.python, "-P", str(HERE / "worker.py"), file, function]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, env=os.environ | QUIET, limit=MOST_BYTES
            )
        assert self._process.stdout
        if not await self._process.stdout.readline():
            raise self._ended(await self._process.wait())
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: Process) -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            said = json.loads(line)
            future = self._waiting.get(said["id"])
            if future and not future.done():
                future.set_result((said["answer"], said["error"]))
        ended = self._ended(await process.wait())
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ended)

    def _ended(self, status: int | None) -> ProcessEnded:
        return ProcessEnded(f"the process ended with {status}, see {self.log.name}")
