"""The slow path of a map: a row that needs a sandbox is a run of an agent, found again by its key where it was cut
off."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from fastslow.agent.agent import Agent
from fastslow.agent.approval import Approval, unattended
from fastslow.agent.budget import Budget, Ledger
from fastslow.agent.child import Parent
from fastslow.agent.engine.types import Engine
from fastslow.agent.errors import AgentError, EngineDied, EngineRefused, EngineUnreachable, JournalBroken, RunBusy
from fastslow.agent.events import Exit, Result, RunFinished
from fastslow.agent.flow.places import filled
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.folders import config_folder
from fastslow.agent.options import RunOptions
from fastslow.agent.record.jobs import StepResult
from fastslow.agent.record.journal import Journal
from fastslow.agent.transcript import User
from fastslow.sandbox import DockerSandbox, Network, Sandbox, SandboxError

NOT_THE_ROW = (EngineUnreachable, EngineDied, JournalBroken, RunBusy)
"""What a row is not to blame for, and ends the map."""


@dataclass(slots=True)
class Runner:
    """Carries rows out by runs of an agent. It is a `Do`: `await runner(row)`."""

    spec: MapSpec
    agent: Agent

    async def __call__(self, row: Row) -> StepResult:
        """Raises EngineUnreachable or EngineDied: the run goes on another time."""
        began, key = time.monotonic(), f"map/{self.spec.job}/{row.key}/{row.attempt}"
        parent = Parent(self.spec.job, row.key, Ledger(Budget(turns=None)), None, True)
        files = [row.file] if row.file else []
        options = RunOptions(files, self.spec.schema, check=self.spec.check, key=key)
        result: Result | None = None
        try:
            events = self.agent.stream_within(filled(self.spec.prompt, row.values), options, parent)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, RunFinished):
                        result = event.result
        except NOT_THE_ROW:
            raise
        except (AgentError, SandboxError, OSError, ValueError) as error:
            exit = Exit.SANDBOX if isinstance(error, SandboxError) else Exit.FAILED  # noqa: A001 - as everywhere
            seconds = round(time.monotonic() - began, 3)
            return StepResult(row.key, row.id, exit, None, str(error), type(error).__name__, seconds=seconds)
        if result is None:
            raise RuntimeError("a run ended without its last event")
        if result.exit is Exit.SERVER:
            await self._see_server()
        output = result.output if self.spec.schema is not None else result.answer
        return StepResult.of_run(row.key, row.id, result, output)

    async def _see_server(self) -> None:
        """Whether the server is gone, which is not the row's fault. Raises what says so."""
        try:
            await self.agent.engine.count([User("Are you there?")])
        except EngineRefused:
            return  # it is there, and does not count


@asynccontextmanager
async def runner(spec: MapSpec, engine: Engine, sandbox: Sandbox | None = None) -> AsyncIterator[Runner]:
    """sandbox: in the place of the one that the spec describes."""
    boxes = sandbox or DockerSandbox(spec.limits, network=Network(spec.allow), packages=spec.packages, image=spec.image)
    rules = config_folder() / "approval.toml"
    agent = Agent(
        engine=engine,
        sandbox=boxes,
        think=spec.think,
        budget=spec.each,
        journal=Journal(),  # named, as a run that cannot be kept could not go on
        approval=Approval.load(rules) if rules.exists() else None,
        ask=unattended,
    )
    try:
        yield Runner(spec, agent)
    finally:
        await boxes.aclose()
