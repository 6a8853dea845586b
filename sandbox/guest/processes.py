"""Processes inside the sandbox: how an interpreter or a shell begins, whose each process is, and how they end."""

import contextlib
import ctypes
import errno
import fcntl
import math
import os
import signal
import subprocess
import time

from frames import Frames, encode
from streams import Stream

WORK = "/work"
CONTROL = 3  # the descriptor of an interpreter's control socket
POLL = 0.02  # seconds
AGAIN = (0.005, 0.02, 0.1)  # seconds after a sweep: a fork takes less
OUTBOX = 64 << 20  # bytes that wait for an interpreter at most
NICE = 15  # counts within the container only: sixty that spin must not hold up the supervisor
TICKS = os.sysconf("SC_CLK_TCK")  # of the clock by which a process's begin is told, per second
EVER = math.inf
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

libc = ctypes.CDLL(None)


class Child:
    """A process whose output is read: an interpreter, with its control socket, or a shell command."""

    def __init__(self, pid, outputs, limits, control=None, frames=None):
        self.pid = pid
        self.pidfd = open_pidfd(pid)
        self.control = control
        self.frames = frames or Frames()
        self.outbox, self.pushing = bytearray(), False
        room = limits["disk"] // 4
        pairs = zip(("stdout", "stderr"), outputs, strict=True)
        self.streams = [Stream(name, fd, limits["output"], room) for name, fd in pairs]
        self.execution = self.session = None
        self.forks = []  # copies of it that were asked for, oldest first
        self.base = 0  # bytes of memory that are shared from the start
        self.threads = 0  # as it said last
        self.noisy = False  # something was said while nothing ran
        self.ended = self.killed = False  # what a killed one said last does not count
        self.status = None  # exit code, negative for a signal, None if unknown

    def on_end(self, loop, action):
        """Have `action()` called once it has ended, be it our child or not."""

        def look(_mask=0):
            if self.pidfd is not None or not living(self.pid):
                action()
            else:
                loop.at((self, "end"), POLL, look)

        if self.pidfd is not None:
            loop.watch(self.pidfd, look)
        else:
            loop.at((self, "end"), POLL, look)

    def tell(self, loop, header, body=b""):
        self.outbox += encode(header, body)
        if len(self.outbox) > OUTBOX:  # it asks and asks, and never listens
            self.kill()
        self.push(loop)

    def push(self, loop):
        """Send as much as the interpreter takes now; one that does not listen holds up nobody else."""
        try:
            del self.outbox[: self.control.send(self.outbox)]
        except BlockingIOError:
            pass
        except OSError:  # it ended: its pidfd says so, too
            self.outbox.clear()
        if self.outbox or self.pushing:
            self.pushing = bool(self.outbox)
            loop.want_to_write(self.control, self.pushing)

    def see_end(self):
        """Called once its pidfd says so: takes the exit status, and the process out of the table if it is ours."""
        self.ended = True
        try:
            _, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            status = exit_code_of_zombie(self.pid)
        if status is not None:
            self.status = os.waitstatus_to_exitcode(status)

    def kill(self):
        self.killed = True
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def interrupt(self, roots, since):
        """As Ctrl-C: to itself and what it has started since."""
        for pid, (owner, oldest) in owners(roots).items():
            if owner == self.pid and (pid == self.pid or oldest >= since):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)

    def close(self):
        for stream in self.streams:
            stream.close()
        if self.control is not None:
            self.control.close()
        if self.pidfd is not None:
            os.close(self.pidfd)


def open_pidfd(pid):
    """A descriptor that is readable once the process has ended; None where the kernel has none such (gVisor)."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return None


def facts(pid):
    """The fields of proc(5)'s stat that follow the name, state first; nothing for no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def living(pid):
    return facts(pid)[:1] not in ([], [b"Z"], [b"X"])


def runnable(pid):
    """Whether it wants a processor."""
    return facts(pid)[:1] == [b"R"]


def exit_code_of_zombie(pid):
    """What waitpid would say of another's child; None when it is gone already."""
    fields = facts(pid)
    return int(fields[49]) if len(fields) > 49 else None


def set_dumpable(value):
    """0: no process of our user may trace us, or read our memory and descriptors (prctl(2), PR_SET_DUMPABLE)."""
    libc.prctl(4, value, 0, 0, 0)


def humble(pid):
    """Make a process give way: the supervisor gets the processor first, and lack of memory kills this one."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("1000")


def become_child(control, stdout, stderr):
    """Make a process that was just forked an interpreter's: a session of its own, descriptors 0 to 3, signals.

    The descriptors given are closed.
    """
    os.setsid()
    given = [os.open(os.devnull, os.O_RDWR), stdout, stderr, control]
    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in given]
    for fd in given:
        os.close(fd)
    for number, fd in enumerate(spare):
        os.dup2(fd, number, inheritable=number != CONTROL)
        os.close(fd)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    set_dumpable(1)  # before `humble`: what is not dumpable owns no file of its own in /proc
    humble(os.getpid())


def start_shell(command, limits):
    """Run a command with `bash -c`; without preexec_fn Python starts it by vfork, whatever our own size."""
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=WORK,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    humble(process.pid)
    process.returncode = 0  # we wait for it ourselves
    with process.stdout, process.stderr:
        return Child(process.pid, [os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())], limits)


def now():
    """Ticks since the machine began, as in the table of processes."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)


def table():
    """All processes here but init and us: pid -> (parent, session, tick of its begin)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()) and (fields := facts(name)):
            found[int(name)] = int(fields[1]), int(fields[3]), int(fields[19])
    return found


def owners(roots):
    """For each process the root it belongs to, or None: its nearest ancestor among them, or its session's leader. And
    the tick when the oldest began of those that are between that root and itself."""
    processes = table()
    found = {pid: (pid, EVER) for pid in roots}
    for pid in processes:
        path = []
        while pid in processes and pid not in found:
            path.append(pid)
            found[pid] = None, EVER  # a pid that was used again can make a circle
            pid = processes[pid][0]
        owner, oldest = found.get(pid, (None, EVER))
        for each in reversed(path):
            _, session, begin = processes[each]
            owner, oldest = owner or (session if session in roots else None), min(oldest, begin)
            found[each] = owner, oldest
    return found


def sweep(roots, spared, loop, *alone, since=0, until=lambda: EVER):
    """Kill every process that no spared root owns; those `alone` live, too, but not what they own.

    since: what began before that tick lives on, with all that descends from it. until(): the same for what began after.
    All are stopped first, so that none forks away. What is being forked just then is born with the stop that its
    parent got, and not with the SIGCONT, which the kernel drops where it would be ignored (6.18,
    __send_signal_locked): so both are repeated, for what belongs to nobody.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)
    strike(roots(), spared, *alone, since=since)
    for delay in AGAIN:
        loop.at(("sweep", delay), delay, lambda: strike(roots(), roots(), since=since, until=until()))


def strike(roots, spared, *alone, since, until=EVER):
    """One round of it, and let all others go on."""
    for pid, (owner, oldest) in owners(roots).items():
        if pid not in alone and owner not in spared and since <= oldest < until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGCONT)


def end_family(roots, root):
    """Kill one root and what it started. Nothing else is stopped meanwhile, so it takes a few looks."""
    ended = set()
    for _ in range(5):
        found = {pid for pid, (owner, _) in owners(roots).items() if owner == root} - ended
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        if not found:
            break


def oom_kills():
    """How often the kernel killed something here for want of memory (cgroup v2, v1)."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError), open(path) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return 0


class Refusals:
    """Counts the processes and threads that were not begun because there were too many (cgroup v2, v1)."""

    def __init__(self):
        self.fd = None
        for path in ("/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"):
            with contextlib.suppress(OSError):
                self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def count(self):
        """So far; 0 where the kernel does not say (gVisor)."""
        return 0 if self.fd is None else int(os.pread(self.fd, 100, 0).split()[1])


def processor_time():
    """Seconds of processor that all of this container used (cgroup v2, v1)."""
    with contextlib.suppress(OSError), open("/sys/fs/cgroup/cpu.stat") as file:
        return int(file.readline().split()[1]) / 1e6
    with contextlib.suppress(OSError), open("/sys/fs/cgroup/cpuacct/cpuacct.usage") as file:
        return int(file.read()) / 1e9
    return time.monotonic()  # as if it got one, always


def resident(pid="self"):
    """Bytes of memory that a process has (proc(5), statm); very many where it is gone, or hides them."""
    try:
        with open(f"/proc/{pid}/statm", "rb", 0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 1 << 50
