"""`fastslow map`: set up what the rows need, carry them out, show how far they are and what came of them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import typer

from fastslow.agent.budget import Budget
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.events import Exit
from fastslow.agent.flow.mapping import Order, Work, opened, outlook
from fastslow.agent.flow.places import filled, names
from fastslow.agent.flow.rows import Source, source
from fastslow.agent.flow.spec import EACH_TURNS, MapSpec
from fastslow.agent.flow.votes import Votes
from fastslow.agent.modes import Think
from fastslow.agent.record.journal import Journal
from fastslow.agent.surfaces.cli.map_view import Progress, print_end
from fastslow.agent.surfaces.cli.options import changed_budget
from fastslow.agent.surfaces.cli.signals import cancel_on_signals
from fastslow.agent.surfaces.cli.status import CANCELLED, STATUS
from fastslow.agent.surfaces.cli.text import clean, one_line, seconds, terminal
from fastslow.agent.texts import check_text
from fastslow.sandbox import Limits, Network

if TYPE_CHECKING:
    from fastslow.agent.engine.types import Engine
    from fastslow.agent.flow.crew import Crew
    from fastslow.agent.surfaces.cli.phases import Phases

OF_ALL = ("turns", "tokens", "thinking_tokens", "seconds")  # limits of a whole map
SHOWN_PROMPTS = 3


@dataclass(frozen=True, slots=True)
class MapArguments:
    """The command line of a map; see `commands/batch.py`."""

    prompt: str
    rows: str
    schema: Mapping[str, Any] | None
    out: Path | None
    id_column: str
    at_once: int
    budget: Mapping[str, float] | None
    each: Mapping[str, float] | None
    retry: bool
    limit: int | None
    votes: int
    check: str
    tools: bool
    think: Think
    fresh: bool
    model: str | None
    base_urls: tuple[str, ...]
    packages: tuple[str, ...]
    image: str | None
    network: Network | None
    limits: Limits
    workers: int
    ray: str | None
    as_json: bool


def run(arguments: MapArguments) -> int:
    """Do what is left of a map; returns the exit status."""
    with _usage(), _rows(arguments) as rows:
        order = _order(arguments, rows)
        with opened(order, Journal()) as work:
            status = _carry_out(arguments, work) if work.tally.left else _done(work)
            print_end(work, status, as_json=arguments.as_json)
    return status


def _carry_out(arguments: MapArguments, work: Work) -> int:
    from fastslow.agent.surfaces.cli.phases import Phases  # not needed where nothing is left to do
    from fastslow.agent.surfaces.cli.prepare import prepare_run

    spec, phases = work.spec, Phases(terminal(stderr=True))
    prepare_run(
        phases,
        arguments.model,
        sandbox=spec.sandboxed,
        server=not arguments.base_urls,
        packages=spec.packages,
        image=spec.image,
    )
    try:
        asyncio.run(_all_rows(arguments, work, phases))
    except asyncio.CancelledError:
        return CANCELLED
    except BaseException:
        print_end(work, STATUS[work.exit], as_json=arguments.as_json)
        raise
    return STATUS[work.exit]


async def _all_rows(arguments: MapArguments, work: Work, phases: Phases) -> None:
    """Reach the server, then do the rows."""
    from fastslow.agent.flow.crew import servers_of

    cancel_on_signals()
    engine = servers_of(work.spec)
    try:
        with phases.phase("Server check", "it must serve the model that the rows are for") as on_progress:
            notices = await engine.connect()
            on_progress(f"{engine.model}, profile {engine.profile.name}", None)
        for notice in notices:
            terminal(stderr=True).print(one_line(notice), style="yellow", soft_wrap=True)
        work.served(engine.model)
        with Progress(work.tally, terminal(stderr=True)):
            async with _crew(arguments, work.spec, engine) as crew:
                await work.carry_out(crew)
    finally:
        await engine.aclose()


def _crew(arguments: MapArguments, spec: MapSpec, engine: Engine) -> Crew:
    """Who carries the rows out; each way is loaded where it is asked for."""
    if arguments.ray:
        from fastslow.agent.flow.ray import OnRay

        return OnRay(spec, arguments.ray)
    if arguments.workers > 1:
        from fastslow.agent.flow.workers import Processes

        return Processes(spec, arguments.workers)
    from fastslow.agent.flow.crew import Here

    return Here(spec, engine)


def _done(work: Work) -> int:
    """Nothing is left to do."""
    work.exit = Exit.FAILED if work.tally.failed else Exit.ANSWERED
    work.job.finish(work.exit)
    return STATUS[work.exit]


def dry_run(arguments: MapArguments) -> int:
    """Show what would be asked; nothing is, and nothing is written."""
    with _usage(), _rows(arguments) as rows:
        order = _order(arguments, rows)
        prompts = [filled(order.spec.prompt, row.values) for row in islice(order.rows(), SHOWN_PROMPTS)]
        found = outlook(order, Journal())
    done, estimate = found.total - found.left, {}
    if found.known:
        estimate["tokens"] = found.left * median(result.tokens for result in found.known)
        estimate["seconds"] = found.left * median(result.seconds for result in found.known) / arguments.at_once
    if arguments.as_json:
        said = {"rows": found.total, "done": done, "prompts": prompts, "estimate": estimate}
        sys.stdout.write(json.dumps(said, ensure_ascii=False) + "\n")
        return 0
    console = terminal()
    for number, prompt in enumerate(prompts, 1):
        console.print(f"Row {number}", style="bold")
        console.print(clean(prompt), soft_wrap=True)
    console.print(f"\n{found.total} rows, {done} done before, {found.left} left.", soft_wrap=True)
    if found.known:
        took = f"{estimate['tokens']:.0f} tokens and {seconds(estimate['seconds'])}"
        console.print(f"They take some {took}, as the median of what is done says.", soft_wrap=True)
    else:
        console.print("No row is done yet; try --limit 5, then there is an estimate.", soft_wrap=True)
    return 0


@contextmanager
def _usage() -> Iterator[None]:
    """What the user has to mend in the command or in the rows ends it with status 2."""
    try:
        yield
    except ConfigurationError as error:
        raise typer.BadParameter(clean(str(error))) from error


@contextmanager
def _rows(arguments: MapArguments) -> Iterator[Source]:
    """The rows; those of standard input are put into a file first, as they are gone through twice."""
    check_text("the prompt", arguments.prompt)
    columns = names(arguments.prompt)
    if sys.stdin is None and arguments.rows == "-":  # a shell's `<&-`
        raise ConfigurationError("standard input is closed; name a file as --input")
    if sys.stdout is None and not arguments.out:
        raise ConfigurationError("standard output is closed; name a file as --out")
    if arguments.out and not arguments.out.parent.is_dir():
        raise ConfigurationError(f"there is no folder {str(arguments.out.parent)!r} for --out")
    with ExitStack() as stack:
        spooled = stack.enter_context(tempfile.TemporaryFile()) if arguments.rows == "-" else None
        if spooled:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
        try:
            rows = source(arguments.rows, columns, arguments.id_column, stdin=spooled, out=arguments.out)
        except (FileNotFoundError, PermissionError) as error:
            raise typer.BadParameter(f"{error.strerror}: {arguments.rows!r}", param_hint="--input") from error
        if not (columns or rows.files):
            raise ConfigurationError("the prompt names no column, so all rows would be asked the same; write {name}")
        yield rows


def _order(arguments: MapArguments, rows: Source) -> Order:
    spec = MapSpec(
        job="",
        prompt=arguments.prompt,
        schema=arguments.schema,
        model=arguments.model if arguments.base_urls else None,
        base_urls=arguments.base_urls,
        think=arguments.think,
        votes=arguments.votes,
        check=arguments.check,
        tools=arguments.tools,
        files=rows.files,
        at_once=arguments.at_once,
        packages=arguments.packages,
        image=arguments.image,
        limits=arguments.limits,
        allow=arguments.network.allow if arguments.network else (),
    )
    spec = replace(spec, each=changed_budget(Budget() if spec.sandboxed else Budget(turns=EACH_TURNS), arguments.each))
    if spec.votes > 1:
        Votes.of(spec.schema)
        if spec.sandboxed:
            raise ConfigurationError("votes are for rows that are one call each, without --tools, --check and files")
    if arguments.ray and arguments.workers > 1:
        raise ConfigurationError("--workers is for this machine, --ray for a cluster; give one of them")
    if wrong := [name for name in arguments.budget or () if name not in OF_ALL]:
        raise ConfigurationError(f"the budget of a whole map has {', '.join(OF_ALL)}; {wrong[0]} is of --budget-each")
    budget = changed_budget(Budget(turns=None), arguments.budget) if arguments.budget else None
    return Order(spec, rows, arguments.out, budget, arguments.limit, arguments.retry, arguments.fresh)
