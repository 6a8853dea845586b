"""One case through one contender, and the row that comes of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.peers.contender import OURS, ProcessEnded, Worker
from benchmarks.peers.loopback import Loopback
from benchmarks.peers.recorded import Run
from fastslow import Budget
from fastslow.agent.engine.types import Engine
from fastslow.agent.errors import EngineUnreachable
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.evaluate import ENDED_EARLY, Arm, Setting, evaluate
from fastslow.agent.evals.repository import Changed, Repository, verdict
from fastslow.agent.evals.rows import Row
from fastslow.agent.events import Exit
from fastslow.agent.given import Given, described
from fastslow.agent.workspace import Workspace
from fastslow.sandbox import Sandbox, Session
from fastslow.tools import Caller, Outcome, Tool, caller
from fastslow.tools.builtin.python import python

SYSTEM = "You are a helpful assistant. Use the tools where they help."
IN_SANDBOX = (
    "You are a helpful assistant that answers with the help of Python. Its working folder holds the task's files; open "
    "them by name, and print what you need to know. Installed: numpy, pandas, matplotlib, duckdb, openpyxl, pyarrow."
)
IN_REPOSITORY = "You are a coding assistant. The tool bash runs commands in the user's repository."
COMMAND_SECONDS = 60.0  # of bash
BASH = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


@dataclass(frozen=True)
class Limits:
    """Of one run: requests to the model, and seconds."""

    turns: int = 15
    seconds: float = 180.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    engine: Engine
    sandbox: Sandbox
    loopback: Loopback
    seed: int
    limits: Limits

    async def row(self, case: Case, worker: Worker | None) -> Row:
        """One run: ours without a worker. Raises EngineUnreachable where it failed since the model's server is gone."""
        row = await (self._measure_other(worker, case) if worker else self._measure_ours(case))
        if row.exit != Exit.ANSWERED and not await self.loopback.healthy():
            raise EngineUnreachable("the model's server does not answer any more")
        return row

    async def _measure_ours(self, case: Case) -> Row:
        """Through the public API, as `fastslow eval` does it."""
        budget = Budget(turns=self.limits.turns, seconds=self.limits.seconds)
        setting = Setting(self.engine, self.sandbox, budget, self.seed)
        async with aclosing(evaluate(setting, [case], [Arm(OURS.name)])) as rows:
            return await anext(rows)

    async def _measure_other(self, worker: Worker, case: Case) -> Row:
        async with AsyncExitStack() as stack:
            files = [Given(name, content) for name, content in _contents(case).items()]
            workspace, tools = None, case.tools()
            if case.sandboxed:
                workspace = await stack.enter_async_context(Workspace(self.sandbox, files))
                await workspace.session()  # a start that nobody waits for in ours does not count in others either
                own = bash(workspace) if case.repository else replace(python, handler=_in_session(python, workspace))
                tools = (own, *tools)
            run = Run(case, tools, self.limits.turns)
            answer, exit_, reason = await self._carry_out(worker, run, files)
            seconds = time.monotonic() - run.began
            if case.repository and workspace:
                wrong = await self._tested(case.repository, await workspace.session())
                result = run.result(answer, exit_, reason, seconds, ())
                return run.row(worker.contender.name, self.seed, self.engine.model, result, wrong)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastslow-peers-")))
            made = (await workspace.collect(folder)).files if workspace else ()
            result = run.result(answer, exit_, reason, seconds, made)
            judged = exit_ is Exit.ANSWERED
            wrong = await asyncio.to_thread(case.judge, result) if judged else reason
            return run.row(worker.contender.name, self.seed, self.engine.model, result, wrong)

    async def _tested(self, repository: Repository, session: Session) -> str:
        """What the repository's tests say, whatever the run's end: as they judge ours."""
        return await verdict(self.sandbox, repository, await changed_in(session, repository))

    async def _carry_out(self, worker: Worker, run: Run, files: Sequence[Given]) -> tuple[str, Exit, str]:
        """The answer, how the run ended, and why."""
        case, id_ = run.case, uuid.uuid4().hex
        self.loopback.runs[id_] = run
        job = {
            "id": id_,
            "address": f"{self.loopback.address}/run/{id_}",
            "model": self.engine.model,
            "tools": [_schema_of(tool) for tool in run.tools],
            **_told(case, files),
        }
        try:
            await worker.ready()
            run.deadline = asyncio.get_running_loop().time() + self.limits.seconds
            answer, error = await self._answer(worker, run, job)
        except ProcessEnded as ended:
            return "", Exit.FAILED, str(ended)
        except TimeoutError:
            return "", Exit.BUDGET, f"no answer after {self.limits.seconds:.0f} s"
        finally:
            del self.loopback.runs[id_]
        if run.decided.is_set():
            return "", Exit.ANSWERED, ENDED_EARLY
        if run.requests > run.most:
            return answer, Exit.BUDGET, f"no answer after {run.most} requests"
        return (answer, Exit.FAILED, error) if error else (answer, Exit.ANSWERED, "")

    async def _answer(self, worker: Worker, run: Run, job: Mapping[str, Any]) -> tuple[str, str]:
        """Answer and error; nothing of either where the run is over before. Raises TimeoutError and ProcessEnded."""
        carried, decided = asyncio.create_task(worker.run(job)), asyncio.create_task(run.decided.wait())
        try:
            async with asyncio.timeout_at(run.deadline):
                await asyncio.wait({carried, decided}, return_when=asyncio.FIRST_COMPLETED)
            run.settle()
            return ("", "") if run.decided.is_set() else carried.result()
        finally:
            carried.cancel()
            decided.cancel()
            await asyncio.gather(carried, decided, return_exceptions=True)


def _contents(case: Case) -> Mapping[str, bytes]:
    return case.repository.files if case.repository else case.files


def _told(case: Case, files: Sequence[Given]) -> dict[str, Any]:
    """What a contender is told of a case."""
    if repository := case.repository:
        texts = {path: content.decode("utf-8", "replace") for path, content in repository.files.items()}
        task = f"{case.task}\n\nThe tests are run with `{repository.test}`."
        return {"task": task, "system": IN_REPOSITORY, "in_sandbox": False, "files": texts, "test": repository.test}
    task = f"{case.task}\n\nFiles:\n{described(files)}" if files else case.task
    return {"task": task, "system": IN_SANDBOX if case.sandboxed else SYSTEM, "in_sandbox": case.sandboxed}


async def changed_in(session: Session, repository: Repository) -> Changed:
    """What became of the repository's files in a session, in which they are the workspace."""
    given = {path: sha256(content).hexdigest() for path, content in repository.files.items()}
    found = {info.path: info.digest for info in await session.files() if not info.left}
    changed: dict[str, bytes | None] = {path: None for path in given if path not in found}
    for path, digest in found.items():
        if given.get(path) != digest:
            changed[path] = await session.get(path)
    return changed


def bash(workspace: Workspace) -> Tool:
    """All that a contender has for a repository: commands in the session's folder, each in a shell of its own."""

    async def run(command: str) -> str:
        ran = await (await workspace.session()).shell(command, seconds=COMMAND_SECONDS)
        return f"exit code {ran.exit_code}\n{ran.stdout}{ran.stderr}"

    return Tool.from_schema("bash", "Execute a bash command.", BASH, run)


def _in_session(tool: Tool, workspace: Workspace) -> Callable[..., Awaitable[Outcome]]:
    """The tool's body for whoever runs it without a loop of ours: in the workspace's session, within its limits."""

    async def body(**arguments: Any) -> Outcome:
        token = caller.set(Caller(workspace.session, workspace.limits.seconds))
        try:
            return await tool.call(arguments)
        finally:
            caller.reset(token)

    return body


def _schema_of(tool: Tool) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
