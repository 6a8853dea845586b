"""`fastslow map`: the same task for every row of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastslow.agent.surfaces.cli.options import (
    ALLOW,
    BASE_URL,
    CHECK,
    DEBUG,
    JSON,
    MEMORY,
    MODEL,
    SECONDS,
    THINK,
    parse_budget,
    parse_schema,
    sandbox_limits,
    sandbox_network,
)

app = typer.Typer()


def _parse_retry(text: str) -> str:
    if text != "failed":
        raise typer.BadParameter(f"expected failed, got {text!r}")
    return text


def _limits(name: str, about: str) -> Any:
    return typer.Option(name, parser=parse_budget, metavar="LIMITS", help=about, show_default=False)


@app.command("map")
def map_rows(
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT", help="What to do with a row; {name} is the value of its column.", show_default=False
        ),
    ],
    rows: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|PATTERN|-",
            help="CSV, JSONL or Parquet; a pattern of files such as 'in/*.pdf', one a row ({file}); or - for lines "
            "({line}) or JSONL on standard input.",
            show_default=False,
        ),
    ],
    schema: Annotated[
        Any,
        typer.Option(
            parser=parse_schema, metavar="FILE", help="A JSON schema that each output must fit.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the lines go, one a row; by default to standard output.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    id_column: Annotated[
        str,
        typer.Option(
            "--id", metavar="COLUMN", help="What tells rows apart; by default a hash of the row.", show_default=False
        ),
    ] = "",
    at_once: Annotated[int, typer.Option(min=1, metavar="N", help="Rows side by side.")] = 16,
    budget: Annotated[Any, _limits("--budget", "Of all rows together: tokens=2M, turns, thinking_tokens, seconds.")] = (
        None
    ),
    budget_each: Annotated[
        Any, _limits("--budget-each", "Of one row, as turns=8; a row that is one call has 4 turns by default.")
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(parser=_parse_retry, metavar="failed", help="Do the rows again that failed.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show three prompts, how many rows there are, and an estimate.")
    ] = False,
    votes: Annotated[
        int, typer.Option(min=1, max=99, metavar="N", help="Samples a row: the majority of each enum counts.")
    ] = 1,
    check: CHECK = "",
    tools: Annotated[bool, typer.Option("--tools", help="Each row may run code, in a sandbox of its own.")] = False,
    think: THINK = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Do all rows anew, whatever was done.")] = False,
    model: MODEL = None,
    base_url: BASE_URL = None,
    packages: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[==V]", help="A Python package in the rows' sandboxes.", show_default=False),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Image of the rows' sandboxes.", show_default=False)
    ] = None,
    allow: ALLOW = None,
    memory: MEMORY = None,
    seconds: SECONDS = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes that share the rows of --at-once.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster whose machines share them: auto, HOST:PORT, ray://HOST:PORT, or local.",
            show_default=False,
        ),
    ] = None,
    as_json: JSON = False,
    debug: DEBUG = False,
) -> None:
    """Do the same task for every row of a table.

    One line of JSON a row comes out. The same command again goes on where it stopped: no row that is done is asked
    again. A row without tools and files is one call of the model.

    Exit status: 0 all rows answered, 1 some not, 2 wrong usage or input, 3 out of budget, 5 the model server failed,
    6 the sandbox failed, 130 cancelled (Ctrl-C).

    Example: fastslow map "Classify {text} by urgency" --input tickets.csv --schema urgency.json --out out.jsonl
    """
    from fastslow.agent.surfaces.cli import map as command

    arguments = command.MapArguments(
        prompt=prompt,
        rows=rows,
        schema=schema,
        out=out,
        id_column=id_column,
        at_once=at_once,
        budget=budget,
        each=budget_each,
        retry=retry is not None,
        limit=limit,
        votes=votes,
        check=check,
        tools=tools,
        think=think,
        fresh=fresh,
        model=model,
        base_urls=tuple(base_url or ()),
        packages=tuple(" ".join(packages or ()).split()),
        image=image,
        network=sandbox_network(allow) if allow else None,
        limits=sandbox_limits(seconds, memory),
        workers=workers,
        ray=ray,
        as_json=as_json,
    )
    raise typer.Exit(command.dry_run(arguments) if dry_run else command.run(arguments))
