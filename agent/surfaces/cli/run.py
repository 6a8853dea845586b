"""`fastslow run` and `resume`: set up what is missing, carry out the task, show it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from fastslow import VLLM, Agent, Approval, Budget, Plan, RunOptions
from fastslow.agent.approval import unattended
from fastslow.agent.events import Event, Exit, Result, RunFinished
from fastslow.agent.folders import config_folder
from fastslow.agent.given import checked_files
from fastslow.agent.modes import Think
from fastslow.agent.record.jsonl import to_line
from fastslow.agent.strategy.planning import LOOKING, Planning
from fastslow.agent.surfaces.cli.asking import Asker, attended
from fastslow.agent.surfaces.cli.live import RunView, View
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_run
from fastslow.agent.surfaces.cli.signals import cancel_on_signals
from fastslow.agent.surfaces.cli.status import CANCELLED, FAILED, status_of_run
from fastslow.agent.surfaces.cli.text import seconds, terminal
from fastslow.agent.texts import check_out, check_text
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import DockerSandbox, Limits, Network
from fastslow.tools.builtin import BUILTIN

Finished: TypeAlias = Callable[[Result], int]


@dataclass(frozen=True, slots=True)
class RunArguments:
    """The command line of one run. base_url: a server that already runs; None uses the managed one. limits: of the
    sandbox. after: the run that the task follows. resume: the run that goes on, instead of a task. rules: a
    file of them. tree: the folder that it works on a copy of. packages: of Python, in the sandbox's image;
    image: another one than ours. only_plan: look, and answer with a plan. plan: what the run begins with. check: the
    command that proves the work. schema: of the answer, which stdout is for then."""

    task: str | None
    files: tuple[Path, ...]
    model: str | None
    base_url: str | None
    think: Think
    out: Path | None
    json_lines: bool
    show_thinking: bool
    network: Network
    limits: Limits
    budget: Budget
    instructions: str = ""
    after: str | None = None
    resume: str | None = None
    rules: Path | None = None
    tree: Tree | None = None
    packages: tuple[str, ...] = ()
    image: str | None = None
    only_plan: bool = False
    plan: Plan | None = None
    check: str = ""
    schema: Mapping[str, Any] | None = None


class JsonLines:
    """A view for programs: one event a line on stdout, and nothing else there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, event: Event) -> None:
        """Print one event."""
        sys.stdout.write(to_line(event) + "\n")
        sys.stdout.flush()


def run(arguments: RunArguments, finished: Finished | None = None) -> int:
    """Set up what is missing, carry the task out and show it; returns the exit status. finished: what is done with the
    result, once it was shown; its own status counts where the run's is 0."""
    phases = Phases(terminal(stderr=True))
    agent = set_up(arguments, phases)
    alone = arguments.schema is not None and not arguments.json_lines  # the answer, on stdout
    console = terminal(stderr=alone)
    view = JsonLines() if arguments.json_lines else RunView(console, show_thinking=arguments.show_thinking)
    ask = Asker(console, view.paused) if isinstance(view, RunView) and attended() else unattended
    if arguments.resume:
        events = agent.resume_stream(arguments.resume, ask=ask)
    else:
        output = Plan if arguments.only_plan else arguments.schema
        how = RunOptions(arguments.files, output, arguments.after, ask=ask, check=arguments.check)
        events = agent.stream(arguments.task or "", how, tree=arguments.tree, plan=arguments.plan)
    return asyncio.run(carry_out(agent, events, view, phases, print_answer if alone else finished))


def print_answer(result: Result) -> int:
    """An answer of a given form, for programs."""
    if result.exit is Exit.ANSWERED:
        print(json.dumps(result.output))  # noqa: T201 - all of it, and nothing else
    return 0


def set_up(arguments: RunArguments, phases: Phases) -> Agent:
    """The agent that the command line asks for, once all is there that it needs."""
    check_text("the task", arguments.task or "")
    if arguments.out:
        check_out(arguments.out)
    approval = Approval.load(arguments.rules) if arguments.rules else default_rules()
    packages, image = arguments.packages, arguments.image
    sandbox = DockerSandbox(arguments.limits, network=arguments.network, packages=packages, image=image)
    checked_files(arguments.files, sandbox.limits.upload)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    prepare_run(phases, arguments.model, server=arguments.base_url is None, packages=packages, image=image)
    return Agent(
        engine=VLLM(arguments.base_url, arguments.model) if arguments.base_url else VLLM(),
        builtin=LOOKING if arguments.only_plan else BUILTIN,
        strategy=Planning() if arguments.only_plan else None,
        sandbox=sandbox,
        think=arguments.think,
        budget=arguments.budget,
        instructions=arguments.instructions,
        out=arguments.out,
        approval=approval,
    )


def default_rules() -> Approval:
    """The user's own rules. None are taken from the working folder: a repository must not grant itself rights."""
    path = config_folder() / "approval.toml"
    return Approval.load(path) if path.exists() else Approval()


def make_view(*, as_json: bool, show_thinking: bool) -> View:
    return JsonLines() if as_json else RunView(terminal(), show_thinking=show_thinking)


async def carry_out(
    agent: Agent,
    events: AsyncGenerator[Event, None],
    view: View,
    phases: Phases,
    finished: Finished | None = None,
) -> int:
    """Check the server, then show the run's events as they come; returns the exit status."""
    status = FAILED
    cancel_on_signals()
    try:
        await check_server(agent, phases)
        begun = time.monotonic()
        with view:
            async with aclosing(events):
                async for event in events:
                    view.show(event)
                    if isinstance(event, RunFinished):
                        status = status_of_run(event.result)
                        result = event.result
        if finished:
            status = finished(result) or status
        took = f"set-up took {seconds(phases.seconds)} in all, the run {seconds(time.monotonic() - begun)}"
        terminal(stderr=True).print(took, style="dim", soft_wrap=True)
    except asyncio.CancelledError:
        return CANCELLED
    finally:
        await agent.aclose()
    return status


async def check_server(agent: Agent, phases: Phases) -> None:
    """Reach the model's server, and see that it does what is needed of it."""
    with phases.phase("Server check", "thinking and fast turns must both work on it") as on_progress:
        on_progress("trying both modes, once after each start of the server", None)
        await agent.engine.connect()
        on_progress(f"{agent.engine.model}, profile {agent.engine.profile.name}", None)
