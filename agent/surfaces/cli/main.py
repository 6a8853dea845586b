"""The command `fastslow`: its arguments, and how its errors reach a person. The work is done next door."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fastslow.agent.errors import AgentError, EngineDied
from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    AT_ONCE,
    BASE_URL,
    BUDGET,
    CANCELLED,
    DEBUG,
    EVAL_OUT,
    FILES,
    JSON,
    JSON_LINES,
    MODEL,
    RULES,
    RUN,
    SHOW_THINKING,
    SUITE,
    debug_wanted,
    network,
    think_of,
)
from fastslow.sandbox import SandboxError
from fastslow.tools.errors import ToolError

app = typer.Typer(
    name="fastslow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sandbox_app = typer.Typer(
    help="The place where generated code runs.\n\nExample: fastslow sandbox exec < code.py",
    no_args_is_help=True,
)
app.add_typer(sandbox_app, name="sandbox")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"fastslow {version('fastslow')}")
        raise typer.Exit


@app.callback()
def top(
    debug: DEBUG = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Agents on hybrid-reasoning open models: think slowly to plan, act fast to call tools.

    Example: fastslow run "Which region sold most?" --file orders.csv
    """


@app.command()
def run(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to do, in your words.", show_default=False)],
    file: FILES = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    think: Annotated[
        Any,
        typer.Option(
            parser=think_of,
            metavar="auto|never|always|N",
            help="Which turns think: as the model's profile says, none, all, or with N tokens each.",
        ),
    ] = "auto",
    after: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="An answered run that the task follows, with its files and variables; `last` is the last one.",
            show_default=False,
        ),
    ] = None,
    json_lines: JSON_LINES = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the files that the run makes; by default one below fastslow-out.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    allow: ALLOW = None,
    budget: BUDGET = None,
    approval: RULES = None,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Carry out a task. Whatever is missing for it (Docker, engine, weights, server) is set up first.

    Exit status: 0 answered, 1 failed, stopped or out of budget, 2 wrong usage, 130 cancelled (Ctrl-C).

    Example: fastslow run "Plot revenue by region" --file orders.csv --out results
    """
    from fastslow.agent.surfaces.cli import run as command

    if not task.strip():
        raise typer.BadParameter("expected a task in words, got nothing", param_hint="TASK")
    wanted = command.Wanted(
        task=task,
        files=tuple(file or ()),
        model=model,
        base_url=base_url,
        think=think,
        out=out,
        json_lines=json_lines,
        show_thinking=show_thinking,
        network=network(allow),
        budget=budget,
        after=after,
        rules=approval,
    )
    raise typer.Exit(command.run(wanted))


@app.command()
def resume(
    run: RUN = "last",
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    approval: RULES = None,
    json_lines: JSON_LINES = False,
    show_thinking: SHOW_THINKING = False,
    debug: DEBUG = False,
) -> None:
    """Go on with a run that did not come to its end.

    It was stopped, killed, failed, or ran out of its budget, which it then gets once more. What is paid for is not
    asked again, and no finished call of a tool runs twice.
    Exit status: as that of run.

    Example: fastslow resume last
    """
    from fastslow.agent.surfaces.cli import runs as command

    status = command.resume(
        run,
        budget,
        model=model,
        base_url=base_url,
        rules=approval,
        json_lines=json_lines,
        show_thinking=show_thinking,
    )
    raise typer.Exit(status)


@app.command("runs")
def list_runs(json_output: JSON = False, debug: DEBUG = False) -> None:
    """List all runs of the journal, the latest first.

    Example: fastslow runs --json
    """
    from fastslow.agent.surfaces.cli import runs as command

    command.runs(as_json=json_output)


@app.command()
def show(
    run: RUN = "last", json_lines: JSON_LINES = False, show_thinking: SHOW_THINKING = False, debug: DEBUG = False
) -> None:
    """Show what a run did, from the journal.

    Example: fastslow show last --show-thinking
    """
    from fastslow.agent.surfaces.cli import runs as command

    command.show(run, as_json=json_lines, show_thinking=show_thinking)


@app.command()
def fork(
    run: RUN,
    at: Annotated[int, typer.Option(min=1, metavar="TURN", help="The turn that is taken anew.", show_default=False)],
    debug: DEBUG = False,
) -> None:
    """Copy a run as it was before one of its turns.

    Prints the id of the copy, which `resume` carries on.

    Example: fastslow fork last --at 3
    """
    from fastslow.agent.surfaces.cli import runs as command

    command.fork(run, at)


@app.command()
def replay(
    run: RUN = "last", json_lines: JSON_LINES = False, show_thinking: SHOW_THINKING = False, debug: DEBUG = False
) -> None:
    """Carry out a run again from its record alone.

    Without model, tools and sandbox. Shows whether this version of the loop still does what it did then.
    Exit status: as that of run.

    Example: fastslow replay last --json
    """
    from fastslow.agent.surfaces.cli import runs as command

    raise typer.Exit(command.replay(run, as_json=json_lines, show_thinking=show_thinking))


@app.command()
def doctor(json_output: JSON = False, base_url: BASE_URL = None, debug: DEBUG = False) -> None:
    """Check what a run needs, and name what mends it.

    Exit status: 0 if a run could work, 1 if not.

    Example: fastslow doctor
    """
    from fastslow.agent.surfaces.cli import doctor as command

    raise typer.Exit(command.doctor(base_url, as_json=json_output))


@app.command("eval")
def evaluate(
    suite: SUITE,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHEN",
            help="Which turns think: auto, never, always, N tokens, or a TOML file of rules; several are compared.",
        ),
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="So many cases, a few of each kind; else all.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes fresh cases of the same kinds.")] = 2,
    repeat: Annotated[int, typer.Option(min=1, help="How often each case is run.")] = 1,
    at_once: AT_ONCE = 1,
    out: EVAL_OUT = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    budget: BUDGET = None,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Measure what thinking is worth on your model: run a suite of tasks with known answers.

    Each run is a line of JSON in rows.jsonl; the same command goes on where it was stopped.

    Example: fastslow eval workflows --n 20 --policy auto --policy never
    """
    from fastslow.agent.surfaces.cli import evaluate as command

    folder = out or Path("fastslow-eval") / f"{suite}-{seed}"
    wanted = command.Wanted(suite, n, seed, repeat, at_once, folder, model, base_url, json_output, budget)
    raise typer.Exit(command.compare(wanted, policy or ["auto"]))


@app.command()
def tune(
    suite: SUITE = "workflows",
    n: Annotated[int, typer.Option(min=1, help="So many cases, each under six policies.")] = 12,
    seed: Annotated[int, typer.Option(help="Another than that of the cases on which you judge the result.")] = 1,
    at_once: AT_ONCE = 1,
    out: EVAL_OUT = None,
    model: MODEL = None,
    base_url: BASE_URL = None,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Measure which turns of your model should think, and how much, and write that down for later runs.

    Says of each candidate how sure that is, and how many cases would tell more.

    Example: fastslow tune --n 12
    """
    from fastslow.agent.surfaces.cli import evaluate as command

    folder = out or Path("fastslow-eval") / f"tune-{suite}-{seed}"
    raise typer.Exit(command.tune(command.Wanted(suite, n, seed, 1, at_once, folder, model, base_url, json_output)))


@app.command()
def setup(model: MODEL = None, debug: DEBUG = False) -> None:
    """Make everything that a run needs: Docker, the sandbox's image, the engine, the weights, the server.

    What does not need each other is made side by side. What is there already is left as it is.

    Example: fastslow setup
    """
    from fastslow.agent.surfaces.cli import serving

    serving.setup(model)


@app.command()
def up(
    model: MODEL = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Loopback port; any free one if not given.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the model's licence, where it is not open.")
    ] = False,
    flag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FLAG",
            help="A further argument for vLLM, as --flag=--max-model-len=8192.",
            show_default=False,
        ),
    ] = None,
    debug: DEBUG = False,
) -> None:
    """Start the model server.

    Installs the engine and fetches the weights first, where they are missing.

    Example: fastslow up --model exaone-4.0-1.2b --accept-licence
    """
    from fastslow.agent.surfaces.cli import serving

    if accept_licence and not model:
        raise typer.BadParameter("name the model whose licence you accept", param_hint="--model")
    serving.up(model, port, tuple(flag or ()), accept_licence=accept_licence)


@app.command()
def down(debug: DEBUG = False) -> None:
    """Stop the model server.

    Example: fastslow down
    """
    from fastslow.agent.surfaces.cli import serving

    serving.down()


@app.command()
def status(json_output: JSON = False, debug: DEBUG = False) -> None:
    """Show the model server.

    Exit status: 0 if one answers, 1 if not.

    Example: fastslow status --json
    """
    from fastslow.agent.surfaces.cli import serving

    raise typer.Exit(serving.status(as_json=json_output))


@app.command()
def models(json_output: JSON = False, debug: DEBUG = False) -> None:
    """List the models of the catalog, and what fits here.

    With licence, size, context and modes; `*` marks the one that is taken by default.

    Example: fastslow models
    """
    from fastslow.agent.surfaces.cli import serving

    serving.models(as_json=json_output)


@sandbox_app.command()
def build(
    packages: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[==V]",
            help="A Python package more, in an image of its own; one option each, or several in quotes.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Build on this image: it has python3 >= 3.11 and bash.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build the image even if it is there.")] = False,
    json_output: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Build the sandbox's image.

    Where no Docker engine answers, Debian's is installed and started first (as root).
    With --json it prints what is inside: base, Python, packages with versions and digests.

    Example: fastslow sandbox build --packages "scikit-learn==1.7 seaborn"
    """
    from fastslow.agent.surfaces.cli import sandboxed

    names = [name for text in packages or () for name in text.split()]
    sandboxed.build(names, base, force=force, as_json=json_output)


@sandbox_app.command("exec")
def execute(
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86400, metavar="SECONDS", help="Time until the code is stopped.")
    ] = 60.0,
    file: FILES = None,
    allow: ALLOW = None,
    debug: DEBUG = False,
) -> None:
    """Run Python code from standard input in a sandbox.

    Its stdout, stderr and exit status pass through, of each stream 20 MB at most.
    Exit status: that of the code; 124 when it was stopped; 128 and the signal's number
    when it was killed (137, most often: too little memory).

    Example: fastslow sandbox exec --timeout 10 --file orders.csv < code.py
    """
    from fastslow.agent.surfaces.cli import sandboxed

    raise typer.Exit(sandboxed.execute(tuple(file or ()), timeout, network(allow)))


@sandbox_app.command()
def prune(debug: DEBUG = False) -> None:
    """Remove what killed runs left behind.

    The next run would do so by itself.

    Example: fastslow sandbox prune
    """
    from fastslow.agent.surfaces.cli import sandboxed

    sandboxed.prune()


@sandbox_app.command()
def ls(json_output: JSON = False, debug: DEBUG = False) -> None:
    """List the sandboxes that run or were left behind.

    Example: fastslow sandbox ls
    """
    from fastslow.agent.surfaces.cli import sandboxed

    sandboxed.ls(as_json=json_output)


@sandbox_app.command()
def probe(json_output: JSON = False, debug: DEBUG = False) -> None:
    """Try from inside a sandbox what must not work there.

    HELD: the attempt failed, as it should. Exit status 1 if anything is OPEN.

    Example: fastslow sandbox probe
    """
    from fastslow.agent.surfaces.cli import sandboxed

    raise typer.Exit(sandboxed.probe(as_json=json_output))


def main() -> None:
    """Entry point: every expected error becomes one sentence on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ✓ shows ?
    try:
        app()
    except (AgentError, SandboxError, ToolError, OSError) as error:
        if debug_wanted.get():
            raise
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(CANCELLED)


def _complain(error: Exception) -> None:
    from rich.text import Text

    from fastslow.agent.surfaces.cli.text import clean, one_line, terminal

    console = terminal(stderr=True)
    if isinstance(error, EngineDied) and error.log:
        console.print(Text(clean(error.log), "dim"), soft_wrap=True)
    console.print(Text("fastslow: ", "bold red") + Text(one_line(sentence(error))), soft_wrap=True)


def sentence(error: Exception) -> str:
    """What happened and what to do, for a person."""
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
        return f"{what}; free some space and run it again" if error.errno == errno.ENOSPC else what
    return str(error) or type(error).__name__


if __name__ == "__main__":
    main()
