"""What the allow-list lets through is what data code needs; everything else is refused."""

import pytest

from fastslow.sandbox import DockerSession
from fastslow.sandbox.seccomp import profile

WORKS = {
    "linear algebra": "import numpy as np; a = np.random.rand(300, 300); np.linalg.svd(a @ a)",
    "tables": """
import pandas as pd
df = pd.DataFrame({"a": range(5)})
for kind in ("csv", "parquet", "json"):
    getattr(df, f"to_{kind}")(f"t.{kind}")
    assert len(getattr(pd, f"read_{kind}")(f"t.{kind}")) == 5
df.to_excel("t.xlsx")
assert len(pd.read_excel("t.xlsx")) == 5
""",
    "plots": """
import matplotlib.pyplot as plt
plt.plot([1, 2])
for kind in ("png", "svg", "pdf"):
    plt.savefig(f"p.{kind}")
""",
    "duckdb": """
import duckdb
c = duckdb.connect("t.db")
c.sql("create table t as select range i from range(100000)")
assert c.sql("select sum(i) from t").fetchall() == [(4999950000,)]
""",
    "sqlite": "import sqlite3; c = sqlite3.connect('s.db'); c.execute('create table t(a)'); c.commit()",
    "subprocess": "import subprocess; assert subprocess.run('ls | sort -r | head -3', shell=True).returncode == 0",
    "asyncio": """
import asyncio
async def said():
    process = await asyncio.create_subprocess_exec("echo", "x", stdout=-1)
    return (await process.communicate())[0]
assert await asyncio.gather(said(), said()) == [b"x\\n", b"x\\n"]
""",
    "threads": "import threading; t = threading.Thread(target=len, args=('t',)); t.start(); t.join()",
    "multiprocessing by fork": """
import multiprocessing as m
ctx = m.get_context("fork")
with ctx.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
queue, lock = ctx.Queue(), ctx.Lock()
with lock:
    queue.put(1)
assert queue.get() == 1
""",
    "multiprocessing by spawn": """
import multiprocessing as m
open("w.py", "w").write("def twice(x): return x * 2")
import w
with m.get_context("spawn").Pool(2) as pool:
    assert pool.map(w.twice, [1, 2]) == [2, 4]
""",
    "shared memory": """
from multiprocessing import shared_memory
s = shared_memory.SharedMemory(create=True, size=100)
s.close(); s.unlink()
""",
    "files": """
import mmap, os, shutil, tempfile
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 5000); f.flush(); mmap.mmap(f.fileno(), 0).close()
open("one", "w").write("1"); os.chmod("one", 0o600); shutil.copy2("one", "two"); os.link("two", "three")
os.symlink("one", "four"); os.mkfifo("five"); os.utime("one"); os.truncate("two", 0)
""",
    "loopback": """
import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
assert urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").status == 200
server.shutdown(); server.server_close()
""",
    "timers": """
import signal, time
rang = []
signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)
assert rang
""",
    "terminals": "import pty; pty.openpty(); import os; os.get_terminal_size(pty.openpty()[1])",
}

SHELL = (
    "for i in 1 2 3; do echo $i; done | awk '{s+=$1} END {exit s != 6}'",
    "diff <(echo a) <(echo a)",
    "set -e; echo a > a.txt; cp -r a.txt b.txt; tar czf t.tgz a.txt; sed -i s/a/b/ b.txt; ls *.txt | xargs wc",
)

# Numbers of x86_64 and aarch64, and arguments that a kernel without the filter would not answer with EPERM, but for
# userfaultfd, fsopen and kcmp: those it refuses to the unprivileged by itself (measured on Linux 6.18).
REFUSED = {
    "io_uring_setup": (425, 425, (1, 0)),
    "ptrace": (101, 117, (16, -1, 0, 0)),
    "process_vm_readv": (310, 270, (1, 0, 0, 0, 0, 0)),
    "splice": (275, 76, (0, 0, 0, 0, 0, 0)),
    "vmsplice": (278, 75, (0, 0, 0, 0)),
    "tee": (276, 77, (0, 0, 0, 0)),
    "sendfile": (40, 71, (-1, -1, 0, 0)),
    "userfaultfd": (323, 282, (0,)),
    "keyctl": (250, 219, (0, 0, 0)),
    "add_key": (248, 217, (0, 0, 0, 0, 0)),
    "bpf": (321, 280, (0, 0, 0)),
    "perf_event_open": (298, 241, (0, 0, -1, -1, 0)),
    "memfd_secret": (447, 447, (0,)),
    "memfd_create": (319, 279, (0, 0)),
    "name_to_handle_at": (303, 264, (-100, 0, 0, 0, 0)),
    "mq_open": (240, 180, (0, 0, 0, 0)),
    "io_setup": (206, 0, (1, 0)),
    "unshare": (272, 97, (0x10000000,)),
    "setns": (308, 268, (-1, 0)),
    "mount": (165, 40, (0, 0, 0, 0, 0)),
    "open_tree": (428, 428, (-100, 0, 0)),
    "fsopen": (430, 430, (0, 0)),
    "kcmp": (312, 272, (1, 1, 0, 0, 0)),
    "pidfd_getfd": (438, 438, (-1, 0, 0)),
    "shmget": (29, 194, (0, 4096, 0o1600)),
    "seccomp": (317, 277, (9, 0, 0)),
    "landlock_create_ruleset": (444, 444, (0, 0, 1)),
}


def test_there_is_a_list_for_each_machine_and_an_error_for_another() -> None:
    assert profile("x86_64")["architectures"] == ["SCMP_ARCH_X86_64"]
    assert profile("aarch64")["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert profile()["defaultAction"] == "SCMP_ACT_ERRNO"
    with pytest.raises(ValueError, match="s390x"):
        profile("s390x")


def test_no_dangerous_call_is_on_the_list() -> None:
    allowed = {name for rule in profile()["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert not allowed & set(REFUSED)
    assert len(allowed) < 300


@pytest.mark.docker
async def test_data_code_works(session: DockerSession) -> None:
    for name, code in WORKS.items():
        execution = await session.run(code)
        assert execution.status == "ok", f"{name}: {execution.error}\n{execution.stderr}"
    for command in SHELL:
        done = await session.shell(command)
        assert (done.status, done.stderr) == ("ok", ""), f"{command}: {done}"


@pytest.mark.docker
async def test_everything_else_is_refused(session: DockerSession) -> None:
    code = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
let_through = []
for name, (intel, arm, arguments) in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(intel if platform.machine() == "x86_64" else arm, *arguments)
    if (result, ctypes.get_errno()) != (-1, errno.EPERM):
        let_through.append((name, ctypes.get_errno()))
let_through
"""
    assert (await session.run(f"calls = {REFUSED!r}\n{code}")).value == "[]"


@pytest.mark.docker
async def test_sockets_only_of_harmless_families_and_no_new_namespaces(session: DockerSession) -> None:
    code = """
import ctypes, fcntl, platform, socket
def attempt(action, *arguments):
    try:
        return action(*arguments)
    except OSError as error:
        return error.errno
made = []
for family in range(1, 46):
    result = attempt(socket.socket, family, socket.SOCK_DGRAM)
    if isinstance(result, socket.socket):
        made.append(family)
libc = ctypes.CDLL(None, use_errno=True)
namespaces = [libc.syscall(56 if platform.machine() == "x86_64" else 220, flag | 17, 0, 0, 0, 0)
              for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)]
protocols = [(family, protocol) for family in (2, 10) for protocol in range(300)
             if isinstance(attempt(socket.socket, family, socket.SOCK_DGRAM, protocol), socket.socket)
             or isinstance(attempt(socket.socket, family, socket.SOCK_STREAM, protocol), socket.socket)]
typed = [attempt(fcntl.ioctl, 0, request, b"x") for request in (0x5412, 0x541C)]
made, protocols, set(namespaces), typed, libc.personality(0x40000)
"""
    protocols = [(family, protocol) for family in (2, 10) for protocol in (0, 6, 17)]
    assert (await session.run(code)).value == f"([1, 2, 10], {protocols}, {{-1}}, [1, 1], -1)"


@pytest.mark.docker
async def test_calls_of_another_architecture_end_the_process(session: DockerSession) -> None:
    code = """
import platform, subprocess, sys
program = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
platform.machine() != "x86_64" or subprocess.run([sys.executable, "-c", program]).returncode == -31
"""
    assert (await session.run(code)).value == "True"
