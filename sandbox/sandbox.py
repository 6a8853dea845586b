"""The sandbox's interface: where generated code runs, and what comes back. Knows nothing of agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self


@dataclass(frozen=True, slots=True)
class Limits:
    """What code may use. Bytes unless said otherwise.

    seconds: wall clock of one execution, a float; it stands still while a call of a host function is answered.
    output: kept of each of stdout and stderr (head and tail stay, the whole goes to a file of the workspace).
    displays: rich output (figures, tables) of one execution. disk: size of the workspace `/work`, in memory, part
    of `memory`. upload: largest file taken in or given out. calls: calls of host functions in one execution.
    """

    memory: int = 1 << 30
    cpus: float = 1.0
    pids: int = 128
    seconds: float = 60.0
    output: int = 100_000
    displays: int = 4 << 20
    disk: int = 256 << 20
    upload: int = 64 << 20
    calls: int = 1000


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
    displays: what was displayed, in order; the last expression's value is the last one.
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


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the workspace. `path` is relative to it, POSIX style; `digest` is its SHA-256 in hex."""

    path: str
    size: int
    digest: str


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

    async def put(self, path: str, data: bytes | Path) -> FileInfo:
        """Write a file into the workspace; parents are made.

        ValueError for a path that leaves it or too large a file, FileNotFoundError for a host file that is
        absent.
        """

    async def get(self, path: str) -> bytes:
        """Read a file of the workspace. FileNotFoundError, ValueError as above."""

    async def files(self) -> tuple[FileInfo, ...]:
        """All regular files of the workspace, sorted by path. Links are left out."""

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
