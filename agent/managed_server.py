"""Which process is our model server: its file on disk, whether it answers, and how it is stopped.

`<state>/server.json` says which it is and holds its key, so that only its owner may read it; `<state>/server.log` is
its log. One server at a time: it takes most of the memory. The engine finds it here, and `serving/` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil

from fastslow.agent.folders import state_folder

STOP_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Which process is our server. `started` is the process's creation time, so that a reused pid is not
    mistaken.

    model: the folder of weights. profile: the name of its profile. log: path of the log. key: what it answers to alone,
    never to be shown; empty for one that an older version started.
    """

    pid: int
    started: float
    base_url: str
    model: str
    served_name: str
    profile: str
    extra_flags: tuple[str, ...]
    log: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`server` is None where no server runs. `memory` in bytes, `uptime` in seconds."""

    server: ServerInfo | None = None
    healthy: bool = False
    memory: int = 0
    uptime: float = 0.0


def server_status() -> ServerStatus:
    """What runs now. The file of one whose process is gone is removed, and with it what that process left running."""
    server = _read_server_info()
    process = _process(server) if server else None
    if server and process is None:
        for left in _orphans(server):
            left.kill()
    if server is None or process is None:
        if server and _read_server_info() == server:  # not the one of a server that starts at this moment
            _server_file().unlink(missing_ok=True)
        return ServerStatus()
    return ServerStatus(server, is_healthy(server), _memory(process), time.time() - server.started)


def running_server() -> ServerInfo | None:
    """The server, where it answers."""
    status = server_status()
    return status.server if status.healthy else None


def key_for(base_url: str) -> str:
    """The key of the server at an address, where that is ours; else empty."""
    server = _read_server_info()
    return server.key if server and server.base_url == base_url and _process(server) else ""


def stop_server(server: ServerInfo) -> None:
    """End the server and every process it started: politely, after 20 seconds by force. Safe to repeat."""
    process = _process(server)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        os.killpg(server.pid, signal.SIGTERM)
        for left in _wait(family):
            left.kill()
        _wait(family)
    if _read_server_info() == server:
        _server_file().unlink(missing_ok=True)


def log_tail(server: ServerInfo, lines: int = 20) -> str:
    """The last lines of the server's log."""
    return _tail(Path(server.log), lines)


def write_server_info(server: ServerInfo) -> None:
    """Put the record in the place of any other. It holds the key, so nobody else may read it at any moment."""
    new = _server_file().with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(server), file, indent=1)
    new.replace(_server_file())


def log_file() -> Path:
    return state_folder() / "server.log"


def _server_file() -> Path:
    return state_folder() / "server.json"


def _read_server_info() -> ServerInfo | None:
    try:
        data = json.loads(_server_file().read_text(encoding="utf-8"))
        return ServerInfo(**data | {"extra_flags": tuple(data["extra_flags"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _process(server: ServerInfo) -> psutil.Process | None:
    """The server's process, unless it is gone or the pid is another's by now."""
    try:
        process = psutil.Process(server.pid)
        return process if abs(process.create_time() - server.started) < 1 and _runs(process) else None
    except psutil.NoSuchProcess:
        return None


def _orphans(server: ServerInfo) -> list[psutil.Process]:
    """The engine's workers whose server was killed: they hold gigabytes and do not end by themselves.

    They are in the group that the server led and carry vLLM's process titles, so no stranger is taken for one.
    """
    orphans = []
    for process in psutil.process_iter():
        try:
            ours = os.getpgid(process.pid) == server.pid and process.create_time() > server.started - 1
            if ours and " ".join(process.cmdline()).startswith("VLLM::"):
                orphans.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
    return orphans


def _wait(family: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until they end; returns those that did not in time.

    A zombie has ended: not every container has an init that reaps orphans.
    """
    left, deadline = family, time.monotonic() + STOP_LIMIT
    while left and time.monotonic() < deadline:
        _, alive = psutil.wait_procs(left, timeout=0.2)
        left = [process for process in alive if _runs(process)]
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _memory(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def health_url(server: ServerInfo) -> str:
    return server.base_url.removesuffix("/v1") + "/health"


def is_healthy(server: ServerInfo) -> bool:
    try:
        return httpx.get(health_url(server), timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _tail(file: Path, lines: int) -> str:
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - 200 * lines - 2000))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
