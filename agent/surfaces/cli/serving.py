"""`fastslow setup | up | down | status | models`: the managed model server and the catalog."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from fastslow.agent.managed_server import server_status, stop_server
from fastslow.agent.serving.catalog import catalog, find_model, fits, may_use
from fastslow.agent.serving.fetch import weights_state
from fastslow.agent.serving.machine import this_machine
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import chosen_model, confirm_licence, prepare_run, prepare_server
from fastslow.agent.surfaces.cli.text import one_line, seconds, size, terminal

WIDE = 70  # columns from which the catalog's table is shown in full


def up(model: str | None, port: int | None, flags: tuple[str, ...], *, accept_licence: bool) -> None:
    """Start the server, and say where it listens."""
    if model and accept_licence:
        confirm_licence(find_model(model), accepted=True)
    record = prepare_server(Phases(terminal(stderr=True)), model, port=port, flags=flags)
    terminal().print(Text(f"{one_line(record.served_name)} is served at {record.base_url}"), soft_wrap=True)


def setup(model: str | None) -> None:
    """Make everything that a run needs, and run nothing."""
    phases = Phases(terminal(stderr=True))
    prepare_run(phases, model)
    terminal().print(Text(f"ready for runs; set-up took {seconds(phases.seconds)} in all"), soft_wrap=True)


def down() -> None:
    """Stop the server, if one runs."""
    record = server_status().server
    console = terminal(stderr=True)
    if record is None:
        console.print("no server is running: nothing to stop")
        return
    with Phases(console).phase("Stopping the server", f"it serves {record.served_name}, as process {record.pid}"):
        stop_server(record)


def status(*, as_json: bool) -> int:
    """Show the server; returns 0 if it answers, else 1."""
    found = server_status()
    if as_json:
        told = asdict(found)
        if found.server:
            del told["server"]["key"]
        print(json.dumps(told))  # noqa: T201
    elif found.server is None:
        terminal().print("no server is running; start one with `fastslow up`")
    else:
        record = found.server
        state = "answers" if found.healthy else "does not answer (yet); its log says why"
        rows = {
            "model": record.served_name,
            "state": state,
            "address": record.base_url,
            "profile": record.profile,
            "pid": str(record.pid),
            "memory": size(found.memory),
            "uptime": seconds(found.uptime),
            "weights": record.model,
            "log": record.log,
        }
        table = Table.grid(padding=(0, 2))
        for name, value in rows.items():
            table.add_row(Text(name, "bold"), Text(one_line(value), overflow="fold"))
        terminal().print(table)
    return 0 if found.healthy else 1


def models(*, as_json: bool) -> None:
    """Print the catalog."""
    machine, best = this_machine(), chosen_model()
    rows: list[dict[str, Any]] = []
    for entry in catalog():
        verdict = fits(entry, machine)
        rows.append(
            {
                "id": entry.id,
                "modes": entry.modes,
                "licence": entry.licence.name,
                "licence_url": entry.licence.url,
                "usable": may_use(entry),
                "download": entry.download,
                "context": entry.context,
                "fits": verdict.fits,
                "why": verdict.text,
                "state": weights_state(entry),
                "default": entry == best,
            }
        )
    if as_json:
        print(json.dumps(rows))  # noqa: T201
        return
    console = terminal()
    wide = console.width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading in ("model", "size", "here", *(("context", "modes", "licence") if wide else ())):
        number = heading in ("size", "context")
        table.add_column(heading, justify="right" if number else "left", no_wrap=heading == "model")
    for row in rows:
        name = f"{row['id']}{' *' if row['default'] else ''}"
        cells: list[str | Text] = [Text(name, "bold" if row["default"] else ""), size(row["download"])]
        cells.append(Text(_verdict(row), "" if row["fits"] else "dim"))
        if wide:
            licence = row["licence"] + ("" if row["usable"] else "; not accepted yet")
            cells += [f"{row['context']:,}", row["modes"], licence]
        table.add_row(*cells)
    console.print(table)
    console.print(Text("* what `fastslow run` and `fastslow up` serve by default", "dim"))


def _verdict(row: dict[str, Any]) -> str:
    """Whether the model fits here, without the sizes, and the state of its weights where there are some."""
    verdict = re.split(r"[:(]", row["why"])[0].strip()
    return verdict if row["state"] == "absent" else f"{verdict}, {row['state']}"
