"""Who owns a container, and what is left of owners that live no more: found, listed, removed."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastslow.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from docker import APIClient

LABEL = "fastslow.owner"
STALE_SECONDS = 600.0  # a container that is not running at this age never will: ours start at once or never

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from every other one: by boot, by pid namespace, by pid and by its start time."""

    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> Owner:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(boot, os.readlink("/proc/self/ns/pid"), os.getpid(), started(os.getpid()))

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        match label.split("/"):
            case [boot, namespace, pid, ticks] if pid.isdigit():
                return cls(boot, namespace, int(pid), ticks)
        return None

    def label(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.started}"

    def gone(self, me: Owner) -> bool:
        """Whether it surely lives no more. What another machine or namespace owns is not ours to judge."""
        return (self.boot, self.namespace) == (me.boot, me.namespace) and started(self.pid) != self.started

    def folder(self) -> Path:
        """A new temporary folder that only our user can enter, and that `reap_folders` knows whose it is."""
        return Path(tempfile.mkdtemp(prefix=f"fastslow-{_namespace_number(self)}-{self.pid}-{self.started}-"))


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container of any sandbox. owner: a process id. alive: False when that process surely lives no more.

    age: seconds. daemon: the host that it is on. status: in the daemon's words, such as "Up 3 minutes".
    """

    name: str
    owner: int
    alive: bool
    age: float
    daemon: str
    image: str
    status: str


def started(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5), stat, field 22); "" for no process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def list_containers(api: APIClient, daemon: str, me: Owner) -> list[ContainerInfo]:
    """Those of all owners on one daemon. Blocks."""
    found = []
    for facts in _labelled(api):
        owner = Owner.parse(facts["Labels"].get(LABEL, ""))
        found.append(
            ContainerInfo(
                name=facts["Names"][0].lstrip("/") if facts["Names"] else facts["Id"][:12],
                owner=owner.pid if owner else 0,
                alive=owner is None or not owner.gone(me),
                age=max(0.0, time.time() - facts["Created"]),
                daemon=daemon,
                image=facts["Image"],
                status=facts["Status"],
            )
        )
    return found


def reap(api: APIClient, me: Owner) -> int:
    """Remove the containers, in any state, whose owners live no more; how many there were. Blocks."""
    count = 0
    for facts in _labelled(api):
        owner = Owner.parse(facts["Labels"].get(LABEL, ""))
        stale = facts["State"] != "running" and time.time() - facts["Created"] > STALE_SECONDS
        if stale or (owner is not None and owner.gone(me)):
            remove(api, facts["Id"])
            count += 1
    if count:
        log.info("removed %d containers of processes that live no more", count)
    return count


def reap_folders(me: Owner) -> None:
    """Remove the temporary folders whose owners live no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"fastslow-{_namespace_number(me)}-*-*-*"):
        pid, ticks = folder.name.split("-")[2:4]
        try:
            ours = folder.stat().st_uid == os.geteuid()
        except FileNotFoundError:  # another process reaps, too
            continue
        if ours and pid.isdigit() and started(int(pid)) != ticks:
            shutil.rmtree(folder, ignore_errors=True)


def remove(api: APIClient, name: str) -> None:
    """Remove a container that may be gone, or going, already; returns when it is. Blocks."""
    from docker.errors import APIError, NotFound

    try:
        api.remove_container(name, force=True, v=True)
        return
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # "removal is already in progress"
            raise SandboxError(f"the container {name} could not be removed: {error.explanation}") from error
    try:
        api.wait(name, timeout=10, condition="removed")
    except NotFound:
        return


def _labelled(api: APIClient) -> list[Any]:
    return list(api.containers(all=True, filters={"label": LABEL}))


def _namespace_number(owner: Owner) -> str:
    return owner.namespace.strip("pid:[]")
