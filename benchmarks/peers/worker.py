"""Runs cases through one contender, in a process and an environment of its own. Standard library only.

    python worker.py <file of contenders/> <function>

The first line on standard output says that it is ready. A case is a line of JSON on standard input, its answer or
error a line on standard output; many run at once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_AT_ONCE = 64


@dataclass(frozen=True)
class Job:
    """One case. base_url: of the model's server. tools: name, description and parameters (JSON schema) of each.
    in_sandbox: the tool `python` is all there is, and runs code where the case's files are.
    files, test: of a case that is about a repository, whose one tool is `bash`: its files that are text, by path, and
    the command that tests it."""

    id: str
    address: str
    model: str
    task: str
    system: str
    tools: list[dict[str, Any]]
    in_sandbox: bool
    files: dict[str, str] = field(default_factory=dict)
    test: str = ""

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def ask(self, name: str, arguments: dict[str, Any] | str) -> tuple[bool, str]:
        """Run a tool; whether that went well, and what it says. Arguments that are text go as they are."""
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        request = urllib.request.Request(f"{self.address}/tool/{name}", text.encode("utf-8", "replace"))
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return True, answer.read().decode()
        except urllib.error.HTTPError as error:
            return False, error.read().decode()

    def call(self, name: str, arguments: dict[str, Any] | str) -> str:
        """Run a tool; what it says, or what went wrong, for the model to see."""
        return self.ask(name, arguments)[1]

    def bash(self, command: str) -> tuple[int, str]:
        """Run a command in the repository; its exit code, and what it printed."""
        ok, text = self.ask("bash", {"command": command})
        first, _, output = text.partition("\n")
        return (int(first.removeprefix("exit code ")), output) if ok else (-1, text)

    async def call_async(self, name: str, arguments: dict[str, Any] | str) -> str:
        return await asyncio.to_thread(self.call, name, arguments)


def _contender(file: str, function: str) -> Any:
    """Loaded under a name of its own: the contenders' files are called as what they import."""
    spec = importlib.util.spec_from_file_location("contender", Path(__file__).parent / "contenders" / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["contender"] = module  # some frameworks look a tool's module up
    spec.loader.exec_module(module)
    return getattr(module, function)


async def _carry_out(run: Any, job: Job) -> dict[str, str]:
    try:
        answer = await run(job) if inspect.iscoroutinefunction(run) else await asyncio.to_thread(run, job)
        return {"id": job.id, "answer": "" if answer is None else str(answer), "error": ""}
    except Exception as error:  # whatever a contender dies of is its result
        traceback.print_exc()
        last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        return {"id": job.id, "answer": "", "error": last[:500]}


async def main() -> None:
    answers = os.fdopen(os.dup(1), "w")  # libraries print; the answers get a descriptor of their own
    os.dup2(2, 1)
    run = _contender(*sys.argv[1:3])
    print("ready", file=answers, flush=True)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(MOST_AT_ONCE + 1))
    tasks = set()

    async def one(line: str) -> None:
        print(json.dumps(await _carry_out(run, Job(**json.loads(line)))), file=answers, flush=True)

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(one(line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)  # some keep threads that never end


if __name__ == "__main__":
    asyncio.run(main())
