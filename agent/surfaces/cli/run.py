"""`fastslow run` and `resume`: set up what is missing, carry out the task, show it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastslow import VLLM, Agent, Approval, Budget
from fastslow.agent.events import Event, Exit, RunFinished
from fastslow.agent.folders import config_folder
from fastslow.agent.modes import Think
from fastslow.agent.record.jsonl import to_json
from fastslow.agent.surfaces.cli.asking import Asker, attended
from fastslow.agent.surfaces.cli.live import RunView, View
from fastslow.agent.surfaces.cli.options import CANCELLED
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare_run
from fastslow.agent.surfaces.cli.signals import interrupts
from fastslow.agent.surfaces.cli.text import seconds, terminal
from fastslow.agent.workspace import checked
from fastslow.sandbox import DockerSandbox, Network

STATUS = {Exit.ANSWERED: 0, Exit.FAILED: 1, Exit.BUDGET: 1, Exit.STOPPED: 1, Exit.CANCELLED: CANCELLED}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line of one run. base_url: a server that is not ours; None uses the managed one. after: the
    answered run of the journal that the task follows. resume: the one that goes on, instead of a task."""

    task: str | None
    files: tuple[Path, ...]
    model: str | None
    base_url: str | None
    think: Think
    out: Path | None
    json_lines: bool
    show_thinking: bool
    network: Network
    budget: Budget | None = None
    instructions: str = ""
    after: str | None = None
    resume: str | None = None
    rules: Path | None = None


class JsonLines:
    """A view for programs: one event a line on stdout, and nothing else there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, event: Event) -> None:
        """Print one event."""
        sys.stdout.write(json.dumps(to_json(event)) + "\n")
        sys.stdout.flush()


def run(wanted: Wanted) -> int:
    """Set up, carry out, show; returns the exit status."""
    approval = Approval.load(wanted.rules) if wanted.rules else users_rules()
    sandbox = DockerSandbox(network=wanted.network)
    files = checked(wanted.files, sandbox.limits.upload)
    if wanted.out:
        wanted.out.mkdir(parents=True, exist_ok=True)
    phases = Phases(terminal(stderr=True))
    prepare_run(phases, wanted.model, server=wanted.base_url is None)
    engine = VLLM(wanted.base_url, wanted.model) if wanted.base_url else VLLM()
    view = view_of(as_json=wanted.json_lines, show_thinking=wanted.show_thinking)
    agent = Agent(
        engine=engine,
        sandbox=sandbox,
        think=wanted.think,
        budget=wanted.budget,
        instructions=wanted.instructions,
        out=wanted.out,
        approval=approval,
        ask=Asker(terminal(), view.paused) if isinstance(view, RunView) and attended() else None,
    )
    events = agent.stream(wanted.task, files=files, after=wanted.after, resume=wanted.resume)
    return asyncio.run(carry_out(agent, events, view, phases))


def users_rules() -> Approval:
    """The user's own rules. None are taken from the working folder: a repository must not grant itself rights."""
    path = config_folder() / "approval.toml"
    return Approval.load(path) if path.exists() else Approval()


def view_of(*, as_json: bool, show_thinking: bool) -> View:
    return JsonLines() if as_json else RunView(terminal(), show_thinking=show_thinking)


async def carry_out(agent: Agent, said: AsyncGenerator[Event, None], view: View, phases: Phases) -> int:
    status = STATUS[Exit.FAILED]
    _cancel_on_signals()
    try:
        with phases.phase("First contact", "both modes of the server must work") as on_progress:
            on_progress("probing the mode switch, once a start", None)
            await agent.engine.connect()
            on_progress(f"{agent.engine.model}, profile {agent.engine.profile.name}", None)
        begun = time.monotonic()
        with view:
            async with aclosing(said) as events:
                async for event in events:
                    view.show(event)
                    if isinstance(event, RunFinished):
                        status = STATUS[event.result.exit]
        took = f"set-up took {seconds(phases.seconds)} in all, the run {seconds(time.monotonic() - begun)}"
        terminal(stderr=True).print(took, style="dim", soft_wrap=True)
    except asyncio.CancelledError:
        return CANCELLED
    finally:
        await agent.aclose()
    return status


def _cancel_on_signals() -> None:
    """The first Ctrl-C (or SIGTERM) cancels the run, which then ends cleanly; the second ends at once."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("signals are handled for a running task")
    loop, cancelled = asyncio.get_running_loop(), False

    def on_signal() -> None:
        nonlocal cancelled
        if cancelled:
            terminal(stderr=True).show_cursor()
            os._exit(CANCELLED)
        cancelled = True
        # Not by a console of its own: what is drawn anew would be written over it.
        print("Cancelling; press Ctrl-C again to end at once.", file=sys.stderr)  # noqa: T201
        task.cancel()

    for number in interrupts():
        loop.add_signal_handler(number, on_signal)
