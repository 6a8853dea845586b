"""One container: created, hardened, started, its guest's code handed in, removed."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import secrets
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastslow.sandbox import seccomp
from fastslow.sandbox.channel import Channel
from fastslow.sandbox.daemon import Daemon
from fastslow.sandbox.egress import EgressProxy
from fastslow.sandbox.errors import DockerMissing, ImageMissing, SandboxError, SessionDied
from fastslow.sandbox.image import GUEST
from fastslow.sandbox.owner import Owner, labels
from fastslow.sandbox.sandbox import Egress, Limits, Network
from fastslow.sandbox.stream import Attached, attach
from fastslow.sandbox.wire import CHUNK, FrameStream, Message

if TYPE_CHECKING:
    from docker import APIClient
    from docker.types import Mount

UID = 65534
MOUNT = "/run/fastslow"
START_SECONDS = 30.0
LOOK_SECONDS = 1.0  # how often to look whether a container that does not report lives at all
PTYS = 8  # of a container; all containers together get 3072 (kernel.pty.max without its reserve for the host)
RUNSC_PIDS = 512  # gVisor's own threads count: with 200 its kernel crashes (measured)

# What tells of the host and nothing in here needs: the daemons' own list (that of 29), the kernel's command line, disks
# and insides. Empty files and folders stand in their places.
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap"),
    *("/sys/firmware", "/proc/cmdline", "/proc/config.gz", "/proc/diskstats", "/proc/kallsyms", "/proc/key-users"),
    *("/proc/modules", "/proc/partitions", "/proc/pressure", "/proc/swaps", "/sys/block", "/sys/kernel", "/sys/module"),
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What all containers of a sandbox have in common. build: the command that makes the image."""

    limits: Limits
    image: str
    build: str
    runtime: str | None
    network: Network


def hardened(api: APIClient, spec: Spec, machine: str, door: Doorway | None) -> dict[str, Any]:
    """The host configuration of a container that is trusted with nothing: each line closes a door."""
    from docker.types import LogConfig, Ulimit

    limits = spec.limits
    profile = json.dumps(seccomp.profile(machine))
    config: dict[str, Any] = api.create_host_config(
        network_mode="none",  # no DNS and no gateway either
        dns=["127.0.0.1"],  # else resolv.conf tells of the host's name servers and domains
        dns_search=["."],
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", f"seccomp={profile}"],
        read_only=True,
        tmpfs={
            "/tmp": "rw,nosuid,nodev,noexec,size=64m,mode=1777",  # noqa: S108 - inside the container
            "/dev/mqueue": "ro,nosuid,nodev,noexec",  # else code makes message queues there, as files
            "/work": f"rw,nosuid,nodev,exec,size={limits.disk},mode=0700,uid={UID},gid={UID}",
        },
        ipc_mode="private",
        shm_size="16m",  # multiprocessing needs its locks
        pids_limit=max(limits.pids, RUNSC_PIDS) if spec.runtime == "runsc" else limits.pids,
        mem_limit=limits.memory,
        memswap_limit=limits.memory,  # equal: no swap
        nano_cpus=int(limits.cpus * 1e9),
        ulimits=[
            Ulimit(name="nofile", soft=1024, hard=1024),
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="fsize", soft=limits.disk, hard=limits.disk),  # no huge file of holes
        ],
        init=True,  # reaps, and passes signals on
        log_config=LogConfig(type="none"),  # the default one fills the host's disk
        cgroupns="private",
        oom_score_adj=500,
        auto_remove=True,
        mounts=_mounts(spec, door),
        runtime=spec.runtime,
    )
    config["MaskedPaths"] = list(MASKED)  # docker-py has no word for it
    return config


def _mounts(spec: Spec, door: Doorway | None) -> list[Mount]:
    from docker.types import DriverConfig, Mount

    mounts: list[Mount] = []
    if door:  # a mount, not a bind: where the folder is absent (another machine's daemon), it fails and makes none
        mounts.append(Mount(MOUNT, str(door.folder), type="bind", read_only=True))
    if spec.runtime != "runsc":  # gVisor's terminals are its own
        # Docker's own mount of it has no limit, and one container could take all terminals there are. The volume is
        # the container's and goes with it.
        options = f"newinstance,nosuid,noexec,max={PTYS},ptmxmode=666,mode=620,gid=5"
        devpts = DriverConfig("local", {"type": "devpts", "device": "devpts", "o": options})
        mounts.append(Mount("/dev/pts", None, type="volume", no_copy=True, driver_config=devpts))
    return mounts


class Doorway:
    """A fresh folder that the container sees read-only, with the socket where the host listens.

    The host never opens anything that the container could have put in its way. The folder is in one that only our
    user can enter, so nobody else on the host can knock. It goes once the guest is in.
    """

    def __init__(self) -> None:
        self._outer = Owner.me().folder()
        self.folder = self._outer / "run"
        self.folder.mkdir()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o666)
        self.folder.chmod(0o755)
        self._listener.listen(1)

    async def accept(self) -> FrameStream:
        """The guest's connection; SandboxError when it is somebody else's."""
        peer, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        # Not compared with UID: a daemon with user namespaces maps it to another one.
        if uid in {0, os.geteuid()} - {UID}:
            peer.close()
            raise SandboxError(f"user {uid} of this machine spoke in the guest's place; see who runs as that user")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)  # a frame in one go; the default is a fifth of it
        return FrameStream(*await asyncio.open_unix_connection(sock=peer, limit=CHUNK))

    def close(self) -> None:
        self._listener.close()
        shutil.rmtree(self._outer, ignore_errors=True)


async def start_container(daemon: Daemon, spec: Spec, ended: Callable[[Channel], None]) -> Channel:
    """A container whose guest said hello, about 0.3 s. ended: called when it is over.

    Raises DockerMissing, ImageMissing, or SandboxError with what the daemon said. Cancelled, it leaves nothing.
    """
    api = await daemon.connect()
    name = f"fastslow-{secrets.token_hex(6)}"
    door = Doorway() if daemon.local else None
    frames: FrameStream | None = None
    creating = asyncio.create_task(asyncio.to_thread(_create, api, name, spec, daemon.machine, door))
    starting: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(START_SECONDS):
            await asyncio.shield(creating)
            if door is None:
                frames = await attach(daemon.base, daemon.tls, name)
            starting = asyncio.create_task(asyncio.to_thread(_start, api, name))
            await asyncio.shield(starting)
            if door is not None:
                frames = await _accept(door, api, name)
            assert frames is not None  # noqa: S101 - one of the two ways was taken
            return await _boot(frames, daemon, name, spec, ended)
    except BaseException as error:
        if frames is not None:
            frames.close()
        await asyncio.shield(_undo(daemon, name, [task for task in (creating, starting) if task is not None]))
        if isinstance(error, TimeoutError):
            raise SandboxError(
                f"the sandbox did not come up within {START_SECONDS:.0f} s; "
                "see `fastslow doctor`, or build its image anew with `fastslow sandbox build --force`"
            ) from error
        raise
    finally:
        if door is not None:
            door.close()


async def _accept(door: Doorway, api: APIClient, name: str) -> FrameStream:
    """Wait for the guest for as long as its container runs."""
    accepting = asyncio.create_task(door.accept())
    try:
        while not (await asyncio.wait({accepting}, timeout=LOOK_SECONDS))[0]:
            if not await asyncio.to_thread(_runs, api, name):
                raise SandboxError(_no_guest(""))
        return accepting.result()
    except BaseException:
        accepting.cancel()
        accepting.add_done_callback(_hang_up)
        raise


def _hang_up(accepting: asyncio.Task[FrameStream]) -> None:
    if not accepting.cancelled() and accepting.exception() is None:
        accepting.result().close()


async def _boot(
    frames: FrameStream, daemon: Daemon, name: str, spec: Spec, ended: Callable[[Channel], None]
) -> Channel:
    """Hand in the guest's code, and wait for its hello."""

    async def tell(header: Message, body: bytes) -> None:
        await channel.tell(header, body)

    async def end() -> None:
        ended(channel)
        if egress is not None:
            await egress.aclose()
        await daemon.remove(name)

    def over(used: Egress) -> None:
        if channel.on_egress is not None:
            channel.on_egress(used)

    egress = EgressProxy(spec.network, tell, over) if spec.network.allow else None
    channel = Channel(frames, spec.limits, end, egress)
    names = ("output", "displays", "memory", "upload", "disk", "files", "calls")
    config = {**{key: getattr(spec.limits, key) for key in names}, "proxy": bool(spec.network.allow)}
    modules, body = _guest()
    try:
        await frames.send({"modules": modules, "config": config}, body)
        await channel.open()
    except (ConnectionError, SessionDied) as error:
        raise SandboxError(_no_guest(frames.stderr if isinstance(frames, Attached) else "")) from error
    except asyncio.CancelledError:
        await asyncio.shield(channel.aclose())
        raise
    return channel


def _no_guest(said: str) -> str:
    said = f": {said}" if said else ""
    return f"the sandbox's guest ended at once{said}; its image needs `python3` (3.11 or later) and `bash`"


@functools.cache
def _guest() -> tuple[list[tuple[str, int]], bytes]:
    """Names and sizes of the guest's modules, and their sources one after the other.

    The code comes by this way and not with the image: it always fits the host's half.
    """
    sources = {path.stem: path.read_bytes() for path in sorted(GUEST.glob("*.py")) if path.stem != "boot"}
    return [(name, len(source)) for name, source in sources.items()], b"".join(sources.values())


async def _undo(daemon: Daemon, name: str, tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
    for task in tasks:
        task.exception()  # seen: it is raised by whoever awaits the task
    await daemon.remove(name)


# -- in threads: docker-py blocks


def _create(api: APIClient, name: str, spec: Spec, machine: str, door: Doorway | None) -> None:
    import requests
    from docker.errors import APIError, ImageNotFound

    threads = str(max(1, math.ceil(spec.limits.cpus)))
    where = f"{MOUNT}/socket" if door else "-"
    try:
        api.create_container(
            spec.image,
            name=name,
            hostname="sandbox",
            entrypoint=["python3", "-I", "-c", (GUEST / "boot.py").read_text(), where],
            user=f"{UID}:{UID}",
            working_dir="/work",
            stdin_open=door is None,  # docker-py adds StdinOnce: it closes when we go
            environment={
                "HOME": "/tmp",  # noqa: S108 - inside the container
                "LANG": "C.UTF-8",
                "MPLBACKEND": "Agg",
                "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            labels=labels(),
            stop_timeout=1,
            host_config=hardened(api, spec, machine, door),
            use_config_proxy=False,  # docker-py would hand the user's proxy settings in
        )
    except ImageNotFound as error:
        raise ImageMissing(f"the sandbox image {spec.image!r} is not there; build it with `{spec.build}`") from error
    except (APIError, requests.RequestException) as error:
        raise _failure(error) from error


def _start(api: APIClient, name: str) -> None:
    import requests
    from docker.errors import APIError

    try:
        api.start(name)
    except (APIError, requests.RequestException) as error:
        raise _failure(error) from error


def _failure(error: Exception) -> SandboxError:
    """What to tell of a daemon that refused (it said why) or did not answer."""
    if explanation := getattr(error, "explanation", None):
        return SandboxError(f"the Docker daemon did not start the sandbox: {explanation}; see `fastslow doctor`")
    return DockerMissing(f"the Docker daemon went away while it started the sandbox ({error}); see `fastslow doctor`")


def _runs(api: APIClient, name: str) -> bool:
    import requests
    from docker.errors import APIError

    try:
        return bool(api.inspect_container(name)["State"]["Running"])
    except (APIError, requests.RequestException):
        return False
