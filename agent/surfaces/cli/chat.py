"""`fastslow chat`: tasks that follow each other, typed at a terminal or read from a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fastslow import Agent, Journal
from fastslow.agent.conversation import Conversation
from fastslow.agent.errors import AgentError
from fastslow.agent.folders import state_folder
from fastslow.agent.surfaces.cli.asking import attended
from fastslow.agent.surfaces.cli.chat_commands import Commands
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.run import RunArguments, check_server, set_up
from fastslow.agent.surfaces.cli.status import CANCELLED, sentence, status_of
from fastslow.agent.surfaces.cli.talk import Talk
from fastslow.agent.surfaces.cli.text import one_line, terminal
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import SandboxError
from fastslow.tools.errors import ToolError

PATIENCE = 3  # times that Ctrl-C is pressed at a task until nothing is waited for any more
READ = 1 << 16  # bytes of standard input at once
ENDS = (signal.SIGTERM, signal.SIGHUP)
ERRORS = (AgentError, SandboxError, ToolError, OSError)


def begins_with(
    after: str | None, folder: Path | None, test: str | None, protect: list[str] | None, *, given: bool
) -> tuple[str | None, Tree | None]:
    """The run that a conversation follows, by its id, and the folder that it is about. folder: None for none. given: a
    person named it; else it is that of the run."""
    kept = None if protect is None else tuple(glob for glob in protect if glob)
    if after is None:
        return None, Tree(folder, test, kept) if folder else None
    journal = Journal()
    try:
        run = journal.find(after)
        then = journal.started(run).tree
    finally:
        journal.close()
    if folder is None or given:
        return run, Tree(folder, test, kept) if folder else None
    if then is None:
        return run, None
    return run, Tree(then.root, then.test if test is None else test, then.protect if kept is None else kept)


def chat(arguments: RunArguments) -> int:
    """Set up what is missing, and hold the conversation; returns the exit status."""
    phases = Phases(terminal(stderr=True))
    agent = set_up(arguments, phases)
    return asyncio.run(_hold(agent, arguments, phases))


async def _hold(agent: Agent, arguments: RunArguments, phases: Phases) -> int:
    main = asyncio.current_task()
    if main is None:
        raise RuntimeError("signals are handled for a running task")
    for number in ENDS if attended() else (*ENDS, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    console = terminal()
    try:
        await check_server(agent, phases)
        async with agent.conversation(tree=arguments.tree, after=arguments.after) as conversation:
            talk = Talk(agent, conversation, console, arguments, attended=attended())
            holder = Chat(talk, console)
            try:
                await (_typed(holder) if attended() else _piped(holder))
            finally:
                _say_how_to_come_back(talk, conversation)
    except asyncio.CancelledError:
        return CANCELLED
    finally:
        await agent.aclose()
    return holder.status


class Chat:
    """Does what was typed, one input after the other. status: of the first that failed, where nobody is there."""

    def __init__(self, talk: Talk, console: Console) -> None:
        self.talk = talk
        self.commands = Commands(talk, console)
        self.status = 0
        self._console = console
        self._running: asyncio.Task[int] | None = None
        self._presses = 0

    async def do(self, line: str) -> None:
        """Carry out a task, a `/command` or a `!command`. What fails is told, and ends nothing."""
        self._running, self._presses = asyncio.create_task(self._carry_out(line)), 0
        try:
            status = await self._running
        except asyncio.CancelledError:
            main = asyncio.current_task()
            if main and main.cancelling():  # it is not the task that ends, but all of us
                raise
            status = CANCELLED
        except ERRORS as error:
            self._console.print(Text("✗ ", "red") + Text(one_line(sentence(error))), soft_wrap=True)
            status = status_of(error)
        finally:
            self._running = None
        if not self.talk.attended:
            self.status = self.status or status

    async def _carry_out(self, line: str) -> int:
        if line.startswith("/"):
            return await self.commands.do(line)
        if line.startswith("!"):
            return await self.talk.shell(line[1:].strip())
        return await self.talk.task(line)

    def interrupt(self) -> None:
        """Ctrl-C: what is under way ends, and the conversation goes on."""
        if self._running is None:
            return
        self._presses += 1
        if self._presses == PATIENCE:
            terminal(stderr=True).show_cursor()
            os._exit(CANCELLED)
        if self._presses == 1:
            # Not by a console of its own: what the view redraws would be written over it.
            print("Stopping this; the conversation stays. Ctrl-C twice more ends all at once.", file=sys.stderr)  # noqa: T201
            self._running.cancel()


async def _typed(holder: Chat) -> None:
    from fastslow.agent.surfaces.cli.prompt import Prompt

    talk, loop = holder.talk, asyncio.get_running_loop()
    prompt = Prompt(state_folder() / "chat-history", holder.commands, talk)
    talk.welcome()
    while not holder.commands.left and (line := await prompt.ask()) is not None:
        loop.add_signal_handler(signal.SIGINT, holder.interrupt)  # anew, as the prompt has taken its place
        if line.strip():
            await holder.do(line.strip())


async def _piped(holder: Chat) -> None:
    async for line in _lines():
        if line.strip():
            await holder.do(line.strip())
        if holder.commands.left:
            return


async def _lines() -> AsyncIterator[str]:
    """Lines of standard input as they come, without a thread: one that still waits would keep us from ending."""
    if sys.stdin is None:  # it was closed before we began
        return
    rest = b""
    while data := await _read(sys.stdin.fileno()):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")


async def _read(fd: int) -> bytes:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    with _watched(loop, fd, ready):
        await ready.wait()
    return os.read(fd, READ)


@contextmanager
def _watched(loop: asyncio.AbstractEventLoop, fd: int, ready: asyncio.Event) -> Iterator[None]:
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:  # a file, which is always ready
        ready.set()
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(fd)


def _say_how_to_come_back(talk: Talk, conversation: Conversation) -> None:
    if not conversation.last:
        return
    run = one_line(conversation.last)
    lines = [f"Go on with it: fastslow chat --after {run}"]
    if talk.has_unapplied():
        lines.append(f"Take its changes: fastslow apply {run}")
    terminal(stderr=True).print(Text("\n".join(lines), "dim"), soft_wrap=True)
