"""What `fastslow run` is asked for: a task in words, a plan in a file, or a task file with its inputs as options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fastslow.agent.budget import Budget
from fastslow.agent.modes import Think
from fastslow.agent.plan import Plan
from fastslow.agent.surfaces.cli.options import changed_budget
from fastslow.agent.surfaces.cli.text import clean, one_line

if TYPE_CHECKING:
    from fastslow.agent.surfaces.cli.taskfile import Input, TaskFile

_FILE, _OPTIONS, _VALUES = (f"fastslow.{name}" for name in ("task_file", "options", "values"))
_METAVARS = {"string": "TEXT", "number": "NUMBER", "integer": "N", "file": "FILE", "date": "YYYY-MM-DD"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A task with what a file says of it. allow: hosts that it needs; the user has to grant them."""

    task: str
    files: tuple[Path, ...]
    plan: Plan | None = None
    check: str = ""
    schema: Mapping[str, Any] | None = None
    think: Think = "auto"
    budget: Mapping[str, float] = field(default_factory=dict)
    allow: tuple[str, ...] = ()


class RunCommand(TyperCommand):
    """Takes `@FILE.md` as its first argument; the inputs of that file are options then."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and is_task_file(args[0]):
            from fastslow.agent.surfaces.cli.taskfile import load

            params = self.get_params(ctx)
            taken = {option for param in params for option in (*param.opts, *param.secondary_opts)}
            taken |= {f"--{(param.name or '').replace('_', '-')}" for param in params}  # values are kept by it
            with usage_errors():
                file = load(Path(args[0][1:]), taken)
            ctx.meta[_FILE], ctx.meta[_VALUES] = file, {}
            ctx.meta[_OPTIONS] = _options(file.inputs)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        return [*ctx.meta.get(_OPTIONS, ()), *super().get_params(ctx)]  # what the file asks for comes first

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        file: TaskFile | None = ctx.meta.get(_FILE)
        if file is None:
            super().format_help_text(ctx, formatter)
            return
        with formatter.section(one_line(str(file.path))):
            formatter.write_text(one_line(file.description or file.prompt[:200]))


def is_task_file(text: str) -> bool:
    return text.startswith("@") and text.endswith(".md")


def asked(
    context: typer.Context, task: str | None, plan: Path | None, values: Sequence[str], files: Sequence[Path]
) -> Asked:
    """What the command line asks for. BadParameter where it asks for nothing, or for two things."""
    if plan:
        if task is not None:
            raise typer.BadParameter("expected a task or --plan, which has one, got both", param_hint="TASK")
        return _of_plan(plan, values, files)
    if values:
        raise typer.BadParameter("it gives values to a plan: name that with --plan", param_hint="--set")
    if not (task or "").strip():
        raise typer.BadParameter("expected a task in words, @FILE.md or --plan FILE, got nothing", param_hint="TASK")
    task = task or ""
    if not is_task_file(task):
        return Asked(task, tuple(files))
    file: TaskFile | None = context.meta.get(_FILE)
    if file is None:
        raise typer.BadParameter(f"put {task} first: `fastslow run {task} …`", param_hint="TASK")
    words, brought = file.filled(context.meta[_VALUES])
    mine = tuple(one for one in brought if one.name not in {given.name for given in files})
    return Asked(words, (*files, *mine), None, file.check, file.schema, file.think, file.budget, file.allow)


def granted_budget(asked: Asked, limits: Mapping[str, float] | None) -> Budget:
    """Of the usual budget, what the file asks for less of; the user's own word goes before both."""
    usual, wanted = Budget(), {**asked.budget, **(limits or {})}
    for name, value in asked.budget.items():
        step, _, last = name.rpartition(".")
        most = getattr(usual.step if step else usual, last)
        if most is not None and value > most and name not in (limits or {}):
            told = (
                f"the file asks for {name}={value:g}, more than the usual {most}; that takes --budget {name}={value:g}"
            )
            raise typer.BadParameter(told, param_hint="TASK")
    return changed_budget(usual, wanted)


def check_allowed(asked: Asked, allow: Sequence[str]) -> None:
    """A file opens no way out of the sandbox: it says what it needs, and the user allows it."""
    if missing := [host for host in asked.allow if host not in allow]:
        flags = " ".join(f"--allow {one_line(host)}" for host in missing)
        raise typer.BadParameter(f"the file needs the network, which only you can allow: {flags}", param_hint="TASK")


@contextmanager
def usage_errors() -> Iterator[None]:
    """What is wrong with a file of the user's is wrong usage."""
    from fastslow.agent.flow.yamlfile import FileWrong

    try:
        yield
    except FileWrong as error:
        raise typer.BadParameter(clean(str(error))) from error
    except OSError as error:
        raise typer.BadParameter(f"{error.filename!r} cannot be read: {error.strerror}") from error


def _of_plan(path: Path, values: Sequence[str], files: Sequence[Path]) -> Asked:
    from fastslow.agent.flow.beside import named
    from fastslow.agent.flow.planfile import PlanFile
    from fastslow.agent.flow.yamlfile import FileWrong, read_text

    given: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or name in given:
            raise typer.BadParameter(f"expected NAME=VALUE, each name once, got {text!r}", param_hint="--set")
        given[name] = value
    with usage_errors():
        read = PlanFile.read(read_text(path), str(path))
        task, plan = read.filled(given)
        mine = {file.name for file in files}
        try:
            brought = tuple(named(path.parent, name) for name in read.files if Path(name).name not in mine)
        except ValueError as error:
            raise FileWrong(f"{path}, files: {error}") from error
    return Asked(task, (*files, *brought), plan)


def _options(inputs: Mapping[str, Input]) -> list[Any]:
    """The inputs as options of the command."""

    def take(**_: Any) -> None: ...

    kinds: dict[str, Any] = {}
    for name, each in inputs.items():
        kind = bool if each.type == "boolean" else str
        kinds[name] = Annotated[kind, _option(name, each)]
    take.__annotations__ = kinds
    take.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads it
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kinds[name], default=_default(each))
            for name, each in inputs.items()
        ]
    )
    app = typer.Typer(add_completion=False)
    app.command()(take)
    return [param for param in typer.main.get_command(app).params if param.name in inputs]


def _default(each: Input) -> Any:
    if each.type == "boolean":
        return each.default == "true"
    return inspect.Parameter.empty if each.default is None else each.default


def _option(name: str, each: Input) -> Any:
    def keep(ctx: typer.Context, value: Any) -> None:
        text = str(value).lower() if each.type == "boolean" else value
        try:
            if each.type == "file" and not Path(text).is_file():
                raise ValueError(f"there is no file {text!r}")
            ctx.meta[_VALUES][name] = each.read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    option = f"--{name.replace('_', '-')}"
    return typer.Option(
        f"{option}/--no-{option[2:]}" if each.type == "boolean" else option,
        help=one_line(each.description),
        metavar=None if each.type == "boolean" else one_line("|".join(each.choices)) or _METAVARS[each.type],
        show_default=each.default is not None and each.default == one_line(each.default),  # it may move a cursor
        expose_value=False,
        callback=keep,
    )
