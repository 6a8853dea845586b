"""The sandbox's interface: where generated code runs, and what comes back. Knows nothing of agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self


@dataclass(frozen=True, slots=True)
class Limits:
    """What code may use. Bytes unless said otherwise.

    seconds: wall clock of one execution, a float; it stands still while a call of a host function is answered.
    output: kept of each of stdout and stderr (head and tail stay, the whole goes to a file of the workspace).
    displays: rich output (figures, tables) of one execution. disk: size of the workspace `/work`, in memory, part
    of `memory`, and of the sum of what its files say of their size. upload: largest file taken in or given out.
    files: how many of the workspace are looked at, and may be put there as one tree. out: of files that an agent's run
    takes out for its record, and as much again at its end. calls: calls of host functions in one execution. traffic:
    arguments and results of these calls, and displays, in one session: as they come, and 64 for each value in them.
    """

    memory: int = 1 << 30
    cpus: float = 1.0
    pids: int = 128
    seconds: float = 60.0
    output: int = 100_000
    displays: int = 4 << 20
    disk: int = 256 << 20
    upload: int = 64 << 20
    files: int = 20_000
    out: int = 256 << 20
    calls: int = 1000
    traffic: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Installed:
    """packages: what code can import besides the standard library, the most useful first. commands: of the shell."""

    packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """Where code may connect: nowhere, names included, but for `allow`, entries such as `"index.example:443"`.

    An entry is a name and a port; `"*.example.org:443"` stands for all names below `example.org`, not itself. What is
    allowed goes through an HTTP proxy on the host (`HTTP_PROXY` and `HTTPS_PROXY` are set in the sandbox), which
    checks each name once and connects to the address that it checked. A name that leads to a private, link-local or
    loopback address is refused; to reach one, name the address itself, and you mean it: `"127.0.0.1:8080"` is a
    port of the host's own loopback. Link-local addresses (metadata services) cannot be allowed.
    """

    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Egress:
    """One connection that code asked for. reason: why it was refused or failed, else "". Bytes as seen by code."""

    host: str
    port: int
    allowed: bool
    address: str = ""
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    reason: str = ""


Status = Literal["ok", "error", "timeout", "died"]
State = Literal["kept", "restored", "lost"]


@dataclass(frozen=True, slots=True)
class Display:
    """One rich output. data: by MIME type, the richest first; text as str, images as bytes. Hostile: it comes from
    the sandbox, so never show its HTML or SVG outside of a sandboxed frame."""

    data: Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True)
class Execution:
    """The outcome of one piece of code or one shell command.

    status: `ok`; `error`: the code raised or the command failed; `timeout`: stopped at its wall-clock limit;
        `died`: the interpreter is gone (out of memory, killed) and another took its place.
    value: text of the last expression's value as a notebook would show it, or None.
    error: the traceback (user's lines only) or what went wrong, or "".
    exit_code: of a shell command, of `sys.exit`, or with which the interpreter ended, 128 and the signal's number where
        one killed it (137, too, where the status of a copy is lost); 0 or 1 otherwise; 124 for a timeout.
    state: `kept`: variables are as the code left them; `restored`: as they were before this code, from a fork taken
        then (its threads and open connections are gone); `lost`: gone.
    displays: what was displayed, in order; the last expression's value is the last one. withheld: how many more there
        were when the session's `Limits.traffic` was spent.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    truncated: bool = False
    state: State = "kept"
    displays: tuple[Display, ...] = ()
    withheld: int = 0


Mode = Literal["100644", "100755", "120000"]
"""Of a file as Git has it: plain, executable (by its owner), or a link, whose content is its target."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file for `Session.put_tree`. content: bytes, or a file of the host; of a link its target."""

    path: str
    content: Path | bytes = b""
    mode: Mode = "100644"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the workspace. `path` is relative to it, POSIX style; `digest` is its SHA-256 in hex, as the guest
    says. `left`: why it stays inside, and then there is no digest. mode: as the guest says; links are files only after
    `Session.put_tree`."""

    path: str
    size: int
    digest: str
    left: str = ""
    mode: Mode = "100644"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the workspace that is no file, or has no name for us, and why. path: `""` stands for others."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the workspace since it was in the state of an earlier number.

    number: of the state of now. changed: new or changed files; removed: paths. left: what is new of the rest.
    whole: `changed` is all that there is, and what is not among it is gone.
    """

    number: int
    changed: tuple[FileInfo, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[LeftOut, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A function of the host that code may call as `tools.<name>(…)`. parameters: its JSON schema, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


OnOutput = Callable[[Literal["stdout", "stderr"], str], None]
OnDisplay = Callable[[Display], None]
OnEgress = Callable[[Egress], None]
OnCall = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Answers a call of a host function: its name and arguments in, a value that JSON can hold out. The arguments are
hostile: check them. `CallFailed` (or any exception) becomes an exception in the code."""


class Session(Protocol):
    """A running interpreter with a workspace `/work`. Variables survive from call to call; calls take turns."""

    @property
    def listed(self) -> int:
        """The number of the workspace's state as it was last looked at, for `changes`."""

    async def run(
        self,
        code: str,
        *,
        seconds: float | None = None,
        on_output: OnOutput | None = None,
        on_display: OnDisplay | None = None,
        on_call: OnCall | None = None,
    ) -> Execution:
        """Run Python. Never raises for what the code does; `SandboxError` when the sandbox itself fails.

        on_call answers what the code calls of the functions that were offered; without it such calls fail.
        Calls that the code makes side by side are answered side by side.
        """

    async def shell(
        self, command: str, *, seconds: float | None = None, on_output: OnOutput | None = None
    ) -> Execution:
        """Run a command with `bash -c` in the workspace."""

    async def offer(self, functions: Sequence[HostFunction]) -> None:
        """Let code call these functions of the host as `tools.<name>(…)`, and `await tools.aio.<name>(…)`.

        For this session and the forks made of it afterwards; replaces what was offered before.
        """

    async def fork(self) -> Self:
        """A session with a copy of this one's variables, in the same container and workspace.

        Memory is shared until written. Threads do not survive in the copy; open files share their position.
        Both run side by side. The copy ends with its own `aclose` or with that of the session it came from.
        """

    async def checkpoint(self) -> int:
        """Keep the variables as they are now, for `rollback`. At most 8 are kept, the oldest goes. Returns its
        number."""

    async def rollback(self, checkpoint: int | None = None) -> None:
        """Take the variables back to a checkpoint (None: the latest), which stays. Files stay as they are.

        ValueError when there is no such checkpoint.
        """

    async def put(self, path: str, data: bytes | Path, mode: Mode | None = None) -> FileInfo:
        """Write a file into the workspace; parents are made. A link in its place is replaced.

        mode: None leaves an executable one executable.

        ValueError for a path that leaves it or too large a file, FileNotFoundError for a host file that is
        absent.
        """

    async def put_tree(self, files: Iterable[TreeFile]) -> tuple[FileInfo, ...]:
        """Write many files at once, in their order; answers what was sent of each, also where it changed meanwhile.

        From then on links of the workspace are files whose content is their target, here and in the session's forks.
        `files` is asked for one after the other, and host files are read, in a thread. Links of the host are not
        followed.

        Errors as above, also for a path that comes twice or leads through a link, and for more, in number or in bytes,
        than `Limits.files` and `Limits.disk`; some of the files before it are then there.
        """

    async def get(self, path: str, size: int | None = None) -> bytes:
        """Read a file of the workspace. FileNotFoundError, ValueError as above. size: of its beginning only."""

    async def read(self, path: str, write: Callable[[bytes], object]) -> None:
        """The same in parts of 1 MiB at most, each handed to `write` as it comes."""

    async def files(self) -> tuple[FileInfo, ...]:
        """All regular files of the workspace, sorted by path; links, too, after `put_tree`. No folder `.git` is looked
        into, here and in `changes`."""

    async def changes(self, since: int = 0) -> Changes:
        """What became of the workspace since the state of that number, which an earlier answer gave; 0: all."""

    async def interrupt(self) -> None:
        """Stop what runs now, as Ctrl-C would; the pending call returns."""

    async def aclose(self) -> None:
        """End the session; the container goes with the one that `Sandbox.session` gave. Idempotent."""


class Sandbox(Protocol):
    """Makes sessions. `DockerSandbox` is the real one, `DummySandbox` the test double."""

    @property
    def limits(self) -> Limits: ...

    @property
    def network(self) -> Network: ...

    async def installed(self) -> Installed:
        """What there is besides what every system has; empty where nobody knows."""

    async def session(self, *, on_egress: OnEgress | None = None) -> Session:
        """Start a session; raises `SandboxError` with the remedy when it cannot.

        on_egress hears of each connection of its code, and of its forks', once it is over or refused.
        """

    async def aclose(self) -> None:
        """Give back everything. Idempotent."""
