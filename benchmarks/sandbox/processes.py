"""The processes of a container as the host sees them: when they rest, what they use, when one of them is gone."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

from docker import DockerClient
from docker.models.containers import Container

PROC = Path("/proc")
REST_SECONDS = 0.3
REST_LIMIT = 20.0


def newest(client: DockerClient, image: str) -> Container:
    """The container of this image that was created last. LookupError when there is none."""
    rows = client.api.containers(filters={"ancestor": image})
    if not rows:
        raise LookupError(f"no container of the image {image} runs")
    return client.containers.get(max(rows, key=lambda row: row["Created"])["Id"])


def pids(container: Container) -> list[int]:
    """Its processes, by their number on the host."""
    top = container.top()
    column = top["Titles"].index("PID")
    return [int(row[column]) for row in top["Processes"]]


def rest(container: Container) -> None:
    """Wait until its processes use no processor, at most REST_LIMIT: what a start left to do is done then."""
    deadline = time.monotonic() + REST_LIMIT
    before = math.inf
    while time.monotonic() < deadline:
        now = _ticks(pids(container))
        if abs(now - before) <= 1:
            return
        before = now
        time.sleep(REST_SECONDS)


def memory(container: Container) -> float:
    """Proportional set size of its processes and of its shim, MB. PermissionError unless we are root."""
    ours = pids(container)
    shim = int(_stat(int(container.attrs["State"]["Pid"]))[1])
    return sum(_pss(pid) for pid in [shim, *ours]) / 1e6


def find(mark: str) -> int | None:
    """The process that gave itself this name."""
    for folder in PROC.glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == mark:
                return int(folder.name)
        except OSError:
            continue  # ended meanwhile
    return None


def gone(pid: int, mark: str) -> bool:
    """Whether the process ended or gave up its name."""
    try:
        if (PROC / str(pid) / "comm").read_text().strip() != mark:
            return True
        return _stat(pid)[0] == "Z"
    except OSError:
        return True


def _stat(pid: int) -> list[str]:
    """Its fields from the state on: the name before may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _ticks(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            fields = _stat(pid)
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


def _pss(pid: int) -> int:
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
