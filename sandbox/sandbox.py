"""The sandbox's interface: where generated code runs, and what comes back. Knows nothing of agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What code may use. Bytes unless said otherwise.

    seconds: wall clock of one execution, a float. output: characters kept of each of stdout and stderr
    (head and tail stay). disk: size of the workspace `/work`, in memory, part of `memory`. upload: largest
    file taken in or given out.
    """

    memory: int = 1 << 30
    cpus: float = 1.0
    pids: int = 128
    seconds: float = 60.0
    output: int = 100_000
    disk: int = 256 << 20
    upload: int = 64 << 20


Status = Literal["ok", "error", "timeout", "died"]


@dataclass(frozen=True, slots=True)
class Execution:
    """The outcome of one piece of code or one shell command.

    status: `ok`; `error`: the code raised or the command failed; `timeout`: stopped at its wall-clock limit;
        `died`: the interpreter is gone (out of memory, killed) and a fresh one without the old variables
        took its place.
    value: text of the last expression's value as a notebook would show it, or None.
    error: the traceback (user's lines only) or what went wrong, or "".
    exit_code: of a shell command or of `sys.exit`; 0 or 1 otherwise; 124 for a timeout, 137 for `died`.
    state_lost: variables defined before are gone.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    truncated: bool = False
    state_lost: bool = False


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the workspace. `path` is relative to it, POSIX style; `digest` is its SHA-256 in hex."""

    path: str
    size: int
    digest: str


OnOutput = Callable[[Literal["stdout", "stderr"], str], None]


class Session(Protocol):
    """A running interpreter with a workspace `/work`. Variables survive from call to call; calls take
    turns."""

    async def run(self, code: str, *, seconds: float | None = None, on_output: OnOutput | None = None) -> Execution:
        """Run Python. Never raises for what the code does; `SandboxError` when the sandbox itself fails."""

    async def shell(
        self, command: str, *, seconds: float | None = None, on_output: OnOutput | None = None
    ) -> Execution:
        """Run a command with `bash -c` in the workspace."""

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
        """End the session and remove its container. Idempotent."""


class Sandbox(Protocol):
    """Makes sessions. `DockerSandbox` is the real one, `DummySandbox` the test double."""

    @property
    def limits(self) -> Limits: ...

    async def session(self) -> Session:
        """Start a session; raises `SandboxError` with the remedy when it cannot."""

    async def aclose(self) -> None:
        """Give back everything. Idempotent."""
