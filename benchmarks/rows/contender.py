"""The contenders as commands, and the server that they ask."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import environment
from benchmarks.rows.contenders.table import SCHEMA, TASK

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BENCHMARKS = HERE.parent
AT_ONCE = 64  # rows in hand, of everyone: enough to fill two cores beside a server that takes 50 ms


@dataclass(frozen=True, slots=True)
class Contender:
    """script: under contenders/, with its arguments; none is the command `fastslow map`. requirements: of its
    environment, a file under benchmarks/; none is the project's own. most: rows that it is given, as it is slow or of
    no more interest. workers: of ours."""

    name: str
    script: tuple[str, ...] = ()
    requirements: str = ""
    distributions: tuple[str, ...] = ()
    most: int | None = None
    workers: int = 1

    def python(self) -> str:
        """Its interpreter; made if need be. Raises `NotInstalled`."""
        if not self.requirements:
            return sys.executable
        file = BENCHMARKS / self.requirements
        return environment(f"{self.requirements.partition('/')[0]}-{file.stem}", tuple(file.read_text("utf-8").split()))

    def command(self, python: str, url: str, folder: Path, at_once: int = AT_ONCE) -> list[str]:
        """What its users would type in the folder, where the rows are."""
        if self.script:
            name, *more = self.script
            return [python, str(HERE / "contenders" / name), url, str(folder), str(at_once), *more]
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        command = [python, "-m", "fastslow.agent.surfaces.cli.main", "map", f"{TASK} {{text}}", "--input", "rows.csv"]
        command += ["--id", "id", "--schema", "schema.json", "--out", "out.jsonl", "--at-once", str(at_once)]
        return [*command, "--base-url", url, *(("--workers", str(self.workers)) if self.workers > 1 else ())]

    def variables(self, folder: Path) -> Mapping[str, str]:
        """Of its environment: ours is found in this tree, the others see nothing of it."""
        return {} if self.script else {"PYTHONPATH": str(ROOT), "FASTSLOW_HOME": str(folder / "kept")}


FLOOR = "httpx, a client for 8 rows"
OURS, OURS_TWO = "fastslow map", "fastslow map --workers 2"
CONTENDERS = (
    Contender(FLOOR, ("ask_httpx.py", "shared"), distributions=("httpx",)),
    Contender("httpx, one client", ("ask_httpx.py",), most=2000),
    Contender(OURS, distributions=("fastslow",)),
    Contender(OURS_TWO, workers=2),
    Contender(
        "pydantic-ai",
        ("ask_pydantic_ai.py",),
        "loop/requirements/pydantic_ai.txt",
        ("pydantic-ai-slim", "openai"),
        most=2000,
    ),
    Contender(
        "langgraph, SQLite checkpointer",
        ("ask_langgraph.py",),
        "rows/requirements/langgraph.txt",
        ("langgraph", "langgraph-checkpoint-sqlite", "langchain-openai"),
        most=2000,
    ),
    Contender("ray.data.llm, checkpoint", ("ask_ray.py",), "rows/requirements/ray.txt", ("ray",)),
)


class Server:
    """The model's server, and what it saw."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def log(self) -> dict[str, Any]:
        """See server.py."""
        with self._open(f"{self._root}/log", timeout=30) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def reset(self) -> None:
        self._open(f"{self._root}/reset", timeout=30).close()


@contextmanager
def server(delay: float) -> Iterator[Server]:
    command = [sys.executable, "-P", str(HERE / "server.py"), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()
