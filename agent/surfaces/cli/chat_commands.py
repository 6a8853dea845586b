"""The `/commands` of a conversation."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Usage
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.given import checked_files
from fastslow.agent.surfaces.cli import changes
from fastslow.agent.surfaces.cli.blocks import change_lines, join_dots
from fastslow.agent.surfaces.cli.options import parse_think
from fastslow.agent.surfaces.cli.talk import Talk
from fastslow.agent.surfaces.cli.text import clean, one_line

Do: TypeAlias = Callable[[str], Awaitable[int]]
LONGEST_DIFF = 200_000  # characters that are coloured; a longer one takes seconds


@dataclass(frozen=True, slots=True)
class Command:
    """takes: its arguments, for the help. told: what it does. do: gets the arguments, gives an exit status."""

    takes: str
    told: str
    do: Do


class Commands:
    """Carries out `/commands`. left: the person wants to leave."""

    def __init__(self, talk: Talk, console: Console) -> None:
        self.left = False
        self.talk = talk
        self._console = console
        self.all: Mapping[str, Command] = {
            "/diff": Command("[PATH]...", "Show what was changed in the copy of your project.", self._diff),
            "/apply": Command("[PATH]...", "Write the changes into your project.", self._apply),
            "/undo": Command("", "Take back what was applied last.", self._undo),
            "/plan": Command("TASK", "Look only, and plan; carry it out once you like the plan.", self._plan),
            "/think": Command("auto|never|always|N", "How the next tasks think.", self._think),
            "/model": Command("[NAME]", "Show the model, or take another one that the server serves.", self._model),
            "/files": Command("", "List what was changed and what you brought.", self._files),
            "/file": Command("PATH", "Bring a file with the next task.", self._file),
            "/compact": Command("", "Begin the next task with a shorter history.", self._compact),
            "/status": Command("", "Show runs, tokens and limits.", self._status),
            "/help": Command("", "Show this.", self._help),
            "/exit": Command("", "Leave; the conversation can be gone on with.", self._exit),
        }

    async def do(self, line: str) -> int:
        """Carry out one; returns an exit status. ConfigurationError for what is none."""
        name, _, arguments = line.partition(" ")
        if name not in self.all:
            near = get_close_matches(name, self.all, n=3, cutoff=0.5) or [known for known in self.all if name in known]
            hint = f"did you mean {' or '.join(near)}?" if near else "/help lists them"
            raise ConfigurationError(f"there is no command {name[:80]}; {hint}")
        return await self.all[name].do(arguments.strip())

    async def _diff(self, arguments: str) -> int:
        text = clean(self.talk.changes().diff(_words(arguments)).decode("utf-8", "replace")).rstrip("\n")
        if not text:
            self._say("no changes")
        elif len(text) > LONGEST_DIFF:
            self._console.print(Text(text), soft_wrap=True)
        else:
            coloured = Syntax("", "diff", theme="ansi_dark").highlight(text)
            coloured.rstrip()
            self._console.print(coloured, soft_wrap=True)
        return 0

    async def _apply(self, arguments: str) -> int:
        paths, run = tuple(_words(arguments)), self.talk.changes().run
        status = changes.apply(run, paths, dry_run=False, as_json=False)
        if not status and not paths:
            self.talk.applied.append(run)
        return status

    async def _undo(self, arguments: str) -> int:
        applied = self.talk.applied
        status = changes.undo(applied[-1] if applied else self.talk.changes().run, as_json=False)
        if not status and applied:
            applied.pop()
        return status

    async def _think(self, arguments: str) -> int:
        if arguments:
            try:
                self.talk.think = parse_think(arguments)
            except typer.BadParameter as error:
                raise ConfigurationError(error.message) from error
        self._say(f"think {self.talk.think}")
        return 0

    async def _plan(self, arguments: str) -> int:
        if not arguments:
            raise ConfigurationError("expected a task to plan, as /plan add a --dry-run option")
        return await self.talk.plan(arguments)

    async def _model(self, arguments: str) -> int:
        if arguments and arguments != self.talk.agent.engine.model:
            await self.talk.take_model(arguments)
        engine = self.talk.agent.engine
        self._say(join_dots(engine.model, f"profile {engine.profile.name}", f"{engine.context:,} tokens of context"))
        served = await engine.served() if isinstance(engine, VLLM) else ()
        if others := [name for name in served if name != engine.model]:
            self._say(f"Served as well: {', '.join(others)}; /model NAME takes one.")
        else:
            run = self.talk.conversation.last
            self._say(
                f"Nothing else is served. Leave, then: fastslow chat {f'--after {run} ' if run else ''}--model NAME"
            )
        return 0

    async def _files(self, arguments: str) -> int:
        if self.talk.tree and self.talk.conversation.last:
            self._console.print(change_lines(self.talk.changes(), self._console.width), soft_wrap=True)
        for path in self.talk.given:
            self._say(f"given    {path}")
        for path in self.talk.files:
            self._say(f"brought with the next task: {path}")
        if not (self.talk.conversation.last or self.talk.files):
            self._say("none yet")
        return 0

    async def _file(self, arguments: str) -> int:
        if not arguments:
            raise ConfigurationError("expected a file to bring, as /file notes.csv")
        sandbox = self.talk.agent.sandbox
        path = Path(os.path.expanduser(arguments))  # noqa: ASYNC240 - it waits for nothing
        checked_files([*self.talk.files, path], sandbox.limits.upload if sandbox else 0)
        self.talk.files.append(path)
        self._say(f"brought with the next task: {path}")
        return 0

    async def _compact(self, arguments: str) -> int:
        self.talk.compact = True
        self._say("The next task begins with a shorter history.")
        return 0

    async def _status(self, arguments: str) -> int:
        talk = self.talk
        budget = {name: value for name, value in asdict(talk.agent.budget).items() if name not in ("step", "prices")}
        limits = join_dots(*(f"{name} {value:,}" for name, value in budget.items() if value is not None))
        rows = [
            (result.run, f"{result.exit}, {sum(row.turns for row in result.usage.values())} turns")
            for result in talk.results
        ]
        rows += [(f"{name} turns", told) for name, told in _tokens(talk)]
        rows += [("limits of a task", limits or "none")]
        rows += [("sandbox", "warm" if talk.conversation.workspace else "starts with the first task")]
        table = Table.grid(padding=(0, 2))
        for name, told in rows:
            table.add_row(Text(one_line(name), "bold"), Text(one_line(told)))
        self._say(talk.bottom())
        self._console.print(table)
        return 0

    async def _help(self, arguments: str) -> int:
        table = Table.grid(padding=(0, 2))
        for name, command in self.all.items():
            table.add_row(Text(f"{name} {command.takes}".strip(), "bold"), Text(command.told))
        table.add_row(
            Text("!COMMAND", "bold"), Text("Run a command in the sandbox; the model is told with the next task.")
        )
        table.add_row(Text("@PATH", "bold"), Text("Tab completes paths of the project, with @ before as you type."))
        table.add_row(
            Text("Alt-Enter", "bold"), Text("Begins a new line; Enter sends. What is pasted keeps its lines.")
        )
        table.add_row(
            Text("Ctrl-C", "bold"), Text("Stops a task, or clears the line; twice at the prompt, or Ctrl-D: leaves.")
        )
        self._console.print(table)
        return 0

    async def _exit(self, arguments: str) -> int:
        self.left = True
        return 0

    def _say(self, text: str) -> None:
        self._console.print(Text(one_line(text), "dim"), soft_wrap=True)


def _words(arguments: str) -> Sequence[str]:
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise ConfigurationError(f"the paths cannot be told apart: {error}") from error


def _tokens(talk: Talk) -> list[tuple[str, str]]:
    """What the tasks so far spent, by mode."""
    rows = []
    for mode in ("think", "fast"):
        usages = [result.usage[mode] for result in talk.results if mode in result.usage]
        spent = Usage()
        for row in usages:
            spent += row.usage
        if usages:
            share = f"{spent.cached / spent.prompt:.0%}" if spent.prompt else "0%"
            told = (
                f"{spent.prompt:,} prompt ({share} cached)",
                f"{spent.thinking:,} thinking",
                f"{spent.answer:,} answer",
            )
            rows.append((mode, join_dots(f"{sum(row.turns for row in usages)}", *told)))
    return rows
