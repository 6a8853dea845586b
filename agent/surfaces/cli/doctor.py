"""`fastslow doctor`: one row for each thing that a run needs, with the remedy where it is missing."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastslow import VLLM
from fastslow.agent.engine.pool import addresses
from fastslow.agent.engine.probe import UNKNOWN, Finding
from fastslow.agent.errors import AgentError, ModelUnavailable
from fastslow.agent.folders import cache_folder, data_folder
from fastslow.agent.managed_server import ServerStatus, server_status
from fastslow.agent.serving.catalog import ModelEntry, find_model, fits
from fastslow.agent.serving.fetch import weights_state
from fastslow.agent.serving.install import engine_folder, engine_installed
from fastslow.agent.serving.machine import this_machine
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.prepare import chosen_model
from fastslow.agent.surfaces.cli.text import one_line, seconds, size, terminal
from fastslow.sandbox import DockerMissing, Limits, docker_client, docker_facts, image_exists, image_tag

# Without these no run can work; whatever else the probe finds wrong makes runs slower or worse.
NEEDED_FINDINGS = {"tools", "calls"}
IMAGE_DISK = 3_000_000_000  # bytes: the image and what its build needs meanwhile
ENGINE_DISK = 6_000_000_000
RUN_DISK = 500_000_000
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that a run needs. With a `warning` a run still works. remedy: a command, or what else to do."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""


def doctor(base_urls: Sequence[str] | None, *, as_json: bool) -> int:
    """Check and show; returns 0 if a run can start, else 1. base_urls: servers that already run."""
    image, docker = _docker()
    rows = [_python(), docker, image]
    entry, managed = (None, []) if base_urls else _engine_and_weights()
    disk = IMAGE_DISK if image.state == "failed" else RUN_DISK
    servers = [row for url in addresses(base_urls or ()) or (None,) for row in _server(url)]
    rows += [*managed, *servers, _disk(entry, disk), _memory(entry)]
    works = all(row.state != "failed" for row in rows)
    if as_json:
        print(json.dumps({"works": works, "rows": [asdict(row) for row in rows]}))  # noqa: T201
    else:
        _show(terminal(), rows, works)
    return 0 if works else 1


def _python() -> HealthCheck:
    good = sys.version_info >= (3, 11)
    remedy = "" if good else "install Python 3.11 or newer and make the environment with it"
    return HealthCheck("Python", "ok" if good else "failed", f"{platform.python_version()} ({sys.executable})", remedy)


def _docker() -> tuple[HealthCheck, HealthCheck]:
    """The rows of the sandbox image and of the Docker daemon."""
    client_version = version("docker")
    try:
        client = docker_client(timeout=10)
        facts, built = docker_facts(client), image_exists(client)
    except DockerMissing as error:
        missing = HealthCheck(
            "Sandbox image", "failed", "unknown while Docker does not answer", "fastslow sandbox build"
        )
        found = f"{error} (client: docker-py {client_version})"
        return missing, HealthCheck("Docker", "failed", found, "fastslow sandbox build")
    client.close()
    found = (
        f"engine {facts.version}, docker-py {client_version}, runtimes {' '.join(facts.runtimes)}, "
        f"cgroup v{facts.cgroup}, {facts.storage_driver}{', rootless' if facts.rootless else ''}"
    )
    docker = HealthCheck("Docker", "ok", found)
    if built:
        return HealthCheck("Sandbox image", "ok", image_tag()), docker
    return HealthCheck("Sandbox image", "failed", f"{image_tag()} is not built", "fastslow sandbox build"), docker


def _engine_and_weights() -> tuple[ModelEntry | None, list[HealthCheck]]:
    """The model that is, or would be, served from this machine; the rows of vLLM and of the model's weights."""
    running = server_status().server
    try:
        entry = find_model(running.model) if running else chosen_model()
    except ModelUnavailable as error:
        return None, [HealthCheck("Weights", "failed", str(error), "fastslow up")]
    installed = engine_installed()
    engine = f"vLLM in {engine_folder()}" if installed else f"not installed in {engine_folder()}"
    state = weights_state(entry)
    found = {
        "present": f"{entry.served_name}, checksums match ({entry.folder})",
        "absent": f"{entry.served_name} is not downloaded yet",
        "damaged": f"{entry.served_name} is damaged ({entry.folder})",
    }[state]
    return entry, [
        HealthCheck("Engine", "ok" if installed else "failed", engine, "" if installed else "fastslow up"),
        HealthCheck("Weights", "ok", found)
        if state == "present"
        else HealthCheck("Weights", "failed", found, "fastslow up"),
    ]


def _server(base_url: str | None) -> list[HealthCheck]:
    """The server's row, and one for each thing that the probe tried out."""
    status = ServerStatus() if base_url else server_status()
    if not base_url and status.server is None:
        return [
            HealthCheck("Server", "failed", "none is running", "fastslow up"),
            HealthCheck("Mode switch", "failed", "unknown while no server is running", "fastslow up"),
        ]
    with Phases(terminal(stderr=True)).phase("Server check", "thinking and fast turns must both work on it"):
        try:
            engine, findings = asyncio.run(_probe_server(base_url))
        except AgentError as error:
            remedy = "start that server, or correct the address" if base_url else "fastslow down && fastslow up"
            return [HealthCheck("Server", "failed", str(error), remedy)]
    found = f"{engine.model}, profile {engine.profile.name}, {engine.context} tokens of context"
    if status.server:
        found += f", {status.server.base_url}, up for {seconds(status.uptime)}"
    notice = engine.profile.notice
    server = HealthCheck("Server", "warning" if notice else "ok", f"{found}. {notice}" if notice else found)
    return [server, *(_finding(finding) for finding in findings)]


async def _probe_server(base_url: str | None) -> tuple[VLLM, tuple[Finding, ...]]:
    engine = VLLM(base_url)
    try:
        await engine.connect()
        if UNKNOWN in engine.findings:
            await engine.probe()  # whoever runs the doctor wants it tried
    finally:
        await engine.aclose()
    return engine, engine.findings


def _finding(finding: Finding) -> HealthCheck:
    name = "Mode switch" if finding.name == "switch" else f"· {finding.name}"
    if finding.ok:
        return HealthCheck(name, "ok", finding.found)
    return HealthCheck(name, "failed" if finding.name in NEEDED_FINDINGS else "warning", finding.found, finding.remedy)


def _disk(entry: ModelEntry | None, needed: int) -> HealthCheck:
    """Free disk against what is needed: that much, and what is still to be installed and downloaded."""
    if entry:
        needed += 0 if engine_installed() else ENGINE_DISK
        needed += 0 if weights_state(entry) == "present" else 2 * entry.download + entry.disk
    free = min(shutil.disk_usage(folder).free for folder in (cache_folder(), data_folder()))
    found = f"{size(free)} free, {size(needed)} needed"
    if free >= needed:
        return HealthCheck("Disk", "ok", found)
    return HealthCheck(
        "Disk", "failed", found, f"free some space, or move {cache_folder()} to another disk with FASTSLOW_HOME"
    )


def _memory(entry: ModelEntry | None) -> HealthCheck:
    """Free memory against what the server needs where it is still to be started, else against what a sandbox needs."""
    free = psutil.virtual_memory().available
    if entry and server_status().server is None:
        verdict = fits(entry, this_machine())
        remedy = "" if verdict.fits else "stop other programs, or choose a smaller model: fastslow models"
        return HealthCheck("Memory", "ok" if verdict.fits else "failed", f"{entry.served_name} {verdict.text}", remedy)
    enough = free >= Limits().memory
    found = f"{size(free)} free, {size(Limits().memory)} needed for a sandbox"
    return HealthCheck("Memory", "ok" if enough else "warning", found, "" if enough else "stop other programs")


def _show(console: Console, rows: list[HealthCheck], works: bool) -> None:
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
    not_ready = "Not ready yet. `fastslow run` sets up what it can by itself; the arrows say what else to do."
    console.print(Text("Ready: a run can start." if works else not_ready, "bold"))
