"""The public face: an agent is an engine, tools and a sandbox; a run is a stream of events that ends with a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from fastslow.agent.approval import Approval, Ask
from fastslow.agent.budget import Budget, BudgetSpent, Ledger
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.types import Engine
from fastslow.agent.errors import AgentError, ConfigurationError, JournalError
from fastslow.agent.events import (
    Event,
    Exit,
    NetworkUsed,
    Notice,
    Result,
    RunFinished,
    RunStarted,
    StepFinished,
)
from fastslow.agent.gate import Gate, Stopped
from fastslow.agent.loop import Branch
from fastslow.agent.modes import Kind, ModePolicy, Think
from fastslow.agent.plan import ANSWER, PLAN, plan_tool
from fastslow.agent.prompts import prompt
from fastslow.agent.record.journal import Journal
from fastslow.agent.record.start import Start, asked, begin, replayed, resumed
from fastslow.agent.run import Run
from fastslow.agent.transcript import System, Transcript
from fastslow.agent.workspace import Workspace, checked
from fastslow.sandbox import DockerSandbox, Network, Sandbox, SandboxError
from fastslow.tools import Tool, Toolbox
from fastslow.tools.builtin import sandbox_tools

if TYPE_CHECKING:
    from fastslow.agent.many import Task


class Agent:
    """Plans slowly, acts fast, and runs code in a sandbox.

    engine: who continues conversations; by default the managed vLLM server (`fastslow up`).
    tools: functions with type hints and a docstring, or `Tool`s, offered beside the built-in ones.
    sandbox: where code runs; `"docker"` is `DockerSandbox()`, None offers no tool that runs code or touches files.
    think: `"auto"` follows the rules of the model's profile, `"never"`, `"always"`, or the budget in tokens of each
        turn that the rules let think. policy: rules of your own instead.
    budget: limits of a run. instructions: added to the system prompt.
    out: folder for the files that a run makes; by default `fastslow-out/<run id>`.
    journal: where every run is written down as it goes, so that it can be resumed; None keeps nothing.
    approval: rules on who may run what. ask: puts a question to a person; without it, what would be asked is denied.
    """

    def __init__(
        self,
        *,
        engine: Engine | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        sandbox: Sandbox | Literal["docker"] | None = "docker",
        think: Think = "auto",
        policy: ModePolicy | None = None,
        budget: Budget | None = None,
        instructions: str = "",
        out: str | Path | None = None,
        journal: Journal | Literal["default"] | None = "default",
        approval: Approval | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.engine: Engine = engine if engine is not None else VLLM()
        self.tools = Toolbox(tools).tools
        self.sandbox: Sandbox | None = DockerSandbox() if sandbox == "docker" else sandbox
        self.think: Think = think
        self.policy = policy
        self.budget = budget or Budget()
        self.instructions = instructions
        self.out = None if out is None else Path(out)
        self.approval = approval or Approval()
        self.ask = ask
        self.journal: Journal | None = Journal() if journal == "default" else journal
        self._must_keep = journal != "default"

    def run_sync(
        self,
        task: str | None = None,
        *,
        files: Iterable[str | Path] = (),
        output: type[BaseModel] | None = None,
        after: str | None = None,
        resume: str | None = None,
    ) -> Result:
        """`run` for code without an event loop of its own."""

        async def main() -> Result:
            try:
                return await self.run(task, files=files, output=output, after=after, resume=resume)
            finally:
                await self.aclose()  # connections belong to this call's event loop

        return asyncio.run(main())

    async def run(
        self,
        task: str | None = None,
        *,
        files: Iterable[str | Path] = (),
        output: type[BaseModel] | None = None,
        after: str | None = None,
        resume: str | None = None,
    ) -> Result:
        """Carry out a task to its end. Raises what `stream` raises; a bad end is a `Result` that says why."""
        async with aclosing(self.stream(task, files=files, output=output, after=after, resume=resume)) as events:
            async for event in events:
                if isinstance(event, RunFinished):
                    result = event.result
        return result

    def run_many(
        self,
        tasks: Iterable[str | Task],
        *,
        output: type[BaseModel] | None = None,
        concurrency: int = 32,
    ) -> AsyncGenerator[tuple[int, Result], None]:
        """Carry out many tasks, `concurrency` at once; results as they come. See `fastslow.run_many`."""
        from fastslow.agent.many import run_many  # it imports this module

        return run_many(self, tasks, output=output, concurrency=concurrency)

    async def stream(
        self,
        task: str | None = None,
        *,
        files: Iterable[str | Path] = (),
        output: type[BaseModel] | None = None,
        after: str | None = None,
        resume: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Carry out a task, saying everything that happens; the last event is always `RunFinished`.

        files are copied into the sandbox's workspace. output is a pydantic model that the answer must fit.
        after: the id of a run in the journal that was answered, or `"last"`: the task follows it in one conversation,
        with what was said, the files and the variables of the interpreter. Pass the same tools as then.
        resume: the id of a run in the journal that did not come to its end, instead of a task: it goes on where it was
        stopped, killed or failed. What it said before is said again, and no finished call of a tool runs twice. Pass
        the same tools and `output` as then. One that was answered is only told again.
        Raises `AgentError`, FileNotFoundError or PermissionError when the run cannot start. When the consuming task is
        cancelled, `RunFinished` with the partial result comes first and the cancellation goes on after it.
        """
        if (task is None) == (resume is None) or (after and resume):
            raise ConfigurationError("a run needs a task, or the id of the run to resume; pass one of them")
        if task is not None:
            before = self._kept.find(after) if after else ""
            start = self._begin(task, checked(files, self.sandbox.limits.upload if self.sandbox else 0), before)
        else:
            start = resumed(self._kept, resume or "", self.engine)
        with start as begun:
            async with aclosing(self._carry_out(begun, output)) as events:
                async for event in events:
                    yield event

    async def replay(self, run: str, *, output: type[BaseModel] | None = None) -> AsyncGenerator[Event, None]:
        """Carry out a recorded run again without a model, tools or a sandbox, from what the journal holds of it.

        It says what it said then; one that stopped in the middle ends there. Raises `JournalError`.
        """
        begun = replayed(self._kept, run, self.engine)
        async with aclosing(self._carry_out(begun, output)) as events:
            async for event in events:
                yield event

    @property
    def _kept(self) -> Journal:
        if self.journal is None:
            raise ConfigurationError("this agent keeps no journal, so no run can be found; pass Agent(journal=...)")
        return self.journal

    def _begin(self, task: str, files: tuple[Path, ...], after: str) -> AbstractContextManager[Start]:
        """A run that nobody asked to be kept goes on where it cannot be: with a notice that says so."""
        try:
            if self.journal:
                self.journal.open()
        except (JournalError, OSError) as error:
            if self._must_keep:
                raise
            notice = f"this run is not written down and cannot be resumed: {error}"
            return begin(None, task, files, notices=(notice,))
        return begin(self.journal, task, files, after)

    async def _carry_out(self, begun: Start, output: type[BaseModel] | None) -> AsyncGenerator[Event, None]:
        engine, recorder = begun.engine or self.engine, begun.recorder
        notices = await engine.connect()
        cancelled: asyncio.CancelledError | None = None
        said: list[Event] = []
        async with AsyncExitStack() as stack:
            files = (*begun.there, *begun.files)
            workspace = Workspace(self.sandbox, files, begun.keep, begun.history) if self.sandbox else None
            if workspace and not recorder.replaying:
                await stack.enter_async_context(workspace)
            run = self._start(engine, begun, workspace, output)
            trunk = self._trunk(run, begun)
            first: list[Event] = [self._started(run, begun), *begun.resumed, *map(Notice, (*begun.notices, *notices))]
            end, reason = Exit.FAILED, ""
            try:
                for event in first:
                    said.append(recorder.say(event))
                    yield said[-1]
                async with aclosing(trunk.loop()) as events:
                    async for event in events:
                        for each in (event, *map(recorder.say, _connections(workspace))):
                            said.append(each)
                            yield each
                end, reason = _judged(trunk, output)
            except (BudgetSpent, Stopped) as over:
                end, reason = Exit.BUDGET if isinstance(over, BudgetSpent) else Exit.STOPPED, str(over)
            except asyncio.CancelledError as error:
                end, reason, cancelled = Exit.CANCELLED, "cancelled by the user", error
            except (AgentError, SandboxError) as error:
                end, reason = Exit.FAILED, str(error)
            made: tuple[Path, ...] = ()
            try:
                if workspace:
                    made = await workspace.collect(self.out or Path("fastslow-out") / begun.run)
            except (SandboxError, OSError, ValueError) as error:
                reason = f"{reason}. Files could not be brought out: {error}".lstrip(". ")
            seconds = run.ledger.seconds
        for each in _connections(workspace):  # those that ended with the session
            said.append(each)
            yield each
        answer = trunk.outcome.answer if trunk.outcome else _partial(trunk, said)
        value = output.model_validate_json(answer) if output and end is Exit.ANSWERED else None
        usage, told = run.ledger.usage, tuple(said)
        result = Result(begun.run, answer, value, run.plan, made, usage, end, reason, seconds, told)
        with suppress(JournalError):  # it failed before: the reason says so
            written = recorder.say(RunFinished(result)).result
            result = replace(written, output=value, events=told)  # of a replayed run the one that it had
        yield RunFinished(result)
        if cancelled:
            raise cancelled

    async def aclose(self) -> None:
        """Close connections and give back warm containers."""
        await self.engine.aclose()
        if self.sandbox:
            await self.sandbox.aclose()

    def _start(self, engine: Engine, begun: Start, workspace: Workspace | None, output: type[BaseModel] | None) -> Run:
        profile = engine.profile
        answer = _answer_tool(output)
        builtin = (
            plan_tool(profile.plan_verbs),
            *(sandbox_tools(workspace.session, self.tools, networked=self._networked) if workspace else ()),
            answer,
        )
        offered = [tool for tool in builtin if profile.builtin is None or tool.name in profile.builtin]
        if not workspace and profile.code == "fenced":
            offered = [tool for tool in offered if tool.name != PLAN.name]  # its steps end with the output of code
        if output and answer not in offered:
            offered.append(answer)
        if not workspace and not self.tools:
            offered = [answer] if output else []  # a plan without tools has nothing to do
        return Run(
            task=begun.task,
            files=tuple(file.name for file in (*begun.there, *begun.files)),
            engine=engine,
            toolbox=Toolbox([*offered, *self.tools]),
            policy=self.policy or ModePolicy(profile.rules, self.think),
            ledger=self._ledger(begun),
            answer_tool=answer,
            offered=Toolbox(self.tools),
            recorder=begun.recorder,
            gate=Gate(self.approval, self.ask, begun.recorder),
            workspace=workspace,
            output=output,
        )

    @property
    def _networked(self) -> bool:
        return bool(self.sandbox and self.sandbox.network.allow)

    def _ledger(self, begun: Start) -> Ledger:
        """What the run has spent so far is known once its recorded replies are gone through again."""
        started = time.monotonic() - begun.seconds
        spent = Ledger(self.budget, started=started)
        for event in begun.spent:
            spent.add(event.mode, event.reply)
        return Ledger(spent.anew() if begun.spent else self.budget, started=started)

    def _started(self, run: Run, begun: Start) -> RunStarted:
        names, engine = tuple([tool.name for tool in run.toolbox.tools]), run.engine
        settings = {
            "think": self.think,
            "budget": asdict(self.budget),
            "instructions": self.instructions,
            "out": str(self.out) if self.out else None,
            "allow": list(self.sandbox.network.allow) if self.sandbox else [],
        }
        files = run.files[len(begun.there) :]
        profile = engine.profile.name
        return RunStarted(begun.run, begun.task, engine.model, profile, names, files, settings, begun.after)

    def _trunk(self, run: Run, begun: Start) -> Branch:
        network = self.sandbox.network if self.sandbox else None
        system = "\n\n".join(_system(run.engine.profile, network, self.instructions))
        transcript = Transcript().append(System(system), *begun.earlier, asked(begun.task, begun.files))
        if run.engine.profile.block and self.tools and not run.workspace:
            return Branch(run, "", transcript, Kind.TRIAGE, "first look")
        return Branch(run, "", transcript, Kind.PLAN, "first turn")


def _system(profile: Profile, network: Network | None, instructions: str) -> list[str]:
    """The parts of the system prompt. network: where code may connect; None where no code runs."""
    if network is None:
        parts = [prompt("calls" if profile.code == "fenced" else "system")]
    elif profile.code == "fenced":
        parts = [prompt("fenced")]
    else:
        parts = [prompt("system"), prompt("sandbox", network="" if network.allow else " without network")]
    if network and network.allow:
        parts.append(prompt("network", hosts=", ".join(network.allow)))
    return [*parts, instructions] if instructions else parts


def _answer_tool(output: type[BaseModel] | None) -> Tool:
    """The tool that ends a run with an answer: text, or what `output` asks for."""
    text = {
        "type": "object",
        "properties": {"text": {"type": "string", "description": "The complete answer for the user."}},
        "required": ["text"],
        "additionalProperties": False,
    }
    return Tool.from_schema(
        ANSWER,
        "Give the final answer. The task ends with it.",
        output.model_json_schema() if output else text,
        _ends,
    )


def _ends(**arguments: Any) -> None:
    raise TypeError("the loop carries answers out itself; this tool cannot be run on its own")


def _connections(workspace: Workspace | None) -> Iterator[NetworkUsed]:
    """Those of its code that came to an end since this was asked last."""
    while workspace and workspace.egress:
        yield NetworkUsed(workspace.egress.popleft())


def _judged(trunk: Branch, output: type[BaseModel] | None) -> tuple[Exit, str]:
    if trunk.outcome is None or not trunk.outcome.ok:
        return Exit.FAILED, "the model gave no usable answer"
    if output and not trunk.outcome.structured:
        return Exit.FAILED, f"the model gave no answer that fits {output.__name__}"
    return Exit.ANSWERED, "answered"


def _partial(trunk: Branch, said: list[Event]) -> str:
    """The best that an unfinished run can say: the results of its finished steps, else its last words."""
    steps = [f"Step {event.step}:\n\n{event.result}" for event in said if isinstance(event, StepFinished) and event.ok]
    return "\n".join(steps) or trunk.partial
