"""Who owns a container, and until when: what owners left that live no more, or is past its time, is removed.

Whether an owner lives can only be seen where it runs: on its own machine, in its own pid namespace. A daemon may serve
others, too (a remote one, workers in pods), so each container also says when it is given up, whoever owned it.
"""

from __future__ import annotations

import logging
import math
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
DEADLINE = "fastslow.deadline"  # in seconds since 1970
LIFETIME = 7 * 86400.0  # seconds that a container may live: no session is longer
PID_DIGITS = 10
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
            case [boot, namespace, pid, ticks] if pid.isdecimal() and len(pid) <= PID_DIGITS:
                return cls(boot, namespace, int(pid), ticks)
        return None

    def label(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.started}"

    def gone(self, me: Owner) -> bool:
        """Whether it surely lives no more. What another machine or namespace owns is not ours to judge."""
        return (self.boot, self.namespace) == (me.boot, me.namespace) and not lives(self.pid, self.started)

    def folder(self) -> Path:
        """A new temporary folder that only our user can enter, and that `reap_folders` knows whose it is."""
        return Path(tempfile.mkdtemp(prefix=f"fastslow-{_namespace_number(self)}-{self.pid}-{self.started}-"))


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container of any sandbox. owner: a process id. alive: False when that process surely lives no more, or the
    container is past its time.

    age: seconds. daemon: the host that it is on. status: in the daemon's words, such as "Up 3 minutes".
    """

    name: str
    owner: int
    alive: bool
    age: float
    daemon: str
    image: str
    status: str


def labels() -> dict[str, str]:
    """Of a container that this process is about to make. Asked for each: a sandbox may be used in a fork of ours."""
    return {LABEL: Owner.me().label(), DEADLINE: str(int(time.time() + LIFETIME))}


def started(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5), stat, field 22); "" for no process, or one that
    was killed and that its parent has not asked about yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def lives(pid: int, ticks: str) -> bool:
    """Whether the process that started then is there, or may be: some machines hide those of other users."""
    if now := started(pid):
        return now == ticks
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not Path(f"/proc/{pid}").exists()  # hidden; what is to be seen, and has no start, was killed
    except (ProcessLookupError, OverflowError):
        pass
    return False


def list_containers(api: APIClient, daemon: str, me: Owner) -> list[ContainerInfo]:
    """Those of all owners on one daemon. Blocks."""
    found = []
    for facts in _labelled(api):
        owner = Owner.parse(facts["Labels"][LABEL])
        found.append(
            ContainerInfo(
                name=facts["Names"][0].lstrip("/") if facts["Names"] else facts["Id"][:12],
                owner=owner.pid if owner else 0,
                alive=not _given_up(facts, me),
                age=max(0.0, time.time() - facts["Created"]),
                daemon=daemon,
                image=facts["Image"],
                status=facts["Status"],
            )
        )
    return found


def reap(api: APIClient, me: Owner) -> int:
    """Remove the containers, in any state, whose owners live no more or whose time is over; how many there were. One
    that cannot be removed is left for the next time: it is no reason not to start. Blocks."""
    import requests
    from docker.errors import DockerException

    count = 0
    for facts in _labelled(api):
        stale = facts["State"] != "running" and time.time() - facts["Created"] > STALE_SECONDS
        if stale or _given_up(facts, me):
            try:
                remove(api, facts["Id"])
            except (SandboxError, DockerException, requests.RequestException) as error:
                log.warning("a container that was left behind stays: %s", error)
                continue
            count += 1
    if count:
        log.info("removed %d containers of processes that live no more", count)
    return count


def _given_up(facts: Any, me: Owner) -> bool:
    """Whether nobody wants a container any more, as its labels say. Whoever wrote them, none lives longer than ours."""
    owner = Owner.parse(facts["Labels"][LABEL])
    told = facts["Labels"].get(DEADLINE, "")
    deadline = min(facts["Created"] + LIFETIME, float(told) if told.isdecimal() else math.inf)
    return time.time() > deadline or (owner is not None and owner.gone(me))


def reap_folders(me: Owner) -> None:
    """Remove the temporary folders whose owners live no more, or, where that cannot be seen, whose time is over."""
    for folder in Path(tempfile.gettempdir()).glob("fastslow-*-*-*-*"):
        _, namespace, pid, ticks = folder.name.split("-")[:4]
        if not (namespace.isdecimal() and pid.isdecimal() and len(pid) <= PID_DIGITS):
            continue
        try:
            facts = folder.lstat()
        except FileNotFoundError:  # another process reaps, too
            continue
        visible = namespace == _namespace_number(me)
        gone = not lives(int(pid), ticks) if visible else time.time() > facts.st_mtime + LIFETIME
        if gone and facts.st_uid == os.geteuid():
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
