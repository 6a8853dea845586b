"""The system calls that code may make: an allow-list of what Python, bash and the data stack need, and no more.

Docker's default profile forbids what is known to be dangerous to the host. It lets through, on Docker 20.10 and with
no network at all, io_uring, ptrace, splice, sockets of AF_VSOCK and AF_ALG, keyrings and more, each of which has been a
way out of a container. Here everything that nothing needs is refused with EPERM; so is sendfile, which into a pipe is
splice by another name, and which Python's copies do without. Calls of another architecture's table (i386, x32) end the
process.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "arm64": "SCMP_ARCH_AARCH64"}

_FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek
    lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir
    setxattr stat statfs statx symlink symlinkat sync sync_file_range syncfs truncate umask unlink unlinkat
    utime utimensat utimes write writev
"""
_MEMORY = """
    brk madvise membarrier mincore mlock mlock2 mmap mprotect mremap msync munlock munmap
"""
_PROCESSES = """
    alarm arch_prctl capget execve execveat exit exit_group fork futex futex_waitv get_robust_list getcpu getegid
    geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
    getrusage getsid gettid getuid ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64
    restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid
    setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill tkill uname
    vfork wait4 waitid
"""
_TIME_AND_EVENTS = """
    clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd eventfd2 getitimer gettimeofday nanosleep poll ppoll pselect6 select setitimer signalfd signalfd4 time
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime times
"""
_NETWORK = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
    sendto setsockopt shutdown
"""

# socket(2): UNIX, and INET and INET6 with the protocols of TCP and UDP; not MPTCP, SCTP, UDPLITE and the like. Not
# NETLINK, PACKET, ALG (CVE-2026-31431) nor VSOCK, which no network namespace holds.
_UNIX = 1
_INTERNET = (2, 10)
_PROTOCOLS = (0, 6, 17)  # the type's own, TCP, UDP
# All flags of clone(2) that make a namespace.
_NEW_NAMESPACES = 0x7E020000
# personality(2): the default, asking for it, and what 32-bit programs and `setarch` set; never ADDR_NO_RANDOMIZE.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# ioctl(2): terminals (without TIOCSTI and TIOCLINUX, which type into them), pipes and sockets, names of interfaces.
_IOCTLS = (
    *range(0x5401, 0x540C),  # TCGETS … TCFLSH
    *range(0x540E, 0x5412),  # TIOCSCTTY, TIOCGPGRP, TIOCSPGRP, TIOCOUTQ
    *range(0x5413, 0x5415),  # TIOCGWINSZ, TIOCSWINSZ
    *(0x541B, 0x5421, 0x5422, 0x5429),  # FIONREAD, FIONBIO, TIOCNOTTY, TIOCGSID
    *range(0x5450, 0x5453),  # FIONCLEX, FIOCLEX, FIOASYNC
    *(0x80045430, 0x40045431, 0x5441),  # TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER
    *(0x8910, 0x8912, 0x8913, 0x8933),  # SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFINDEX
)
_ENOSYS = 38


def profile(machine: str | None = None) -> dict[str, Any]:
    """The profile in Docker's JSON form, for `security_opt=["seccomp=<json>"]`.

    machine: as `platform.machine()` says it, of the machine where the daemon runs; None is this one. ValueError for
    one whose system calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise ValueError(f"there is a system call list for {' and '.join(_ARCHITECTURES)}, not for {machine!r}")
    names = " ".join((_FILES, _MEMORY, _PROCESSES, _TIME_AND_EVENTS, _NETWORK)).split()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            _allow(names),
            _allow(["socket", "socketpair"], {0: _UNIX}),
            *(_allow(["socket"], {0: family, 2: protocol}) for family in _INTERNET for protocol in _PROTOCOLS),
            *(_allow(["personality"], {0: persona}) for persona in _PERSONALITIES),
            *(_allow(["ioctl"], {1: request}) for request in _IOCTLS),
            _allow(["clone"], {0: _NEW_NAMESPACES}, op="SCMP_CMP_MASKED_EQ"),
            # Its flags are behind a pointer, where no filter can look; C libraries then fall back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "args": []},
        ],
    }


def _allow(names: list[str], values: Mapping[int, int] | None = None, op: str = "SCMP_CMP_EQ") -> dict[str, Any]:
    """values: of the arguments with these indices; with MASKED_EQ the bits that must not be set."""
    args = [{"index": index, "value": value, "valueTwo": 0, "op": op} for index, value in (values or {}).items()]
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": args}
