"""`fastslow flow run`, `resume` and `answer`: load the script, carry it out or on, say what came of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from fastslow import Agent, Approval, Budget, ConfigurationError, DockerSandbox, Journal
from fastslow.agent.approval import unattended
from fastslow.agent.engine.pool import engine_of
from fastslow.agent.events import Exit
from fastslow.agent.flow.course import FlowEnd, carry_out, job_key, told_again
from fastslow.agent.flow.dry import dry_tree
from fastslow.agent.flow.memory import answer as write_answer
from fastslow.agent.flow.parameters import WrongParameter, about, usage, values_of, words_of
from fastslow.agent.flow.script import Script, ScriptFailed, loaded, told
from fastslow.agent.flow.workflow import Setting
from fastslow.agent.record.jobs import JobInfo, Jobs
from fastslow.agent.surfaces.cli import run as runner
from fastslow.agent.surfaces.cli.asking import Asker, attended
from fastslow.agent.surfaces.cli.flow_view import FlowView, JsonSteps, StepLines, say
from fastslow.agent.surfaces.cli.options import changed_budget, debug_wanted, sandbox_limits
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import prepare
from fastslow.agent.surfaces.cli.signals import cancel_on_signals
from fastslow.agent.surfaces.cli.status import STATUS
from fastslow.agent.surfaces.cli.text import one_line, terminal, typed

WRONG = 2  # exit status of what the user typed wrongly
OPTIONS = ("model", "base_url", "budget", "at_once", "out", "approval", "fresh", "dry_run", "json", "help", "debug")


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What a flow is carried out with. budget: limits by name. out: folder for what it makes. rules: a file of them."""

    model: str | None = None
    base_urls: tuple[str, ...] = ()
    budget: Mapping[str, float] | None = None
    at_once: int = 16
    out: Path | None = None
    rules: Path | None = None
    json_lines: bool = False

    def kept(self) -> dict[str, Any]:
        """As the journal holds them. Paths are absolute, as the flow may go on from another folder."""
        paths = {
            name: str(path.absolute()) if path else None for name, path in (("out", self.out), ("rules", self.rules))
        }
        return {**asdict(self), **paths, "budget": dict(self.budget) if self.budget else None}

    @property
    def asked(self) -> dict[str, Any]:
        """What changes an answered flow."""
        return {"model": self.model, "base_urls": list(self.base_urls)}


def run(path: Path, words: Sequence[str], options: FlowOptions, *, fresh: bool = False) -> int:
    """Carry out a flow as the command line asks; returns the exit status."""
    try:
        with loaded(path) as script:
            given = words_of(_checked(script).parameters, words)
            return _go(script, given, Path.cwd(), options, fresh=fresh)
    except (ScriptFailed, WrongParameter) as error:
        return _wrong(error)


def resume(name: str, options: FlowOptions) -> int:
    """Go on with a flow as the journal has it; options that are given take the place of those of then."""
    with closing(Journal()) as journal:
        info = Jobs(journal).find(name, "flow")
    return _go_on(info, options)


def answer(name: str, choice: str, options: FlowOptions, value: str | None = None) -> int:
    """Write an answer down, and go on. value: JSON of what a step returned that is done already."""
    try:
        returned = None if value is None else json.loads(value)
    except ValueError as error:
        return _wrong(ConfigurationError(f"expected JSON behind --value, got {value!r}: {error}"))
    flow, _, number = name.partition(":")
    if number and not number.isdecimal():
        return _wrong(ConfigurationError(f"expected FLOW or FLOW:N, such as {flow}:1, got {name!r}"))
    with closing(Journal()) as journal:
        info = Jobs(journal).find(flow, "flow")
        with Jobs(journal).open("flow", info.name, info.key.partition("/")[2], {}) as job:
            try:
                write_answer(job, int(number) if number else None, choice, returned)
            except ConfigurationError as error:
                job.finish(info.exit or Exit.WAITING)
                return _wrong(error)
            job.finish(Exit.WAITING)
    return _go_on(info, options)


def dry_run(path: Path, words: Sequence[str], options: FlowOptions) -> int:
    """Print the steps that a flow would have."""
    try:
        with loaded(path) as script:
            values = values_of(script.parameters, words_of(_checked(script).parameters, words), Path.cwd())
            tree = asyncio.run(dry_tree(script, values))
    except (ScriptFailed, WrongParameter) as error:
        return _wrong(error)
    if options.json_lines:
        sys.stdout.write(json.dumps(asdict(tree)) + "\n")
    else:
        for line in tree.lines():
            terminal().print(Text(_safe(line)), soft_wrap=True)
    return STATUS[tree.exit]


def print_usage(path: Path) -> int:
    """Print what a script takes."""
    try:
        with loaded(path) as script:
            rows, text = list(usage(_checked(script).parameters)), about(script.main)
    except ScriptFailed as error:
        return _wrong(error)
    widest = max((len(option) for option, _ in rows), default=0)
    listed = [f"  {option.ljust(widest)}  {told}".rstrip() for option, told in rows] or ["  (none)"]
    head = f"Usage: fastslow flow run {path} {'[--PARAMETER VALUE …]' if rows else ''}".rstrip()
    sys.stdout.write("\n".join([head, *(["", text] if text else []), "", "Parameters:", *listed]) + "\n")
    return 0


def _safe(line: str) -> str:
    """A line with its indent."""
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + one_line(text)


# --- how it goes -----------------------------------------------------------------------------------


def _checked(script: Script) -> Script:
    for one in script.parameters:
        if one.name in OPTIONS:
            raise ScriptFailed(
                f"{script.path.name}: main's parameter {one.name!r} has the name of an option of `fastslow flow run`; "
                "rename it"
            )
    return script


def _go_on(info: JobInfo, options: FlowOptions) -> int:
    settings = info.settings
    path, then = Path(settings["script"]), settings["options"]
    if not path.is_file():
        message = f"flow {info.job} was begun with {path}, which is not there any more; put it back, or begin anew"
        return _wrong(ConfigurationError(message))
    merged = FlowOptions(
        options.model or then["model"],
        options.base_urls or tuple(then["base_urls"]),
        options.budget or then["budget"],
        then["at_once"],
        Path(then["out"]) if then["out"] else None,
        Path(then["rules"]) if then["rules"] else None,
        options.json_lines,
    )
    try:
        with loaded(path) as script:
            return _go(script, settings["words"], Path(settings["folder"]), merged)
    except (ScriptFailed, WrongParameter) as error:
        return _wrong(error)


def _go(
    script: Script,
    given: Mapping[str, Sequence[str]],
    folder: Path,
    options: FlowOptions,
    *,
    fresh: bool = False,
) -> int:
    values = values_of(script.parameters, given, folder)
    key = job_key(script.path, given, folder)
    settings = {"script": str(script.path), "words": dict(given), "folder": str(folder), "options": options.kept()}
    with closing(Journal()) as journal:
        jobs = Jobs(journal)
        known = jobs.keyed("flow", key)
        if known and not fresh and (end := told_again(jobs, known, values, options.asked)):
            return _tell(end, options)
        name = " ".join([script.path.name, *(f"--{name} {' '.join(words)}" for name, words in given.items())])
        if known and fresh:
            with jobs.open("flow", name, key, settings):  # nobody else is at it
                jobs.remove(known.job)
        with jobs.open("flow", name, key, settings) as job:
            job.change(settings)
            view: FlowView = JsonSteps() if options.json_lines else StepLines(terminal(stderr=True))
            agent = _agent(options, journal, view)
            setting = replace(_setting(options, agent, view), out=options.out)
            try:
                end = asyncio.run(_carried_out(script, values, job, setting, options, view))
            except SystemExit as error:  # of the user's code, in whichever task; its status is not the flow's
                end = FlowEnd(job.id, Exit.FAILED, reason=told(error, script.path), error=error)
                job.finish(end.exit)
    return _tell(end, options)


async def _carried_out(
    script: Script, values: Mapping[str, Any], job: Any, setting: Setting, options: FlowOptions, view: FlowView
) -> FlowEnd:
    cancel_on_signals()
    try:
        with redirect_stdout(sys.stderr), view:  # what the user's code prints is no part of the result
            return await carry_out(script, values, job, setting, options.asked, view.show)
    finally:
        await setting.agent.aclose()


def _agent(options: FlowOptions, journal: Journal, view: FlowView) -> Agent:
    asks = isinstance(view, StepLines) and attended()
    return Agent(
        engine=engine_of(options.base_urls, options.model),
        sandbox=DockerSandbox(sandbox_limits(None, None)),
        journal=journal,
        approval=Approval.load(options.rules) if options.rules else runner.default_rules(),
        ask=Asker(terminal(stderr=True), view.paused) if asks else unattended,
    )


def _setting(options: FlowOptions, agent: Agent, view: FlowView) -> Setting:
    phases = Phases(terminal(stderr=True))

    async def ready(what: Literal["server", "sandbox"]) -> None:
        with view.paused():
            server = what == "server" and not options.base_urls
            await prepare(phases, options.model, sandbox=what == "sandbox", server=server)

    budget = changed_budget(Budget(turns=None), options.budget)
    return Setting(agent, budget, at_once=options.at_once, ready=ready)


def _tell(end: FlowEnd, options: FlowOptions) -> int:
    """Say what a flow came to; returns the exit status."""
    status = STATUS[end.exit]
    if options.json_lines:
        asked = [{"answer": f"fastslow flow answer {_token(end, n)}", **asdict(one)} for n, one in enumerate(end.asked)]
        told = {"value": end.value, "reason": end.reason, "files": end.files, "questions": asked, "failed": end.failed}
        say(sys.stdout, "result", flow=end.job, exit=end.exit, status=status, told_again=end.told_again, **told)
        return status
    console = terminal(stderr=True)
    if end.exit is Exit.ANSWERED or end.value is not None:
        sys.stdout.write(json.dumps(end.value, indent=2) + "\n")
        sys.stdout.flush()
    for file in end.files:
        console.print(Text(f"made {one_line(file)}"), soft_wrap=True)
    if end.failed and end.exit is Exit.ANSWERED:
        console.print(Text(f"{end.failed} of its steps failed: fastslow flow show {end.job}", "yellow"))
    if end.told_again:
        console.print(Text(f"nothing has changed since flow {end.job} was answered; --fresh does it anew", "dim"))
    for number, one in enumerate(end.asked):
        console.print(Text(f"? {one_line(one.question)}", "bold yellow"), soft_wrap=True)
        for choice in one.choices:
            console.print(Text(f"    fastslow flow answer {_token(end, number)} {typed(choice)}"), soft_wrap=True)
    if end.exit not in (Exit.ANSWERED, Exit.WAITING):
        if debug_wanted.get() and end.error:
            raise end.error
        console.print(Text.assemble(("✗ ", "red"), one_line(f"{end.exit}: {end.reason}")), soft_wrap=True)
        console.print(Text(f"The same command goes on, or: fastslow flow resume {end.job}", "dim"), soft_wrap=True)
    return status


def _token(end: FlowEnd, number: int) -> str:
    return end.job if len(end.asked) == 1 else f"{end.job}:{end.asked[number].number}"


def _wrong(error: Exception) -> int:
    if debug_wanted.get():
        raise error
    console = terminal(stderr=True)
    console.print(Text("fastslow: ", "bold red") + Text(one_line(str(error))), soft_wrap=True)
    return WRONG
