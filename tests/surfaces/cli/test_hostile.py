"""Texts of others (models, tools, servers, file names, errors) never reach the terminal as anything but letters."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import fastslow.agent.errors as agent_errors
import fastslow.sandbox.errors as sandbox_errors
import fastslow.sandbox.packages as sandbox_packages
import fastslow.tools.errors as tool_errors
from fastslow.agent.errors import EngineDied, EngineRefused
from fastslow.agent.events import CallOutput, CallStarted, Exit, RunFinished
from fastslow.agent.record.written import RunInfo
from fastslow.agent.surfaces import cli
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.surfaces.cli.main import _print_error
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.run import JsonLines
from fastslow.agent.surfaces.cli.runs import run_table
from fastslow.agent.surfaces.cli.text import Terminal
from fastslow.agent.transcript import ToolCall
from tests.surfaces.cli.long import changed, each_kind
from tests.surfaces.cli.recorded import events

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"
)
HOSTILE = (
    "\x1b[31mred\x1b[2J\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\"
    "\x9b31m\x9d0;title\x9c\x1bPdevice\x1b\\\x1bc\x08\x00\x7f one\rover\u202eexe.png\u2066\u2069\u200f\u061c\u2028next"
    "\ud83d[bold red]markup[/bold red] :smile: [link=https://evil.example]x[/link] \x1b["
)


def screen() -> Terminal:
    """A terminal without colours, so that no escape sequence is ours."""
    return Terminal(file=io.StringIO(), width=100, height=60, force_terminal=True, color_system=None, _environ={})


def written(console: Terminal) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_every_text_of_every_event(terminal: bool) -> None:
    for event in each_kind():
        for where, hostile in changed(event, HOSTILE):
            console = screen()
            console._force_terminal = terminal
            view = RunView(console, show_thinking=True)
            for before in events()[:3]:
                view.show(before)
            if isinstance(hostile, CallOutput):
                view.show(CallStarted("1", ToolCall(hostile.call_id, "python", "{}"), {"code": "x"}))
            view.show(hostile)
            console.print(view.render())
            assert CONTROLS.findall(written(console)) == [], where


@pytest.mark.parametrize("exit_", list(Exit))
def test_reasons_are_cleaned_and_still_say_what_they_say(exit_: Exit) -> None:
    [end] = [event for event in each_kind() if isinstance(event, RunFinished)]
    console = screen()
    RunView(console).show(RunFinished(replace(end.result, exit=exit_, reason=HOSTILE, answer=HOSTILE, run=HOSTILE)))
    text = written(console)
    assert CONTROLS.findall(text) == []
    assert exit_ is Exit.ANSWERED or "[bold red]markup[/bold red] :smile:" in text


def test_every_event_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever looks at the lines on a terminal is no worse off, and whoever reads them gets what was said."""
    for event in each_kind():
        for _, hostile in changed(event, HOSTILE):
            JsonLines().show(hostile)
    said = capsys.readouterr().out
    assert CONTROLS.findall(said) == []
    assert all(json.loads(line)["event"] for line in said.splitlines())


def error_types(*modules: ModuleType) -> Iterator[type[Exception]]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Exception):
                yield value


ERRORS = sorted(set(error_types(agent_errors, sandbox_errors, sandbox_packages, tool_errors)), key=lambda e: e.__name__)


@pytest.mark.parametrize("kind", [*ERRORS, OSError, FileNotFoundError])
def test_every_error(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    if issubclass(kind, EngineDied):
        error: Exception = kind(HOSTILE, log=HOSTILE)
    elif issubclass(kind, EngineRefused):
        error = kind(HOSTILE, status=400)
    elif issubclass(kind, OSError) and kind.__module__ == "builtins":
        error = kind(2, HOSTILE, HOSTILE)
    else:
        error = kind(HOSTILE)
    _print_error(error)
    said = capsys.readouterr().err
    assert "fastslow: " in said
    assert "[bold red]markup[/bold red] :smile:" in said
    assert CONTROLS.findall(said) == []


def test_lists_of_runs_and_phases() -> None:
    console = screen()
    info = RunInfo(HOSTILE, HOSTILE, HOSTILE, datetime(2026, 1, 1, tzinfo=UTC), None, running=False)
    console.print(run_table([info]))
    with Phases(console).phase(HOSTILE, HOSTILE) as on_progress:
        on_progress(HOSTILE, None)
        console.print(Phases(console).__rich__())
    # A table that is redrawn moves the cursor: of escape sequences only those that do this are ours.
    assert CONTROLS.findall(re.sub("\x1b\\[\\?25[lh]|\x1b\\[[0-9]*[A-HKJ]|\r", "", written(console))) == []


def test_what_was_forgotten_to_be_cleaned_does_no_harm() -> None:
    console = screen()
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    for thing in (HOSTILE, Text(HOSTILE), table, Panel(HOSTILE, title=HOSTILE), Markdown(HOSTILE, hyperlinks=False)):
        console.print(thing)
        console.print(thing, soft_wrap=True)
    assert CONTROLS.findall(written(console)) == []
    assert "[bold red]markup[/bold red] :smile:" in written(console)


def test_nothing_is_printed_past_it() -> None:
    """Each console is the one that cleans; what is written otherwise is JSON, or a sentence of ours."""
    allowed = (
        "json.dumps",
        "to_line(",  # JSON in ASCII
        "one_line(",
        "WELCOME",
        "f\"fastslow {version('fastslow')}\"",
        "Cancelling; press",
        "Stopping this; the conversation",
        "flush",
        "json.dumps",
    )
    folder = Path(str(cli.__file__)).parent
    strange = []
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                called, whole = ast.unparse(node.func), ast.unparse(node)
                prints = called in ("print", "typer.echo", "sys.stdout.write", "sys.stderr.write", "typer.confirm")
                if called == "Console" or (prints and not any(word in whole for word in allowed)):
                    strange.append(f"{path.name}: {whole[:90]}")
    assert sorted(strange) == [
        "code.py: typer.confirm('May the model be told?', default=False, err=True)",
        # What a script of the user's says of itself.
        "flow.py: sys.stdout.write('\\n'.join([head, *(['', text] if text else []), '', 'Parameters:', *liste",
        "flow.py: typer.echo(context.get_help())",
        "prepare.py: typer.confirm(question, default=False, err=True)",  # cleaned where it is made
        "prepare.py: typer.confirm(question, default=True, err=True)",  # of constant words
        "remove.py: typer.confirm(f'Remove {_count(len(gone))} for good?', err=True)",
        "run.py: sys.stdout.write(HOW_TO_EDIT + written.to_yaml())",  # which escapes them
        "sandboxed.py: sys.stderr.write(f'fastslow: {text}\\n')",  # of numbers and constant words
        # A timer's words are the user's own, and none of them may have a control in it.
        "timer.py: typer.echo('systemd does not run here, so nothing is written. Add this line by crontab -e:",
        "timer.py: typer.echo('then, to have it run while you are logged out: loginctl enable-linger')",
        "timer.py: typer.echo(f'# {folder / unit}\\n{text}')",
        "timer.py: typer.echo(f'then: {shlex.join(each)}')",
        "timer.py: typer.echo(f'{what} {path}')",
        "timer.py: typer.echo(line)",
        "timer.py: typer.echo(what + f'Put NAME=VALUE lines into {secrets}, and let only you read it: chmod 6",
    ]
