"""Tries what code in a sandbox must not be able to do. Runs inside; the last line printed is the list of checks."""

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
checks = []
INTEL = platform.machine() == "x86_64"


def check(kind, name):
    """The function returns (held, evidence), or evidence of an attempt that worked; an OSError is held."""

    def add(attempt):
        try:
            said = attempt()
            held, evidence = said if isinstance(said, tuple) else (False, said)
        except (OSError, MemoryError, subprocess.SubprocessError) as error:
            held, evidence = True, errno.errorcode.get(getattr(error, "errno", 0), type(error).__name__)
        checks.append([kind, name, bool(held), str(evidence)[:300]])
        return attempt

    return add


def status(key, pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key + ":")), "")


def mounts():
    with open("/proc/self/mountinfo") as file:
        return [
            (fields[4], fields[5].split(","), line.rpartition(" - ")[2]) for line in file if (fields := line.split())
        ]


# -- identity

check("identity", "not root")(lambda: (0 not in os.getresuid() + os.getresgid(), f"uid {os.getresuid()}"))
check("identity", "no further groups")(lambda: (set(os.getgroups()) <= {os.getgid()}, os.getgroups()))
check("identity", "no way back to root")(lambda: os.setuid(0) or "setuid(0) worked")
for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    check("capabilities", f"{kind} is empty")(lambda kind=kind: (int(status(kind), 16) == 0, status(kind)))
check("capabilities", "no new privileges")(lambda: (status("NoNewPrivs") == "1", status("NoNewPrivs")))


@check("capabilities", "programs that raise privileges do not")
def _():
    for program in ("/bin/su", "/usr/bin/passwd", "/bin/mount"):
        if os.path.exists(program) and os.stat(program).st_mode & stat.S_ISUID:
            shown = subprocess.run([program, "--version"], capture_output=True, text=True)
            code = "import os,sys; os.execv(sys.argv[1], sys.argv[1:])"
            ran = subprocess.run(
                [sys.executable, "-c", code, program, "-c", "id"], capture_output=True, text=True, stdin=-3
            )
            return "uid=0" not in ran.stdout, f"{program}: {shown.returncode}, {ran.returncode}"
    return True, "the image has none"


# -- system calls

check("system calls", "a filter is in force")(lambda: (status("Seccomp") == "2", f"mode {status('Seccomp')}"))
CALLS = {
    "io_uring": (425, 425, 1, 0),
    # PTRACE_ATTACH to nobody: PTRACE_TRACEME, where it is let through, stops us at our next signal for good.
    "ptrace": (101, 117, 16, -1, 0, 0),
    "process_vm_readv": (310, 270, os.getpid(), 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 271, os.getpid(), 0, 0, 0, 0, 0),
    "pidfd_getfd": (438, 438, -1, 0, 0),
    "splice": (275, 76, 0, 0, 0, 0, 0, 0),
    "vmsplice": (278, 75, 0, 0, 0, 0),
    "sendfile": (40, 71, -1, -1, 0, 0),
    "userfaultfd": (323, 282, 0),
    "keyctl": (250, 219, 0, 0, 0),
    "add_key": (248, 217, 0, 0, 0, 0, 0),
    "bpf": (321, 280, 0, 0, 0),
    "perf_event_open": (298, 241, 0, 0, -1, -1, 0),
    "memfd_create": (319, 279, 0, 0),
    "memfd_secret": (447, 447, 0),
    "name_to_handle_at": (303, 264, -100, 0, 0, 0, 0),
    "open_by_handle_at": (304, 265, -100, 0, 0),
    "asynchronous I/O": (206, 0, 1, 0),
    "POSIX message queues": (240, 180, 0, 0, 0, 0),
    "System V shared memory": (29, 194, 0, 4096, 0o1600),
    "kexec": (246, 104, 0, 0, 0, 0),
    "kernel modules": (175, 105, 0, 0, 0),
    "fanotify": (300, 262, 0, 0),
    "quotactl": (179, 60, 0, 0, 0, 0),
    "swapon": (167, 224, 0, 0),
    "reboot": (169, 142, 0, 0, 0, 0),
    "syslog": (103, 116, 3, 0, 0),
    "clock_settime": (227, 112, 0, 0),
    "mount": (165, 40, 0, 0, 0, 0, 0),
    "new mount interface": (430, 430, 0, 0),
    "pivot_root": (155, 41, 0, 0),
    "chroot": (161, 51, 0),
    "setns": (308, 268, -1, 0),
}
for name, (intel, arm, *arguments) in CALLS.items():

    @check("system calls", name)
    def _(number=intel if INTEL else arm, arguments=arguments):
        ctypes.set_errno(0)
        result = libc.syscall(number, *arguments)
        error = ctypes.get_errno()
        return result == -1 and error in (errno.EPERM, errno.ENOSYS), errno.errorcode.get(error, result)


for name, flag in {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000}.items():

    @check("namespaces", f"no new {name} namespace")
    def _(flag=flag):
        cloned = libc.syscall(56 if INTEL else 220, flag | signal.SIGCHLD, 0, 0, 0, 0)
        if cloned == 0:
            os._exit(0)
        return (libc.unshare(flag), cloned) == (-1, -1), f"unshare, clone: {errno.errorcode.get(ctypes.get_errno())}"


@check("namespaces", "clone3 is not there")
def _():
    result, error = libc.syscall(435, 0, 0), ctypes.get_errno()
    return (result, error) == (-1, errno.ENOSYS), errno.errorcode.get(error, result)


@check("system calls", "no calls of another architecture")
def _():
    if not INTEL:
        return True, "not on this architecture"
    code = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
    ended = subprocess.run([sys.executable, "-c", code]).returncode
    return ended == -signal.SIGSYS, f"ended with {ended}"


@check("kernel", "typing into a terminal (TIOCSTI)")
def _():
    import fcntl
    import pty

    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, 0x5412, b"x")
        return "worked"
    finally:
        os.close(master)
        os.close(slave)


# -- filesystem

for path in (
    "/",
    "/etc",
    "/usr/bin",
    "/opt",
    "/opt/packages",
    "/run/fastslow",
    "/var/tmp",
    "/root",
    "/home",
    "/dev",
    "/proc/sys",
):

    @check("filesystem", f"{path} is not writable")
    def _(path=path):
        target = os.path.join(path, f".probe-{os.getpid()}")
        with open(target, "w"):
            os.unlink(target)
        return "a file was made"


@check("filesystem", "the root is read-only")
def _():
    options = next(options for point, options, _ in mounts() if point == "/")
    return "ro" in options, ",".join(options)


@check("filesystem", "what is writable has nosuid and nodev, and /tmp noexec")
def _():
    open_mounts = {point: options for point, options, kind in mounts() if "rw" in options and kind.startswith("tmpfs")}
    missing = [point for point, options in open_mounts.items() if not {"nosuid", "nodev"} <= set(options)]
    missing = [point for point in missing if not point.startswith(("/dev", "/proc", "/sys"))]
    return not missing and "noexec" in open_mounts.get("/tmp", ()), missing or sorted(open_mounts)


@check("filesystem", "no file of the host is mounted but the channel's folder")
def _():
    own = ("/proc", "/sys", "/dev")
    known = (
        "/",
        "/tmp",
        "/work",
        "/run/fastslow",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
        "/sbin/docker-init",
        "/usr/sbin/docker-init",
    )
    strange = [point for point, _, _ in mounts() if point not in known and not point.startswith(own)]
    return not strange, strange or "none"


@check("filesystem", "the disk has an end")
def _():
    size = os.statvfs("/work")
    return size.f_blocks * size.f_frsize <= 1 << 34, f"{size.f_blocks * size.f_frsize >> 20} MiB"


for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/systemd/private"):
    check("filesystem", f"no {path}")(lambda path=path: (not os.path.lexists(path), os.path.lexists(path)))


@check("filesystem", "device nodes cannot be made")
def _():
    os.mknod("/tmp/probe-device", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    return "a block device was made"


@check("filesystem", "only harmless devices")
def _():
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    nodes = [
        name for name in os.listdir("/dev") if stat.S_ISCHR(m := os.lstat(f"/dev/{name}").st_mode) or stat.S_ISBLK(m)
    ]
    return set(nodes) <= harmless, sorted(set(nodes) - harmless) or sorted(nodes)


# -- kernel interfaces

for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/proc/sys/vm/drop_caches",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/pids.max",
):

    @check("kernel", f"{path} cannot be written")
    def _(path=path):
        with open(path, "r+b", buffering=0):
            return "opened for writing"


for path in (
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/dev/mem",
    "/dev/kmsg",
    "/sys/firmware/dmi/tables/DMI",
    "/sys/kernel/debug",
):

    @check("kernel", f"{path} says nothing")
    def _(path=path):
        if os.path.isdir(path):
            return not os.listdir(path), os.listdir(path)[:3]
        with open(path, "rb") as file:
            said = file.read(64)
        return not said, f"{len(said)} bytes"


check("kernel", "no kernel addresses")(
    lambda: (all(line.startswith("0000000000000000") for line in open("/proc/kallsyms").readlines()[:5]), "zeros")
)


# -- network


@check("network", "loopback is the only interface that is up")
def _():
    up = [name for name in os.listdir("/sys/class/net") if int(open(f"/sys/class/net/{name}/flags").read(), 16) & 1]
    return set(up) <= {"lo"}, sorted(up)


for name, address in {
    "the internet": ("1.1.1.1", 443),
    "cloud metadata": ("169.254.169.254", 80),
    "the bridge's gateway": ("172.17.0.1", 2375),
    "a private network": ("10.0.0.1", 22),
}.items():

    @check("network", f"no way to {name}")
    def _(address=address):
        with socket.create_connection(address, 1):
            return f"connected to {address}"


check("network", "no names")(lambda: f"resolved: {socket.gethostbyname('example.org')}")


@check("network", "no datagrams")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        return f"sent {udp.sendto(b'x', ('1.1.1.1', 53))} bytes"


for name, family, kind in (
    ("raw sockets", socket.AF_INET, socket.SOCK_RAW),
    ("packet sockets", 17, socket.SOCK_RAW),
    ("netlink", 16, socket.SOCK_RAW),
    ("AF_VSOCK", 40, socket.SOCK_STREAM),
    ("AF_ALG", 38, socket.SOCK_SEQPACKET),
    ("AF_XDP", 44, socket.SOCK_RAW),
    ("Bluetooth", 31, socket.SOCK_RAW),
):

    @check("network", f"no {name}")
    def _(family=family, kind=kind):
        with socket.socket(family, kind):
            return "made"


# -- the supervisor beside us

SUPERVISOR = os.getppid()
for path in ("mem", "environ", "maps", "fd", "root", "cwd"):

    @check("supervisor", f"its {path} is closed to code")
    def _(path=path):
        full = f"/proc/{SUPERVISOR}/{path}"
        if path == "fd":
            return f"listed: {os.listdir(full)}"
        if path in ("root", "cwd"):
            return f"read: {os.readlink(full)}"
        with open(full, "rb") as file:
            file.seek(4096)
            return f"read: {file.read(16)!r}"


@check("supervisor", "the channel to the host is not ours")
def _():
    leaked = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(fd))) as found:
                    peer = found.getpeername() if found.family == socket.AF_UNIX else ""
                    leaked += [peer] if peer and "fastslow" in str(peer) else []
        except OSError:
            continue
    return not leaked, leaked or "none"


check("supervisor", "nobody listens at its socket any more")(
    lambda: socket.socket(socket.AF_UNIX).connect("/run/fastslow/socket") or "connected"
)


# -- secrets


@check("secrets", "nothing of the host's environment")
def _():
    own = (
        "HOME",
        "LANG",
        "MPL",
        "OMP_",
        "OPENBLAS_",
        "PYTHON",
        "PATH",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "HOSTNAME",
        "LC_",
        "_",
        "IPYTHONDIR",
        "PIP_",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "TERM",
        "KMP_",
        "GPG_KEY",
    )
    strange = [name for name in os.environ if not name.startswith(own)]
    return not strange, strange or "none"


@check("secrets", "no path of the host's control groups")
def _():
    with open("/proc/self/cgroup") as file:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
    return paths == {"/"}, sorted(paths)


@check("secrets", "no process of the host can be seen")
def _():
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return len(pids) < 64 and max(pids) < 1 << 20, f"{len(pids)} processes"


# -- limits


@check("limits", "memory")
def _():
    for path in ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"):
        if os.path.exists(path):
            said = open(path).read().strip()
            return said.isdigit() and int(said) < 1 << 40, f"{int(said) >> 20} MiB" if said.isdigit() else said
    return False, "unknown"


@check("limits", "processes")
def _():
    for path in ("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"):
        if os.path.exists(path):
            said = open(path).read().strip()
            return said.isdigit() and int(said) <= 4096, said
    return False, "unknown"


check("limits", "open files")(
    lambda: (resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 4096, resource.getrlimit(resource.RLIMIT_NOFILE))
)
check("limits", "no core dumps")(
    lambda: (resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, resource.getrlimit(resource.RLIMIT_CORE))
)


@check("limits", "no limit can be raised")
def _():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    except ValueError as error:
        return True, str(error)
    return "raised"


@check("limits", "priority cannot be raised")
def _():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return os.getpriority(os.PRIO_PROCESS, 0) >= before, before


@check("limits", "nothing can be saved from lack of memory")
def _():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-999")
    return "lowered"


@check("limits", "no real-time scheduling")
def _():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "given"


@check("limits", "memory cannot be locked without end")
def _():
    block = mmap.mmap(-1, 64 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    locked = libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(64 << 20))
    return locked == -1, "refused" if locked == -1 else "64 MiB locked"


print(json.dumps(checks))
