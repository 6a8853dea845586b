"""Sandboxes in Docker containers: made, hardened, found again when their owner died, removed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import secrets
import shutil
import socket
import struct
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.engine import docker_client
from sandbox.errors import ImageMissing, SandboxError
from sandbox.image import GUEST, image_tag
from sandbox.sandbox import Limits
from sandbox.session import DockerSession
from sandbox.wire import Channel

if TYPE_CHECKING:
    from docker import APIClient, DockerClient

UID = 65534
MOUNT = "/run/fastslow"
LABEL = "fastslow.owner"
START_SECONDS = 30.0

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
        return cls(boot, os.readlink("/proc/self/ns/pid"), os.getpid(), _started(os.getpid()))

    @classmethod
    def parse(cls, label: str) -> Owner | None:
        match label.split("/"):
            case [boot, namespace, pid, started] if pid.isdigit():
                return cls(boot, namespace, int(pid), started)
        return None

    def label(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.started}"

    def gone(self, me: Owner) -> bool:
        """Whether it surely lives no more. What another machine or namespace owns is not ours to judge."""
        return (self.boot, self.namespace) == (me.boot, me.namespace) and _started(self.pid) != self.started


def _started(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5), stat, field 22); "" for no process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def hardened(api: APIClient, limits: Limits, folder: Path, runtime: str | None) -> Any:
    """The host configuration of a container that is trusted with nothing: each line closes a door."""
    from docker.types import LogConfig, Ulimit

    return api.create_host_config(
        network_mode="none",  # no DNS and no gateway either
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={
            "/tmp": "rw,nosuid,nodev,noexec,size=64m,mode=1777",  # noqa: S108 - inside the container
            "/work": f"rw,nosuid,nodev,exec,size={limits.disk},mode=0700,uid={UID},gid={UID}",
        },
        ipc_mode="private",
        shm_size="16m",  # multiprocessing needs its locks
        pids_limit=limits.pids,
        mem_limit=limits.memory,
        memswap_limit=limits.memory,  # equal: no swap
        nano_cpus=int(limits.cpus * 1e9),
        ulimits=[
            Ulimit(name="nofile", soft=1024, hard=1024),
            Ulimit(name="core", soft=0, hard=0),
        ],
        init=True,  # reaps, and passes signals on
        log_config=LogConfig(type="none"),  # the default one fills the host's disk
        cgroupns="private",
        oom_score_adj=500,
        auto_remove=True,
        binds={str(folder): {"bind": MOUNT, "mode": "ro"}},
        runtime=runtime,
    )


class Doorway:
    """A fresh folder that the container sees read-only: the guest's code, and the socket where the host
    listens.

    The host never opens anything that the container could have put in its way. The folder is in one that
    only our user can enter, so nobody else on the host can knock. The guest's code comes by this way and
    not with the image: it always fits the host's half, and a change of it needs no new image. All is gone
    once the guest is in.
    """

    def __init__(self, owner: Owner) -> None:
        self._outer = Path(tempfile.mkdtemp(prefix=_prefix(owner)))
        self.folder = self._outer / "run"
        self.folder.mkdir()
        for source in GUEST.glob("*.py"):
            shutil.copyfile(source, self.folder / source.name)
            (self.folder / source.name).chmod(0o644)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o666)
        self.folder.chmod(0o755)
        self._listener.listen(1)

    async def accept(self) -> Channel:
        """The guest's connection; SandboxError when it is somebody else's."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        # Not compared with UID: an engine with user namespaces maps it to another one.
        if uid in {0, os.geteuid()} - {UID}:
            connection.close()
            raise SandboxError(f"user {uid} of this machine spoke in the guest's place; see who runs as that user")
        return Channel(*await asyncio.open_unix_connection(sock=connection))

    def close(self) -> None:
        self._listener.close()
        shutil.rmtree(self._outer, ignore_errors=True)


def _prefix(owner: Owner) -> str:
    return f"fastslow-{owner.namespace.strip('pid:[]')}-{owner.pid}-{owner.started}-"


class DockerSandbox:
    """Sessions in Docker containers, one container each, hardened (`hardened`), gone at the session's end.

    image: another one than that of `fastslow sandbox build`; it needs `python3` (3.11 or later) and `bash`.
    runtime: an OCI runtime that the engine knows, such as `"runsc"`; None is the engine's default.

    A container ends with its session, and with this process: the guest leaves when its connection closes.
    What a killed process could leave nevertheless is removed when the next one starts its first session.
    """

    def __init__(self, limits: Limits | None = None, *, image: str | None = None, runtime: str | None = None) -> None:
        self._limits = limits or Limits()
        self._image = image or image_tag()
        self._runtime = runtime
        self._me = Owner.me()
        self._client: DockerClient | None = None
        self._connecting = threading.Lock()
        self._sessions: set[DockerSession] = set()
        self._spare: asyncio.Task[DockerSession] | None = None

    @property
    def limits(self) -> Limits:
        return self._limits

    def warm(self) -> None:
        """Start a container in the background, for the next `session()` to take. Needs a running loop."""
        if self._spare is None:
            self._spare = asyncio.create_task(self._start())

    async def session(self) -> DockerSession:
        """Start a session, about 0.3 s, or take the one of `warm`.

        Raises EngineMissing, ImageMissing, or SandboxError with what the engine said.
        """
        spare, self._spare = self._spare, None
        if spare is not None and (session := await spare).alive:
            return session
        return await self._start()

    async def prune(self) -> int:
        """Remove the containers and folders whose owners live no more; how many containers there were."""
        client = await asyncio.to_thread(self._connect)
        return await asyncio.to_thread(self._reap, client.api)

    async def aclose(self) -> None:
        """End all sessions."""
        if self._spare is not None:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
            self._spare = None
        await asyncio.gather(*(session.aclose() for session in list(self._sessions)))
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _start(self) -> DockerSession:
        client = await asyncio.to_thread(self._connect)
        name = f"fastslow-{secrets.token_hex(6)}"
        door = Doorway(self._me)
        starting = asyncio.create_task(asyncio.to_thread(self._launch, client.api, name, door.folder))
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(starting)
                channel = await door.accept()
        except BaseException as error:
            await asyncio.shield(self._undo(client.api, name, starting))
            if isinstance(error, TimeoutError):
                raise SandboxError(
                    f"the sandbox did not come up within {START_SECONDS:.0f} s; "
                    "see `fastslow doctor`, or build its image anew with `fastslow sandbox build --force`"
                ) from error
            raise
        finally:
            door.close()

        async def end() -> None:
            self._sessions.discard(session)
            await asyncio.to_thread(_remove, client.api, name)

        session = DockerSession(channel, self._limits, end)
        self._sessions.add(session)
        return session

    async def _undo(self, api: APIClient, name: str, starting: asyncio.Task[None]) -> None:
        await asyncio.wait({starting})
        starting.exception()  # seen: it is raised by whoever awaits the task
        await asyncio.to_thread(_remove, api, name)

    # -- in threads: docker-py blocks

    def _connect(self) -> DockerClient:
        with self._connecting:
            if self._client is None:
                client = docker_client()
                self._reap(client.api)
                self._client = client
            return self._client

    def _launch(self, api: APIClient, name: str, folder: Path) -> None:
        import requests
        from docker.errors import APIError, ImageNotFound

        limits = {"output": self._limits.output, "memory": self._limits.memory, "upload": self._limits.upload}
        threads = str(max(1, math.ceil(self._limits.cpus)))
        try:
            api.create_container(
                self._image,
                name=name,
                entrypoint=["python3", "-I", f"{MOUNT}/guest.py", json.dumps(limits)],
                user=f"{UID}:{UID}",
                working_dir="/work",
                environment={
                    "HOME": "/tmp",  # noqa: S108 - inside the container
                    "LANG": "C.UTF-8",
                    "MPLBACKEND": "Agg",
                    "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
                    "OMP_NUM_THREADS": threads,
                    "OPENBLAS_NUM_THREADS": threads,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                labels={LABEL: self._me.label()},
                stop_timeout=1,
                host_config=hardened(api, self._limits, folder, self._runtime),
                use_config_proxy=False,  # docker-py would hand the user's proxy settings in
            )
            api.start(name)
        except ImageNotFound as error:
            raise ImageMissing(
                f"the sandbox image {self._image!r} is not there; build it with `fastslow sandbox build`"
            ) from error
        except (APIError, requests.RequestException) as error:
            said = getattr(error, "explanation", None) or error
            raise SandboxError(f"the Docker engine did not start the sandbox: {said}; see `fastslow doctor`") from error

    def _reap(self, api: APIClient) -> int:
        count = 0
        for facts in api.containers(all=True, filters={"label": LABEL}):
            owner = Owner.parse(facts["Labels"].get(LABEL, ""))
            if owner is not None and owner.gone(self._me):
                _remove(api, facts["Id"])
                count += 1
        mine = _prefix(self._me).split("-")[:2]
        for folder in Path(tempfile.gettempdir()).glob("-".join([*mine, "*", "*", "*"])):
            pid, started = folder.name.split("-")[2:4]
            if folder.stat().st_uid == os.geteuid() and pid.isdigit() and _started(int(pid)) != started:
                shutil.rmtree(folder, ignore_errors=True)
        if count:
            log.info("removed %d containers of processes that live no more", count)
        return count


def _remove(api: APIClient, name: str) -> None:
    """Remove a container that may be gone, or going, already; returns when it is."""
    from docker.errors import APIError, NotFound

    try:
        api.remove_container(name, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # "removal is already in progress"
            raise SandboxError(f"the container {name} could not be removed: {error.explanation}") from error
    with contextlib.suppress(NotFound):
        api.wait(name, timeout=10, condition="removed")
