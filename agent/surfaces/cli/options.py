"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from fastslow.agent.budget import CALL_SECONDS, Budget
from fastslow.agent.modes import Think
from fastslow.sandbox import DockerSandbox, Limits, Network

# What `--budget` may limit, of the run and, behind `step.`, of each step. `cost` needs prices, which only Python has.
BUDGET_LIMITS: Mapping[str, type[int] | type[float]] = {
    "turns": int,
    "tokens": int,
    "thinking_tokens": int,
    "tool_calls": int,
    "seconds": float,
}
LONGEST_SECONDS = 86400.0  # a day
LEAST_MEMORY = 128 << 20  # numpy, pandas and a chart ran in 96 MiB and died in 64
PROJECT_MEMORY = 4 << 30
PROJECT_FILES = 40_000  # the project's own, and what is made of them
THINKS = ("auto", "never", "always")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
COUNTS = {"K": 1000, "M": 1_000_000}
AGES = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

debug_wanted: ContextVar[bool] = ContextVar("debug", default=False)
"""Whether somebody wants to see the traceback of an error."""


def _set_debug(value: bool) -> bool:
    debug_wanted.set(debug_wanted.get() or value)
    return value


def parse_think(text: str) -> Think:
    if text in THINKS:
        return text  # type: ignore[return-value]  # one of the three literals
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"expected auto, never, always or a number of tokens above 0, got {text!r}")


def _counted(text: str) -> str:
    """`2M` as `2000000`."""
    found = re.fullmatch(r"(\d{1,9})([KM])", text)
    return str(int(found[1]) * COUNTS[found[2]]) if found else text


def parse_budget(text: str) -> Mapping[str, float]:
    """The limits of `turns=40,tokens=2M,step.turns=5`, by name."""
    limits: dict[str, float] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        kind = BUDGET_LIMITS.get(name.removeprefix("step."))
        if kind is None:
            known = ", ".join(f"{each}=N" for each in BUDGET_LIMITS)
            raise typer.BadParameter(f"expected {known}, or step.turns=N and so on for each step, got {part!r}")
        try:
            limits[name] = kind(_counted(value))
        except ValueError:
            limits[name] = math.nan
        if not 0 < limits[name] < math.inf:
            number = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(f"expected {number} above 0 for {name}, got {part!r}")
    if not limits:
        raise typer.BadParameter("expected limits such as turns=40,step.turns=5, got none")
    return limits


def changed_budget(budget: Budget, limits: Mapping[str, float] | None) -> Budget:
    """The budget with the limits that `--budget` names; all others stay."""
    run: dict[str, Any] = {name: value for name, value in (limits or {}).items() if name in BUDGET_LIMITS}
    step: dict[str, Any] = {
        name.removeprefix("step."): value for name, value in (limits or {}).items() if name not in BUDGET_LIMITS
    }
    return replace(budget, **run, step=replace(budget.step, **step))


def parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= LONGEST_SECONDS:
        raise typer.BadParameter(f"expected seconds from 0.1 to {LONGEST_SECONDS:.0f} (a day), got {text!r}")
    return seconds


def parse_memory(text: str) -> int:
    """Bytes of `512M` or `4G`, which a sandbox can work with and this machine has."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([KMGT])(?:i?B)?", text, re.IGNORECASE)
    if not found:
        raise typer.BadParameter(f"expected a size such as 512M or 4G, got {text!r}")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST_MEMORY:
        raise typer.BadParameter(f"expected at least {LEAST_MEMORY >> 20}M, which Python and pandas need, got {text!r}")
    there = psutil.virtual_memory().total
    engine_is_here = os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
    if engine_is_here and size > there:
        raise typer.BadParameter(f"expected at most the {there >> 20}M of this machine, got {text!r}")
    return size


def sandbox_limits(seconds: float | None, memory: int | None, usual: Limits | None = None) -> Limits:
    """The usual limits, with those that were given."""
    limits = usual or Limits(seconds=CALL_SECONDS)
    return replace(limits, seconds=seconds or limits.seconds, memory=memory or limits.memory)


def project_limits(seconds: float | None, memory: int | None) -> Limits:
    """Room for a whole project and its history, in memory: a bound, of which nothing is taken before it is needed."""
    there = psutil.virtual_memory().total
    most = memory or max(Limits().memory, min(PROJECT_MEMORY, there // 2))
    usual = Limits(seconds=CALL_SECONDS, memory=most, disk=max(Limits().disk, most // 2), files=PROJECT_FILES)
    return replace(usual, seconds=seconds or usual.seconds)


def parse_age(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,4})([hdw])", text)
    if not found:
        raise typer.BadParameter(f"expected an age such as 12h, 30d or 8w (hours, days, weeks), got {text!r}")
    return int(found[1]) * AGES[found[2]]


def parse_schema(text: str) -> Mapping[str, Any]:
    """The JSON schema in a file."""
    from fastslow.agent.output import Form

    try:
        schema = json.loads(Path(text).read_text("utf-8"))
        if not isinstance(schema, Mapping):
            raise ValueError(f"it must be an object, got {schema!r:.40}")
        Form.of(schema)
    except OSError as error:
        raise typer.BadParameter(f"{text!r} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no text, no JSON, or no schema
        raise typer.BadParameter(f"expected a file with a JSON schema, and in {text!r}: {error}") from error
    return schema


def parse_suite(name: str) -> str:
    from fastslow.agent.evals.suites import SUITES

    if name not in SUITES:
        raise typer.BadParameter(f"expected {', '.join(SUITES)}, got {name!r}")
    return name


def sandbox_network(allow: list[str] | None) -> Network:
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
        help="A file for the task; give the option again for more.",
        show_default=False,
    ),
]
MODEL = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A model of `fastslow models`, or a folder of weights; for a server of --base-url a name that it serves.",
        show_default=False,
    ),
]
BASE_URL = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="A vLLM server that already runs, as http://host:8000/v1; give the option again for more.",
        envvar="FASTSLOW_BASE_URL",
        show_default=False,
    ),
]
ALLOW = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A host that code may connect to, as index.example:443 or *.example.org:443; give the option again for "
        "more. By default there is no network.",
        show_default=False,
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

RULES = Annotated[
    Path | None,
    typer.Option(
        "--approval",
        metavar="FILE",
        help="Rules on which calls may run, in TOML; by default approval.toml in fastslow's settings folder, if there.",
        show_default=False,
        dir_okay=False,
    ),
]
BUDGET = Annotated[
    Any,
    typer.Option(
        parser=parse_budget,
        metavar="LIMITS",
        help="Limits at which the run ends with what it has: turns, tokens, thinking_tokens, tool_calls, seconds; "
        "step.turns and so on for each step of a plan. As turns=40,step.turns=12; all others stay as they are.",
        show_default=False,
    ),
]
CHECK = Annotated[
    str,
    typer.Option(
        metavar="COMMAND",
        help="A shell command that proves the work, run in the sandbox before the task and at each answer: the task is "
        "answered only where it ends with exit code 0; else the model is told what it printed, and goes on.",
        show_default=False,
    ),
]
SCHEMA = Annotated[
    Any,
    typer.Option(
        parser=parse_schema,
        metavar="FILE",
        help="A JSON schema that the answer must fit. The answer is printed on standard output, as one line of JSON, "
        "and all else on standard error.",
        show_default=False,
    ),
]
SECONDS = Annotated[
    Any,
    typer.Option(
        parser=parse_seconds,
        metavar="N",
        help=f"Seconds that one call of code may take at most, by default {CALL_SECONDS:g}; it gets 60 unless the "
        "model asks for more.",
        show_default=False,
    ),
]
MEMORY = Annotated[
    Any,
    typer.Option(
        parser=parse_memory,
        metavar="SIZE",
        help=f"Memory of the sandbox, its files included, as 512M or 4G; by default {Limits().memory >> 30}G.",
        show_default=False,
    ),
]
RUN = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or `last`.", show_default=False)
]
SHOW_THINKING = Annotated[bool, typer.Option("--show-thinking", help="Show all of the thinking, not only its end.")]
THINK = Annotated[
    Any,
    typer.Option(
        parser=parse_think,
        metavar="auto|never|always|N",
        help="Which turns think: as the model's profile says, none, all, or with N tokens each.",
    ),
]
JSON_LINES = Annotated[bool, typer.Option("--json", help="Print one event a line, as JSON.")]
SUITE = Annotated[
    str,
    typer.Argument(
        parser=parse_suite,
        metavar="SUITE",
        help="workflows, single, chat, bfcl, edits, quixbugs or polyglot-python.",
    ),
]
SUITE_FOLDER = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        file_okay=False,
        help="For quixbugs and polyglot-python: your copy of their repository.",
        show_default=False,
    ),
]
AT_ONCE = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="How many runs go side by side: each takes longer, all together less.",
        show_default=True,
    ),
]
EVAL_OUT = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        file_okay=False,
        help="Folder for rows and report; by default one below fastslow-eval.",
        show_default=False,
    ),
]
