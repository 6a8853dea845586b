"""What code cannot do, and what is left behind: nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from fastslow.sandbox import (
    DockerSandbox,
    DockerSession,
    ImageMissing,
    Limits,
    SandboxError,
    SessionDied,
    docker_facts,
)
from fastslow.sandbox.container import MASKED, PTYS
from fastslow.sandbox.owner import LABEL, Owner, started

pytestmark = pytest.mark.docker

POSTURE = r"""
import ctypes, json, os, socket, subprocess
def attempt(action):
    try:
        return repr(action())
    except Exception as error:
        return type(error).__name__
def status(key, pid="self"):
    return next(line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith(key + ":"))
libc = ctypes.CDLL(None, use_errno=True)
supervisor = os.getppid()
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": [status(f"Cap{kind}") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
    "no new privileges": status("NoNewPrivs"),
    "seccomp": status("Seccomp"),
    "connect": attempt(lambda: socket.create_connection(("1.1.1.1", 53), 1)),
    "name": attempt(lambda: socket.getaddrinfo("example.org", 80)),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "write root": attempt(lambda: open("/evil", "w")),
    "write image": attempt(lambda: open("/opt/packages/evil.py", "w")),
    "write mount": attempt(lambda: open("/run/fastslow/evil", "w")),
    "write sysctl": attempt(lambda: open("/proc/sys/kernel/core_pattern", "w")),
    "socket of the daemon": os.path.exists("/var/run/docker.sock"),
    "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "new user namespace": libc.unshare(0x10000000),
    "supervisor's memory": attempt(lambda: open(f"/proc/{supervisor}/mem", "rb")),
    "supervisor's descriptors": attempt(lambda: os.listdir(f"/proc/{supervisor}/fd")),
    "run from /tmp": subprocess.run("cp /bin/true /tmp/t && /tmp/t", shell=True, stderr=-3).returncode,
    "run from /work": subprocess.run("cp /bin/true /work/t && /work/t", shell=True).returncode,
    "environment": sorted(os.environ),
    "cgroup": open("/proc/self/cgroup").read().count("docker"),
    "devices": sorted(os.listdir("/dev")),
    "files": __import__("resource").getrlimit(7)[0],
}))
"""


async def test_posture(session: DockerSession, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await session.run(POSTURE)
    assert done.status == "ok", done
    seen = json.loads(done.stdout)
    assert seen["uid"] == 65534
    assert {int(mask, 16) for mask in seen["capabilities"]} == {0}
    assert (seen["no new privileges"], seen["seccomp"]) == ("1", "2")
    assert seen["connect"] == "OSError"
    assert seen["name"] == "gaierror"
    assert seen["interfaces"] == ["lo"]
    for target in ("root", "image", "mount", "sysctl"):
        assert seen[f"write {target}"] in ("OSError", "PermissionError", "FileNotFoundError"), target
    assert seen["socket of the daemon"] is False
    assert seen["mount"] == seen["new user namespace"] == -1
    assert seen["supervisor's memory"] == seen["supervisor's descriptors"] == "PermissionError"
    assert seen["run from /tmp"] != 0
    assert seen["run from /work"] == 0
    assert not [name for name in seen["environment"] if "PROXY" in name.upper() or "TOKEN" in name.upper()]
    assert {name for name in seen["environment"] if not name.startswith("PIP_")} < {
        *(
            "HOME",
            "HOSTNAME",
            "LANG",
            "MPLBACKEND",
            "MPLCONFIGDIR",
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
        ),
        *(
            "PATH",
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONUSERBASE",
            "IPYTHONDIR",
            "LC_CTYPE",
            "GPG_KEY",
            "PYTHON_VERSION",
            "PYTHON_SHA256",
        ),
    }
    assert seen["cgroup"] == 0, "the host's cgroup paths are hidden"
    assert not set(seen["devices"]) & {"sda", "vda", "kvm", "mem", "kmsg", "fuse"}
    assert seen["files"] == 1024


async def test_every_setting_reached_the_daemon(client: Any, session: DockerSession, small: Limits) -> None:
    [facts] = owned(client, Owner.me())
    host = client.api.inspect_container(facts["Id"])["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"] == small.memory
    assert host["PidsLimit"] == small.pids
    assert host["NanoCpus"] == int(small.cpus * 1e9)
    assert host["LogConfig"]["Type"] == "none"
    assert host["CgroupnsMode"] == "private"
    assert host["IpcMode"] == "private"
    assert host["Init"] is True
    assert host["AutoRemove"] is True
    assert host["Privileged"] is False
    assert not host["Binds"]
    socket, terminals = host["Mounts"]
    assert (socket["Target"], socket["ReadOnly"]) == ("/run/fastslow", True)
    assert terminals["Target"] == "/dev/pts"
    assert f",max={PTYS}," in terminals["VolumeOptions"]["DriverConfig"]["Options"]["o"]
    assert {"no-new-privileges"} < set(host["SecurityOpt"])
    assert json.loads(host["SecurityOpt"][1].removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {
        "nofile": 1024,
        "core": 0,
        "fsize": small.disk,
    }
    assert not host["PortBindings"]


async def test_what_tells_of_the_host_is_empty(session: DockerSession) -> None:
    code = """
import os
told, kinds = [], set()
for path in masked:
    try:
        told += [path] if (os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)) else []
        kinds.add(os.path.isdir(path))
    except FileNotFoundError:
        pass  # not every kernel has them all
told, len(kinds)
"""
    assert (await session.run(f"masked = {MASKED}\n{code}")).value == "([], 2)"
    names = await session.run("print(open('/etc/resolv.conf').read())")
    assert [line for line in names.stdout.split("\n") if line and line[0] != "#"] == ["nameserver 127.0.0.1"]


async def test_no_message_queue_can_be_made(session: DockerSession) -> None:
    made = await session.run("open('/dev/mqueue/x', 'w')")  # past mq_open(2), which is not allowed either
    assert "Read-only file system" in made.error


async def test_code_that_kills_the_guest_ends_the_session_and_no_other(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    try:
        doomed, other = await asyncio.gather(sandbox.session(), sandbox.session())
        await other.run("x = 1")
        with pytest.raises(SessionDied, match="container ended"):
            await doomed.run("import os; os.kill(os.getppid(), 9)")
        with pytest.raises(SessionDied, match="start another"):
            await doomed.run("1")
        assert not doomed.alive
        stopped = await sandbox.session()
        with pytest.raises(SessionDied, match="did not answer"):
            await stopped.run("import os; os.kill(os.getppid(), 19)\nwhile True: pass", seconds=0.5)
        assert (await other.run("x")).value == "1"
    finally:
        await sandbox.aclose()
    assert not owned(client, Owner.me())


async def test_a_forged_reply_is_no_more_than_a_wrong_answer(session: DockerSession) -> None:
    forge = (
        "import os, socket, struct, json\ns = socket.socket(fileno=3)\n"
        "body = json.dumps({'status': 'ok', 'value': 'forged', 'exit_code': 'x' * 10}).encode()\n"
        "s.sendall(struct.pack('>I', %s) + body)\nimport time; time.sleep(5)"
    )
    lied = await session.run(forge % "0xffffffff")
    assert lied.status == "died"
    assert (await session.run("1 + 1")).value == "2"
    with_wrong_types = await session.run(forge % "len(body)")
    assert with_wrong_types.status in ("ok", "error", "died")
    assert (await session.run("1 + 1")).value == "2"


async def test_nothing_is_left(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    session = await sandbox.session()
    assert not [folder for folder in folders() if f"-{os.getpid()}-" in folder.name], (
        "the folder goes as soon as the guest is in"
    )
    assert len(owned(client, Owner.me())) == 1
    await session.aclose()
    await session.aclose()
    with pytest.raises(SessionDied, match="closed"):
        await session.run("1")
    await sandbox.session()
    sandbox.warm()
    await sandbox.aclose()
    await sandbox.aclose()
    assert not owned(client, Owner.me())


async def test_a_cancelled_start_leaves_nothing(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    for delay in (0.0, 0.05, 0.2):
        starting = asyncio.create_task(sandbox.session())
        await asyncio.sleep(delay)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    await sandbox.aclose()
    assert not owned(client, Owner.me())


HOST = """
import asyncio, sys
from fastslow.sandbox import DockerSandbox, Limits
async def main():
    session = await DockerSandbox(Limits(memory=256 << 20, disk=64 << 20)).session()
    await session.run(sys.argv[1])
    print("ready", flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""


def start_host(code: str) -> tuple[subprocess.Popen[str], Owner]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    me = Owner.me()
    owner = Owner(me.boot, me.namespace, process.pid, started(process.pid))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, owner


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("fastslow-*"))


def owned(client: Any, owner: Owner) -> list[Any]:
    return list(client.api.containers(all=True, filters={"label": f"{LABEL}={owner.label()}"}))


def test_a_killed_host_leaves_no_container(client: Any) -> None:
    process, owner = start_host("import subprocess; subprocess.Popen(['sleep', '1000'])")
    assert len(owned(client, owner)) == 1
    kill(process)
    deadline = time.monotonic() + 10
    while owned(client, owner) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not owned(client, owner)


async def test_what_a_killed_host_leaves_nevertheless_is_reaped(client: Any, small: Limits) -> None:
    # The guest is stopped, so it never learns that its host is gone.
    stop = "import os, threading; threading.Timer(0.3, os.kill, (os.getppid(), 19)).start()"
    process, owner = await asyncio.to_thread(start_host, stop)
    await asyncio.sleep(0.8)
    orphan_folder = owner.folder()
    sandbox = DockerSandbox(small)
    try:
        await sandbox.prune()
        assert len(owned(client, owner)) == 1, "its owner lives"
        await asyncio.to_thread(kill, process)
        await asyncio.sleep(0.5)
        assert len(owned(client, owner)) == 1
        await sandbox.prune()
        assert not owned(client, owner)
        assert orphan_folder not in folders()
    finally:
        await sandbox.aclose()


async def test_errors_say_what_to_do(client: Any, small: Limits) -> None:
    for sandbox, error, match in (
        (DockerSandbox(small, image="fastslow-sandbox:absent"), ImageMissing, "fastslow sandbox build"),
        (DockerSandbox(small, runtime="no-such-runtime"), SandboxError, "no-such-runtime"),
    ):
        with pytest.raises(error, match=match):
            await sandbox.session()
        await sandbox.aclose()


def test_facts(client: Any) -> None:
    facts = docker_facts(client)
    assert facts.cgroup in ("1", "2")
    assert facts.runtimes
    assert facts.memory > 0


TAKE_TERMINALS = """
import os, subprocess, sys
def take():
    taken = []
    while True:
        try: taken.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
        except OSError: return taken
taken = take()
len(taken)
"""


async def test_no_container_takes_the_terminals_of_others(client: Any, small: Limits) -> None:
    sandbox = DockerSandbox(small)
    try:
        greedy, other = await sandbox.session(), await sandbox.session()
        opened = await greedy.shell("python3 -c 'import os, pty; print(os.ttyname(pty.openpty()[1]))'")
        assert opened.stdout == "/dev/pts/0\n"
        assert (await greedy.run(TAKE_TERMINALS)).value == str(PTYS)
        assert (await greedy.run("open('/dev/ptmx')")).status == "error"
        assert (await other.run(TAKE_TERMINALS)).value == str(PTYS)
    finally:
        await sandbox.aclose()
    left = client.volumes.list(filters={"dangling": True})
    assert not [volume.name for volume in left if (volume.attrs["Options"] or {}).get("type") == "devpts"]
