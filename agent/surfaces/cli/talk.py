"""What a conversation in the terminal does with tasks and commands of the shell, and what is known of it so far."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from fastslow import VLLM, Agent
from fastslow.agent.approval import unattended
from fastslow.agent.changes import ChangeSet
from fastslow.agent.conversation import Conversation
from fastslow.agent.engine.pool import engine_of
from fastslow.agent.errors import AgentError, ConfigurationError
from fastslow.agent.events import CallOutput, CallStarted, Notice, Result, RunFinished, RunStarted, TurnFinished
from fastslow.agent.flow.planfile import PlanFile
from fastslow.agent.modes import Think
from fastslow.agent.options import OptionFields
from fastslow.agent.plan import Plan
from fastslow.agent.record.changed import changes_of
from fastslow.agent.strategy.planning import LOOKING, Planning
from fastslow.agent.surfaces.cli.asking import Asker
from fastslow.agent.surfaces.cli.blocks import join_dots
from fastslow.agent.surfaces.cli.code import decided
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.surfaces.cli.run import RunArguments
from fastslow.agent.surfaces.cli.status import CANCELLED, FAILED, status_of_run
from fastslow.agent.surfaces.cli.text import clean, one_line, seconds, terminal
from fastslow.agent.transcript import ToolCall
from fastslow.tools import clip

TOLD = 2000  # characters of the output of a person's command that the model is told
TYPED = ToolCall("typed", "shell", "{}")  # a person's command, as the view shows calls


class TaskView(RunView):
    """A run within a conversation."""

    def next_lines(self, result: Result) -> list[str]:
        return ["Look at it: /diff", "Apply it:   /apply"] if result.changes else []


class Talk:
    """A conversation with somebody. attended: they sit at a terminal.

    think: how the next tasks think. files: brought with the next task. compact: its history is to
    be shorter. results: of the tasks so far, without their
    events. turn: the latest one of a trunk. applied: the runs whose changes were applied whole, the latest last.
    """

    def __init__(
        self, agent: Agent, conversation: Conversation, console: Console, arguments: RunArguments, *, attended: bool
    ) -> None:
        self.agent = agent
        self.conversation = conversation
        self.attended = attended
        self.tree = arguments.tree
        self.think: Think = arguments.think
        self.files: list[Path] = list(arguments.files)
        self.given: list[Path] = []
        self.results: list[Result] = []
        self.turn: TurnFinished | None = None
        self.compact = False
        self.applied: list[str] = []
        self._console = console
        self._base_url = arguments.base_url
        self._show_thinking = arguments.show_thinking
        self._noticed: set[Notice] = set()  # which is as true of the next task, and told once
        self._told: list[str] = []  # of a person's commands since the last task

    def welcome(self) -> None:
        """Say what the conversation is about."""
        about = f"about {Path(self.tree.root).absolute()}" if self.tree else "without a project"
        follows = f"after {self.conversation.last}" if self.conversation.last else ""
        self._console.print(Text(one_line(join_dots(about, follows)), "dim"), soft_wrap=True)
        self._console.print(Text("Alt-Enter begins a new line; /help lists the commands; Ctrl-D leaves.", "dim"))

    async def task(self, text: str) -> int:
        """Carry out a task; returns its exit status. Raises what `Conversation.stream` does."""
        return await self._carry_out(text, {})

    async def plan(self, text: str) -> int:
        """Carry out a task by a plan that the model makes while it only looks, as far as the person wants that."""
        planner = Agent(
            engine=self.agent.engine,
            builtin=LOOKING,
            strategy=Planning(),
            sandbox=self.agent.sandbox,
            budget=self.agent.budget,
            journal=self.agent.journal,
            approval=self.agent.approval,
        )
        tree = self.tree and replace(self.tree, test="")
        if status := await self._carry_out(text, {"output": Plan, "tree": tree}, planner):
            return status
        plan = self.results[-1].output
        if self.attended:
            try:
                with _interruptible():
                    chosen = decided(PlanFile.of(text, plan))
                    plan = chosen and chosen.filled({})[1]
            except (KeyboardInterrupt, typer.Abort):
                plan = None
        if plan is None:
            self._console.print(Text("The plan is not carried out; the conversation stays.", "dim"))
            return CANCELLED
        return await self._carry_out(text, {"plan": plan})

    async def take_model(self, name: str) -> None:
        """Have the next tasks done by another model that the server serves. Raises what `VLLM.connect` does; then it
        stays as it is."""
        engine = engine_of(self._base_url, name) if self._base_url else VLLM(model=name)
        try:
            await engine.connect()
        except BaseException:
            await engine.aclose()
            raise
        before, self.agent.engine, self.turn = self.agent.engine, engine, None
        await before.aclose()

    async def _carry_out(self, text: str, fields: OptionFields, by: Agent | None = None) -> int:
        view, first, status = TaskView(terminal(), show_thinking=self._show_thinking), None, FAILED
        options: OptionFields = {"think": self.think, "files": tuple(self.files), "compact": self.compact, **fields}
        options["ask"] = Asker(terminal(), view.paused) if self.attended else unattended
        with view:
            async with aclosing(self.conversation.stream(self._with_told(text), by=by, **options)) as events:
                async for event in events:
                    match event:
                        case RunStarted():
                            self.given, self.files, self._told = [*self.given, *self.files], [], []
                            self.compact = False
                            if self.attended:  # it was just typed
                                event = replace(event, task="")
                        case TurnFinished(branch=""):
                            self.turn, first = event, first or event
                        case RunFinished():
                            self.results.append(replace(event.result, events=()))
                            status = status_of_run(event.result)
                    if not (isinstance(event, Notice) and event in self._noticed):
                        view.show(event)
                    self._noticed |= {event} if isinstance(event, Notice) else set()
        if first:
            self._console.print(Text(f"Prefix cache: {cached_share(first)} of the first turn's prompt", "dim"))
        return status

    def _with_told(self, text: str) -> str:
        """A task with what the person did in the sandbox before it."""
        if not self._told:
            return text
        return "\n".join([text, "", "(Before this, I ran in the sandbox:", *self._told]) + ")"

    async def shell(self, command: str) -> int:
        """Run a person's command in the sandbox, and show what it prints."""
        if not command:
            raise ConfigurationError("expected a command for the sandbox's shell, such as !ls")
        workspace = self.conversation.workspace
        if workspace is None:
            raise ConfigurationError("the sandbox starts with the first task; give one first")
        view = TaskView(terminal())
        view.show(CallStarted("", TYPED, {"command": command}))
        with view:
            session = await workspace.session()
            execution = await session.shell(
                command, on_output=lambda stream, text: view.show(CallOutput("", TYPED.id, stream, text))
            )
            await workspace.save()
        ended = f"exit code {execution.exit_code}" if execution.exit_code else ""
        ended = execution.error or ended if execution.status != "ok" else ended
        output = "\n".join(part.strip("\n") for part in (execution.stdout, execution.stderr) if part.strip())
        self._told.append(clip("\n".join(filter(None, [f"$ {command}", output, ended])), TOLD))
        if output:
            self._console.print(Text(clean(output)), soft_wrap=True)
        status = one_line(join_dots(ended, seconds(execution.seconds)))
        self._console.print(Text(status, "dim" if execution.status == "ok" else "red"), soft_wrap=True)
        return 0 if execution.status == "ok" else FAILED

    def changes(self) -> ChangeSet:
        """What the tasks so far changed in the copy of the folder. ConfigurationError where there is none."""
        if not self.conversation.last:
            raise ConfigurationError("there was no task yet, so there are no changes")
        if self.agent.journal is None:
            raise ConfigurationError("nothing is written down, so nobody knows what was changed")
        return changes_of(self.agent.journal, self.conversation.last)

    def has_unapplied(self) -> bool:
        """Whether there are changes that were not applied."""
        try:
            return bool(self.tree and self.changes()) and self.conversation.last not in self.applied
        except AgentError:  # it is lost, or another one was removed
            return False

    def bottom(self) -> str:
        """One line for below the prompt."""
        engine, turn = self.agent.engine, self.turn
        parts = [engine.model, f"think {self.think}"]
        if turn:
            used = turn.reply.usage
            total = used.prompt + used.thinking + used.answer
            of = f" of {engine.context:,} ({total / engine.context:.0%})" if engine.context else ""
            parts += [f"context {total:,}{of}", f"cached {cached_share(turn)}"]
        if self.files:
            parts.append(f"brings {', '.join(path.name for path in self.files)}")
        return one_line(join_dots(*parts))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a question that the loop's own handler of it would wait for."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def cached_share(turn: TurnFinished) -> str:
    """How much of a turn's prompt the server had in its prefix cache."""
    usage = turn.reply.usage
    return f"{usage.cached / usage.prompt:.0%}" if usage.prompt else "unknown"
