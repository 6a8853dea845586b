"""The public face: an agent is an engine, tools and a sandbox; a run is a stream of events that ends with a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    aclosing,
    contextmanager,
    suppress,
)
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack, get_args

from fastslow.agent.approval import Approval, Ask
from fastslow.agent.budget import CALL_SECONDS, Budget, Ledger
from fastslow.agent.check import checked
from fastslow.agent.child import Parent, agent_tool
from fastslow.agent.conversation import Conversation
from fastslow.agent.engine.pool import engine_of
from fastslow.agent.engine.types import Engine, Reply
from fastslow.agent.errors import ConfigurationError, JournalError, ToolsetFailed
from fastslow.agent.events import Event, Exit, Notice, Result, RunFinished, RunStarted
from fastslow.agent.gate import Gate
from fastslow.agent.given import checked_files
from fastslow.agent.life import Life
from fastslow.agent.loop import Branch
from fastslow.agent.many import Task, run_many
from fastslow.agent.modes import ModePolicy, Think
from fastslow.agent.options import OptionFields, RunOptions, merged
from fastslow.agent.output import Form
from fastslow.agent.plan import PLAN, Plan
from fastslow.agent.project import skill_tool
from fastslow.agent.prompts import fill, prompt
from fastslow.agent.record.changed import changes_of
from fastslow.agent.record.journal import Journal
from fastslow.agent.record.start import Start, begin, replayed, resumed, shorter
from fastslow.agent.run import Run
from fastslow.agent.strategy import SHOWN, STRATEGIES, State, Strategy
from fastslow.agent.texts import check_out, check_text, check_tool
from fastslow.agent.toolsets import opened
from fastslow.agent.transcript import System, ToolCall, Transcript, to_dict
from fastslow.agent.tree.taking import Taken, skill_files, take
from fastslow.agent.tree.tree import Tree
from fastslow.agent.workspace import Workspace
from fastslow.sandbox import DockerSandbox, Installed, Limits, Sandbox
from fastslow.tools import Tool, Toolbox, ToolDefinitionError, Toolset
from fastslow.tools.builtin import BUILTIN, Editing, builtin_tools, host_functions
from fastslow.tools.seen import Seen

Opened: TypeAlias = Callable[[Workspace], AbstractAsyncContextManager[Workspace]]
"""Gives the open workspace of a run."""


EDITING: Mapping[Editing, str] = {
    "replace": "edit_file, in small and exact edits",
    "whole": "write_file, with their whole new content",
}


def _own(workspace: Workspace) -> Workspace:
    """It opens and closes with its run."""
    return workspace


class Agent:
    """Plans slowly, acts fast, and runs code in a sandbox.

    engine: who continues conversations; by default the managed vLLM server (`fastslow up`).
    tools: functions with type hints and a docstring, `Tool`s or `Toolset`s, offered beside the built-in ones.
    builtin: names of the built-in tools to offer, of `fastslow.tools.builtin.BUILTIN`; all by default.
    sandbox: where code runs; `"docker"` is `DockerSandbox()`, None offers no tool that runs code or touches files.
    think: `"auto"` follows the rules of the model's profile, `"never"`, `"always"`, or the budget in tokens of each
        turn that the rules let think. policy: rules of your own instead.
    strategy: what decides the turns of a run; by default what the model's profile names.
    budget: limits of a run. instructions: added to the system prompt. system: takes the place of its head.
    out: folder for the files that a run makes; by default `fastslow-out/<run id>`.
    journal: where every run is written down as it goes, so that it can be resumed; None keeps nothing.
    approval: rules on who may run what. ask: puts a question to a person; without it, what would be asked is denied.
    """

    def __init__(
        self,
        *,
        engine: Engine | None = None,
        tools: Iterable[Tool | Toolset | Callable[..., Any]] = (),
        builtin: Iterable[str] = BUILTIN,
        sandbox: Sandbox | Literal["docker"] | None = "docker",
        think: Think = "auto",
        policy: ModePolicy | None = None,
        strategy: Strategy | None = None,
        budget: Budget | None = None,
        instructions: str = "",
        system: str | None = None,
        out: str | Path | None = None,
        journal: Journal | Literal["default"] | None = "default",
        approval: Approval | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.engine: Engine = engine if engine is not None else engine_of()
        check_text("the text of instructions", instructions)
        if system is not None:
            check_text("the text of system", system)
        if out is not None:
            check_out(out)
        given = list(tools)
        self.tools = Toolbox(tool for tool in given if not isinstance(tool, Toolset))
        self.toolsets = tuple(tool for tool in given if isinstance(tool, Toolset))
        for tool in self.tools.tools:
            check_tool(tool)
        self.sandbox: Sandbox | None = DockerSandbox(Limits(seconds=CALL_SECONDS)) if sandbox == "docker" else sandbox
        self.think: Think = think
        self.policy = policy
        self.strategy = strategy
        self.budget = budget or Budget()
        self.instructions = instructions
        self.system = system
        self.out = None if out is None else Path(out)
        self.approval = approval or Approval()
        self.ask = ask
        self.journal: Journal | None = Journal() if journal == "default" else journal
        self._must_keep = journal != "default"
        names = tuple(builtin)
        if unknown := [name for name in names if name not in BUILTIN]:
            raise ConfigurationError(f"the built-in tools are {', '.join(BUILTIN)}; got {unknown[0]!r}")
        self._functions = host_functions(self.tools.tools) if self.sandbox else ()
        networked = bool(self.sandbox and self.sandbox.network.allow)
        self._builtin: dict[str, tuple[Tool, ...]] = {}  # by the way in which a model's profile has files changed
        for edit in get_args(Editing):
            own = builtin_tools(self._functions, networked=networked, edit=edit) if self.sandbox else ()
            self._builtin[edit] = tuple(tool for tool in own if tool.name in names)

    # --- runs ------------------------------------------------------------------------------------

    async def run(self, task: str, options: RunOptions | None = None, **fields: Unpack[OptionFields]) -> Result:
        """Carry out a task to its end; options may be given as keyword arguments, too (`files=["orders.csv"]`).

        Raises what `stream` raises; a bad end is a `Result` that says why.
        """
        return await _result(self.stream(task, options, **fields))

    def run_sync(self, task: str, options: RunOptions | None = None, **fields: Unpack[OptionFields]) -> Result:
        """`run` for code without an event loop of its own. ConfigurationError where one runs: use `await agent.run`."""
        with suppress(RuntimeError):
            if asyncio.get_running_loop():
                raise ConfigurationError("an event loop runs here already: use `await agent.run(…)`, not run_sync")
        return asyncio.run(self._and_close(self.run(task, options, **fields)))

    def stream(
        self, task: str, options: RunOptions | None = None, **fields: Unpack[OptionFields]
    ) -> AsyncGenerator[Event, None]:
        """Carry out a task, saying everything that happens; the last event is always `RunFinished`.

        Raises `AgentError`, FileNotFoundError or PermissionError when the run cannot start. When the consuming task is
        cancelled, `RunFinished` with the partial result comes first and the cancellation goes on after it.
        """
        known = merged(options, fields)
        return self._carry_out(partial(self._begin, task, known), known)

    async def resume(self, run: str, *, output: Any = None, ask: Ask | None = None) -> Result:
        """Go on with a run of the journal that did not come to its end: see `resume_stream`."""
        return await _result(self.resume_stream(run, output=output, ask=ask))

    def resume_stream(self, run: str, *, output: Any = None, ask: Ask | None = None) -> AsyncGenerator[Event, None]:
        """Go on where a run was stopped, killed or failed; `run` is its id, the beginning of it, or `"last"`.

        What it said before is said again, and no finished call of a tool runs twice. Pass the same tools as then. The
        form of its answer is in the journal; pass the `output` that it had for a value of that type, else its fields
        come as a dict. One that was answered is only told again. Raises `JournalError`.
        """
        return self._carry_out(partial(resumed, self._kept, run, self.engine), RunOptions(output=output, ask=ask))

    def replay(self, run: str, *, output: Any = None) -> AsyncGenerator[Event, None]:
        """Carry out a recorded run again without a model, tools or a sandbox, from what the journal holds of it.

        It says what it said then; one that stopped in the middle ends there. Raises `JournalError`.
        """
        return self._carry_out(partial(replayed, self._kept, run, self.engine), RunOptions(output=output))

    def run_many(
        self,
        tasks: Iterable[str | Task],
        options: RunOptions | None = None,
        *,
        concurrency: int = 32,
        **fields: Unpack[OptionFields],
    ) -> AsyncGenerator[tuple[int, Result], None]:
        """Carry out many tasks, `concurrency` at once; results as they come. See `fastslow.run_many`."""
        return run_many(self, tasks, merged(options, fields), concurrency=concurrency)

    def as_tool(self, name: str, description: str, *, output: Any = None) -> Tool:
        """This agent as another one's tool, which takes a task in words.

        Each call is a run of its own: a child of the other's in the journal, its spending counts in the other's budget
        (and in its own), cancelling the other cancels it, and a resumed parent goes on with it. output: the form of
        what it gives back; without it, words.
        """
        return agent_tool(self, name, description, output)

    async def aclose(self) -> None:
        """Close connections and give back warm containers."""
        await self.engine.aclose()
        if self.sandbox:
            await self.sandbox.aclose()

    def conversation(self, options: RunOptions | None = None, **fields: Unpack[OptionFields]) -> Conversation:
        """Tasks that follow each other in one warm sandbox: `async with agent.conversation(tree=…) as talk`. With
        `after`, it goes on from that run."""
        return Conversation(self, merged(options, fields))

    # --- how a run goes --------------------------------------------------------------------------

    async def _and_close(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await work
        finally:
            await self.aclose()  # connections belong to this call's event loop

    @property
    def _kept(self) -> Journal:
        if self.journal is None:
            raise ConfigurationError("this agent keeps no journal, so no run can be found; pass Agent(journal=...)")
        return self.journal

    def stream_within(self, task: str, options: RunOptions, parent: Parent | None) -> AsyncGenerator[Event, None]:
        """`stream` of a run within another one, or within a job: it counts in the parent's ledger, too."""
        return self._carry_out(partial(self._begin, task, options), options, parent)

    def stream_in(self, task: str, options: RunOptions, opened: Opened) -> AsyncGenerator[Event, None]:
        """`stream` in a workspace that `opened` gives. See `Conversation`."""
        return self._carry_out(partial(self._begin, task, options), options, opened=opened)

    @contextmanager
    def _begin(self, task: str, options: RunOptions, taken: Taken | None = None) -> Iterator[Start]:
        """A new run, or the one that has the key already. taken: what it gets of a folder."""
        check_text("the task", task)
        with ExitStack() as held:
            known = None
            if options.key:
                held.enter_context(self._kept.hold_key(options.key))
                known = self._kept.keyed(options.key)
            start = resumed(self._kept, known, self.engine) if known else self._new(task, options, taken)
            yield held.enter_context(start)

    def _new(self, task: str, options: RunOptions, taken: Taken | None) -> AbstractContextManager[Start]:
        """A run that nobody asked to be kept goes on where it cannot be: with a notice that says so."""
        before = self._kept.find(options.after) if options.after else ""
        files = checked_files(options.files, self.sandbox.limits.upload if self.sandbox else 0) if options.files else ()
        history = tuple(options.history)
        try:
            if self.journal:
                self.journal.open()
        except (JournalError, OSError) as error:
            if self._must_keep or taken:
                raise
            notice = f"this run is not written down and cannot be resumed: {error}"
            return begin(None, task, files, history=history, notices=(notice,), check=options.check)
        if options.compact and before:
            history = shorter(self._kept, before)
        return begin(self.journal, task, files, before, history, tree=taken, check=options.check)

    async def _carry_out(
        self,
        start: Callable[..., AbstractContextManager[Start]],
        options: RunOptions,
        parent: Parent | None = None,
        opened: Opened = _own,
    ) -> AsyncGenerator[Event, None]:
        asked_for = None if options.output is None else Form.of(options.output)
        if options.check and self.sandbox is None:
            raise ConfigurationError(f"check={options.check!r:.80} runs in a sandbox, and this agent has none")
        taken = {"taken": await self._take(options.tree)} if options.tree else {}
        with start(**taken) as begun:
            engine, say = begun.engine or self.engine, begun.recorder.say
            form = asked_for or (_recorded_form(begun.written) if begun.written else None)
            notices = await engine.connect()
            async with AsyncExitStack() as stack:
                workspace = self._workspace(begun)
                if workspace and not begun.recorder.replaying:
                    workspace = await stack.enter_async_context(opened(workspace))
                run = self._start(engine, begun, options, workspace, form, parent)
                toolsets = await stack.enter_async_context(AsyncExitStack())
                failed = await self._open(toolsets, run) if self.toolsets and not begun.recorder.replaying else None
                trunk = Branch(run, "", await self._state(run, begun, options))
                first: list[Event] = [self._started(run, begun, options, parent), *begun.resumed]
                first += map(Notice, (*begun.notices, *notices))
                life = Life(trunk)
                with life.until_its_end():
                    for event in first:
                        life.said.append(say(event))
                        yield life.said[-1]
                    if failed:
                        raise failed
                    async with aclosing(checked(trunk, begun.check) if begun.check else trunk.loop()) as events:
                        async for event in events:
                            life.said.append(event)
                            yield event
                            while workspace and workspace.egress:
                                yield say(life.connection(workspace))
                if workspace:
                    for notice in await life.collect(workspace, *self._out(begun, options)):
                        life.said.append(say(notice))
                        yield life.said[-1]
                if self.toolsets:
                    await life.close(toolsets)
                seconds = run.ledger.seconds
            while workspace and workspace.egress:  # of connections that ended with the session
                yield life.connection(workspace)
            result = life.result(seconds)
            with suppress(JournalError):  # it failed before: the reason says so
                written = say(RunFinished(replace(result, output=None))).result
                result = _retold(result, written, asked_for)
            yield RunFinished(result)
            if life.cancelled:
                raise life.cancelled

    async def _open(self, stack: AsyncExitStack, run: Run) -> Exception | None:
        """Open the toolsets of a run, and say what went wrong."""
        try:
            run.toolsets = tuple([await stack.enter_async_context(opened(toolset)) for toolset in self.toolsets])
            _ = run.toolbox
        except (ToolsetFailed, ToolDefinitionError) as error:
            run.toolsets = ()
            return error
        return None

    def _workspace(self, begun: Start) -> Workspace | None:
        if self.sandbox is None:
            return None
        files = (*begun.there, *begun.files)
        skills = skill_files(begun.project) if begun.project else ()
        return Workspace(self.sandbox, files, begun.record, begun.history, self._functions, begun.tree, skills)

    async def _take(self, tree: Tree) -> Taken:
        """Look which files of a folder go in, and how the work is proven. ConfigurationError."""
        if self.sandbox is None or self.journal is None:
            raise ConfigurationError("a run on a folder needs a sandbox and a journal, which keeps what it changes")
        commands = (await self.sandbox.installed()).commands
        return await asyncio.to_thread(take, tree, self.sandbox.limits, commands)

    def _out(self, begun: Start, options: RunOptions) -> tuple[Path, str]:
        """The folder that the user named, and what is made in it for this run."""
        out = options.out or self.out
        return (Path(out), "") if out else (Path(), f"fastslow-out/{begun.run}")

    def _start(
        self,
        engine: Engine,
        begun: Start,
        options: RunOptions,
        workspace: Workspace | None,
        form: Form | None,
        parent: Parent | None,
    ) -> Run:
        plan = begun.written.plan if begun.written else options.plan
        shown = begun.tree and begun.check and not (form or plan or self.tools.tools or self.toolsets) and begun.texts
        strategy = self.strategy or (SHOWN if shown else STRATEGIES)[engine.profile.strategy]
        builtin = self._builtin[engine.profile.edit]
        alone = not (builtin or self.tools.tools or self.toolsets)  # a plan without tools has nothing to do
        offered = () if alone else strategy.tools(builtin)
        skill = filter(None, [skill_tool(begun.project.skills) if begun.project else None])
        think = self.think if options.think is None else options.think
        policy = options.policy or (self.policy if options.think is None else None)
        return Run(
            id=begun.run,
            session=begun.session or begun.run,
            task=begun.task,
            files=tuple(file.name for file in (*begun.there, *begun.files)),
            engine=engine,
            strategy=strategy,
            fixed=(*offered, *([form.tool] if form else ()), *skill, *self.tools.tools),
            functions=self.tools,
            policy=policy or ModePolicy(engine.profile.rules, think),
            ledger=self._ledger(begun, options.budget or self.budget, parent),
            recorder=begun.recorder,
            gate=Gate(self.approval, options.ask or self.ask, begun.recorder),
            workspace=workspace,
            seen=workspace.seen if workspace else Seen(),
            form=form,
            spent_within=partial(self.journal.replies_within, begun.run) if self.journal else None,
            changed=partial(changes_of, self.journal, begun.run) if self.journal and begun.tree else None,
            project=begun.project,
            given=_given(plan) if plan and not (begun.resumed and begun.resumed[0].turns) else None,
        )

    def _ledger(self, begun: Start, budget: Budget, parent: Parent | None) -> Ledger:
        """What the run has spent so far is known once its recorded replies are gone through again."""
        started, above = time.monotonic() - begun.seconds, parent.ledger if parent else None
        if not begun.spent:
            return Ledger(budget, started=started, above=above)
        spent = Ledger(budget, started=started)
        within = self.journal.replies_within(begun.run) if self.journal and begun.spent else ()
        for event in (*begun.spent, *within):
            spent.add(event.mode, event.reply)
        return Ledger(spent.renewed(), started=started, above=above)

    def _started(self, run: Run, begun: Start, options: RunOptions, parent: Parent | None) -> RunStarted:
        out = options.out or self.out
        settings = {
            "think": self.think if options.think is None else options.think,
            "budget": asdict(options.budget or self.budget),
            "instructions": self.instructions if options.instructions is None else options.instructions,
            "out": str(out) if out else None,
            "allow": list(self.sandbox.network.allow) if self.sandbox else [],
            "limits": asdict(self.sandbox.limits) if self.sandbox else {},
        }
        return RunStarted(
            begun.run,
            begun.task,
            run.engine.model,
            run.engine.profile.name,
            tuple([tool.name for tool in run.toolbox.tools]),
            run.files[len(begun.there) :],
            settings,
            begun.after,
            tuple(map(to_dict, begun.earlier if options.compact else options.history)),
            run.form.schema if run.form else None,
            options.key,
            parent.run if parent else "",
            begun.folder,
            begun.written.plan if begun.written else options.plan,
            begun.outline,
            begun.command,
        )

    async def _state(self, run: Run, begun: Start, options: RunOptions) -> State:
        """What the trunk begins with."""
        instructions = self.instructions if options.instructions is None else options.instructions
        system = "\n\n".join([*await self._system(run), *([instructions] if instructions else [])])
        return State(
            begun.task,
            files=run.files,
            tools=frozenset([tool.name for tool in run.toolbox.tools if not run.form or tool is not run.form.tool]),
            structured=run.form is not None,
            transcript=Transcript().append(System(system), *begun.earlier, begun.asked),
        )

    async def _system(self, run: Run) -> list[str]:
        """The parts of the system prompt."""
        sandbox = self.sandbox
        allow = ", ".join(sandbox.network.allow) if sandbox else ""
        if self.system is not None:
            return [self.system]
        there = await sandbox.installed() if sandbox and not run.recorder.replaying else Installed()
        installed = f" Installed: {', '.join(there.packages)}." if there.packages else ""
        installed += f" Commands: {', '.join(there.commands)}." if there.commands else ""
        network = "" if allow else " without network"
        edit = run.engine.profile.edit
        parts = [fill(run.strategy.system(bool(self._builtin[edit])), packages=installed, network=network)]
        if run.changed and "read_file" in run.toolbox:
            parts.append(prompt("tree", edit=EDITING[edit]))
        if run.project and run.project.instructions.text:
            parts.append(run.project.instructions.text)
        if allow:
            parts.append(prompt("network", hosts=allow))
        return parts


async def _result(events: AsyncGenerator[Event, None]) -> Result:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, RunFinished):
                result = event.result
    return result


def _retold(result: Result, written: Result, form: Form | None) -> Result:
    """What a replayed run had, with the output that its answer gives now; of any other run its own result."""
    if form and written.exit is Exit.ANSWERED and result.exit is not Exit.ANSWERED:
        why = f"what run {result.run} answered does not fit output={form.name}; pass the type that it was asked for"
        return replace(result, reason=why)
    output = result.output if written.exit is Exit.ANSWERED else None
    return replace(written, output=output, events=result.events)


def _given(plan: Plan) -> Reply:
    """A plan as though the model had made it."""
    return Reply(calls=(ToolCall("plan-given", PLAN.name, plan.model_dump_json()),))


def _recorded_form(written: RunStarted) -> Form | None:
    """The form of the answer of a run that goes on."""
    return Form.from_schema(written.output) if written.output else None
