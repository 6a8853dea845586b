"""The options that several commands share, and how their values are read."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.modes import Think
from fastslow.sandbox import DockerSandbox, Network

COUNTED = ("turns", "tokens", "thinking_tokens", "tool_calls")  # what `--budget` may limit, beside seconds

CANCELLED = 130  # the exit status after Ctrl-C

debug_wanted: ContextVar[bool] = ContextVar("debug", default=False)
"""Whether somebody wants to see the traceback of an error."""


def _set_debug(value: bool) -> bool:
    debug_wanted.set(debug_wanted.get() or value)
    return value


def think_of(text: str) -> Think:
    if text in ("auto", "never", "always"):
        return text  # type: ignore[return-value]  # one of the three literals
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"expected auto, never, always or a number of tokens above 0, got {text!r}")


def _budget(text: str) -> Budget:
    limits: dict[str, Any] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        try:
            limits[name] = {**dict.fromkeys(COUNTED, int), "seconds": float}[name](value)
        except (KeyError, ValueError):
            known = ", ".join(f"{each}=N" for each in (*COUNTED, "seconds"))
            raise typer.BadParameter(f"expected some of {known}, got {part!r}") from None
    try:
        return Budget(**limits)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _suite(name: str) -> str:
    from fastslow.agent.evals.suites import SUITES

    if name not in SUITES:
        raise typer.BadParameter(f"expected {', '.join(SUITES)}, got {name!r}")
    return name


def network(allow: list[str] | None) -> Network:
    network = Network(tuple(allow or ()))
    try:
        DockerSandbox(network=network)  # it checks them
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow") from error
    return network


DEBUG = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", callback=_set_debug, envvar="FASTSLOW_DEBUG"),
]
FILES = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        readable=False,
        help="A file for the task; one option each.",
        show_default=False,
    ),
]
MODEL = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A model of `fastslow models`, or a folder of weights; with --base-url a served name.",
    ),
]
BASE_URL = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A vLLM server of your own, as http://host:8000/v1.", envvar="FASTSLOW_BASE_URL"),
]
ALLOW = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where code may connect, such as index.example:443 or *.example.org:443; one option each, else nowhere.",
        show_default=False,
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

RULES = Annotated[
    Path | None,
    typer.Option(
        "--approval",
        metavar="FILE",
        help="Rules on what may run, in TOML; by default approval.toml in the folder of your settings, if it is there.",
        show_default=False,
        dir_okay=False,
    ),
]
BUDGET = Annotated[
    Any,
    typer.Option(
        parser=_budget,
        metavar="LIMITS",
        help="Where the run ends with what it has, as turns=40,seconds=600; also tokens, thinking_tokens, tool_calls.",
        show_default=False,
    ),
]
RUN = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or `last`.", show_default=False)
]
SHOW_THINKING = Annotated[bool, typer.Option("--show-thinking", help="Show all of the thinking, not its end only.")]
JSON_LINES = Annotated[bool, typer.Option("--json", help="Print one event a line, as JSON.")]
SUITE = Annotated[str, typer.Argument(parser=_suite, metavar="SUITE", help="workflows, single, chat or bfcl.")]
AT_ONCE = Annotated[
    int, typer.Option(min=1, help="Runs side by side: each takes longer, and all take less.", show_default=True)
]
EVAL_OUT = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        file_okay=False,
        help="For rows and report; by default one below fastslow-eval.",
        show_default=False,
    ),
]
