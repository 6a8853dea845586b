"""`fastslow doctor`: one row for each thing that a run needs, with what mends it."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastslow import VLLM
from fastslow.agent.engine.probe import UNKNOWN, Finding
from fastslow.agent.errors import AgentError, ModelUnavailable
from fastslow.agent.folders import cache_folder, data_folder
from fastslow.agent.serving.catalog import ModelEntry, find_model, fits
from fastslow.agent.serving.fetch import weights_state
from fastslow.agent.serving.install import engine_folder, engine_installed
from fastslow.agent.serving.machine import this_machine
from fastslow.agent.serving.process import ServerStatus
from fastslow.agent.serving.start import server_status
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import chosen_model
from fastslow.agent.surfaces.cli.text import one_line, seconds, size, terminal
from fastslow.sandbox import EngineMissing, docker_client, engine_facts, image_exists, image_tag

# Without these no run can work; what else the probe finds wrong makes one slower or less sharp.
NEEDED_FINDINGS = {"tools", "calls"}
IMAGE_ROOM = 3_000_000_000  # bytes of disk: the image and what its build needs meanwhile
ENGINE_ROOM = 6_000_000_000
RUN_ROOM = 500_000_000
RUN_MEMORY = 1 << 30  # of one sandbox
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a run needs. With a `warning` a run still works. remedy: what mends it."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""


def doctor(base_url: str | None, *, as_json: bool) -> int:
    """Check and show; returns 0 if a run could work, else 1. base_url: a server that is not ours."""
    image, docker = _docker()
    rows = [_python(), docker, image]
    entry, ours = (None, []) if base_url else _managed()
    room = IMAGE_ROOM if image.state == "failed" else RUN_ROOM
    rows += [*ours, *_server(base_url), _disk(entry, room), _memory(entry)]
    works = all(row.state != "failed" for row in rows)
    if as_json:
        print(json.dumps({"works": works, "rows": [asdict(row) for row in rows]}))  # noqa: T201
    else:
        _show(terminal(), rows, works)
    return 0 if works else 1


def _python() -> Row:
    good = sys.version_info >= (3, 11)
    remedy = "" if good else "install Python 3.11 or newer and make the environment with it"
    return Row("Python", "ok" if good else "failed", f"{platform.python_version()} ({sys.executable})", remedy)


def _docker() -> tuple[Row, Row]:
    """Rows of the image and of the engine that should hold it."""
    client_version = version("docker")
    try:
        client = docker_client(timeout=10)
        facts, built = engine_facts(client), image_exists(client)
    except EngineMissing as error:
        missing = Row("Sandbox image", "failed", "unknown without an engine", "fastslow sandbox build")
        found = f"{error} (client: docker-py {client_version})"
        return missing, Row("Docker", "failed", found, "fastslow sandbox build")
    client.close()
    found = (
        f"engine {facts.version}, docker-py {client_version}, runtimes {' '.join(facts.runtimes)}, "
        f"cgroup v{facts.cgroup}, {facts.storage_driver}{', rootless' if facts.rootless else ''}"
    )
    docker = Row("Docker", "ok", found)
    if built:
        return Row("Sandbox image", "ok", image_tag()), docker
    return Row("Sandbox image", "failed", f"{image_tag()} is not built", "fastslow sandbox build"), docker


def _managed() -> tuple[ModelEntry | None, list[Row]]:
    """The model that is, or would be, served from this machine; rows of the engine and its weights."""
    record = server_status().record
    try:
        entry = find_model(record.model) if record else chosen_model()
    except ModelUnavailable as error:
        return None, [Row("Weights", "failed", str(error), "fastslow up")]
    installed = engine_installed()
    engine = f"vLLM in {engine_folder()}" if installed else f"not installed in {engine_folder()}"
    state = weights_state(entry)
    found = {
        "present": f"{entry.served_name}, checksums right ({entry.folder})",
        "absent": f"{entry.served_name} is not fetched",
        "damaged": f"{entry.served_name} is damaged ({entry.folder})",
    }[state]
    return entry, [
        Row("Engine", "ok" if installed else "failed", engine, "" if installed else "fastslow up"),
        Row("Weights", "ok", found) if state == "present" else Row("Weights", "failed", found, "fastslow up"),
    ]


def _server(base_url: str | None) -> list[Row]:
    """The server's row, and one for each thing that the probe tried out."""
    status = ServerStatus() if base_url else server_status()
    if not base_url and status.record is None:
        return [
            Row("Server", "failed", "none is running", "fastslow up"),
            Row("Mode switch", "failed", "not proven: no server is running", "fastslow up"),
        ]
    with Phases(terminal(stderr=True)).phase("First contact", "both modes of the server must work"):
        try:
            engine, findings = asyncio.run(_probed(base_url))
        except AgentError as error:
            remedy = "start that server, or correct the address" if base_url else "fastslow down && fastslow up"
            return [Row("Server", "failed", str(error), remedy)]
    found = f"{engine.model}, profile {engine.profile.name}, {engine.context} tokens of context"
    if status.record:
        found += f", {status.record.base_url}, up for {seconds(status.uptime)}"
    notice = engine.profile.notice
    server = Row("Server", "warning" if notice else "ok", f"{found}. {notice}" if notice else found)
    return [server, *(_finding(finding) for finding in findings)]


async def _probed(base_url: str | None) -> tuple[VLLM, tuple[Finding, ...]]:
    engine = VLLM(base_url)
    try:
        await engine.connect()
        if UNKNOWN in engine.findings:
            await engine.probe()  # whoever asks the doctor wants it tried
    finally:
        await engine.aclose()
    return engine, engine.findings


def _finding(finding: Finding) -> Row:
    name = "Mode switch" if finding.name == "switch" else f"· {finding.name}"
    if finding.ok:
        return Row(name, "ok", finding.found)
    return Row(name, "failed" if finding.name in NEEDED_FINDINGS else "warning", finding.found, finding.remedy)


def _disk(entry: ModelEntry | None, room: int) -> Row:
    """Free disk against what is still to be installed and fetched."""
    if entry:
        room += 0 if engine_installed() else ENGINE_ROOM
        room += 0 if weights_state(entry) == "present" else 2 * entry.download + entry.disk
    free = min(shutil.disk_usage(folder).free for folder in (cache_folder(), data_folder()))
    found = f"{size(free)} free, {size(room)} needed"
    if free >= room:
        return Row("Disk", "ok", found)
    return Row("Disk", "failed", found, f"free some space, or move {cache_folder()} with FASTSLOW_HOME")


def _memory(entry: ModelEntry | None) -> Row:
    """Free memory against what the sandbox takes, and the server where it is still to be started."""
    free = psutil.virtual_memory().available
    if entry and server_status().record is None:
        verdict = fits(entry, this_machine())
        remedy = "" if verdict.fits else "stop other programs, or choose a smaller model: fastslow models"
        return Row("Memory", "ok" if verdict.fits else "failed", f"{entry.served_name} {verdict.text}", remedy)
    enough = free >= RUN_MEMORY
    found = f"{size(free)} free, {size(RUN_MEMORY)} needed for a sandbox"
    return Row("Memory", "ok" if enough else "warning", found, "" if enough else "stop other programs")


def _show(console: Console, rows: list[Row], works: bool) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        mark, style = _MARKS[row.state]
        found = Text(one_line(row.found))
        if row.remedy:
            found.append(f"\n→ {one_line(row.remedy)}", style)
        table.add_row(Text(mark, style), Text(one_line(row.name), "bold"), found)
    console.print(table)
    console.print(Text("A run could work." if works else "A run could not work yet.", "bold"))
