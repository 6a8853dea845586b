"""A sandbox that runs nothing: for tests of whatever stands on top of one, without Docker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from fastslow.sandbox.listing import Listing
from fastslow.sandbox.paths import workspace_path
from fastslow.sandbox.sandbox import (
    Changes,
    Execution,
    FileInfo,
    HostFunction,
    Installed,
    Limits,
    Mode,
    Network,
    OnCall,
    OnDisplay,
    OnEgress,
    OnOutput,
    TreeFile,
)
from fastslow.sandbox.tree import Parcel, packed


class OutOfScript(AssertionError):
    """More was run than the script has outcomes for. An AssertionError: it is the test that is wrong."""


class DummySandbox:
    """Hands out the scripted executions in order, whatever is run; files live in memory.

    ran: the code and commands that came, of all sessions, in order.
    """

    def __init__(self, script: Iterable[Execution] = (), limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._script = deque(script)
        self.ran: list[str] = []

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def network(self) -> Network:
        return Network()

    async def installed(self) -> Installed:
        """Nothing is installed."""
        return Installed()

    async def session(self, *, on_egress: OnEgress | None = None) -> DummySession:
        """A session; nothing of it goes to the network."""
        return DummySession(self)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _next(self, code: str) -> Execution:
        self.ran.append(code)
        if not self._script:
            raise OutOfScript(
                f"the script ended after {len(self.ran) - 1} executions and {code[:200]!r} came; "
                "add an Execution to DummySandbox(script)"
            )
        return self._script.popleft()


class DummySession:
    """`Session` over the script of its sandbox. Forks share its files, and have no state to branch.

    offered: what `offer` was given last.
    """

    def __init__(self, sandbox: DummySandbox) -> None:
        self.offered: tuple[HostFunction, ...] = ()
        self._sandbox = sandbox
        self._files: dict[str, bytes] = {}
        self._listing = Listing(sandbox.limits)
        self._checkpoints = 0

    async def run(
        self,
        code: str,
        *,
        seconds: float | None = None,
        on_output: OnOutput | None = None,
        on_display: OnDisplay | None = None,
        on_call: OnCall | None = None,
    ) -> Execution:
        """The next scripted execution; OutOfScript when there is none. `on_call` is never called."""
        execution = self._sandbox._next(code)
        if on_output is not None:
            if execution.stdout:
                on_output("stdout", execution.stdout)
            if execution.stderr:
                on_output("stderr", execution.stderr)
        if on_display is not None:
            for display in execution.displays:
                on_display(display)
        return execution

    async def shell(
        self, command: str, *, seconds: float | None = None, on_output: OnOutput | None = None
    ) -> Execution:
        """As `run`."""
        return await self.run(command, seconds=seconds, on_output=on_output)

    async def offer(self, functions: Sequence[HostFunction]) -> None:
        """See `Session.offer`."""
        self.offered = tuple(functions)

    async def fork(self) -> DummySession:
        """See `Session.fork`."""
        copy = DummySession(self._sandbox)
        copy.offered, copy._files, copy._listing = self.offered, self._files, self._listing
        return copy

    async def checkpoint(self) -> int:
        """See `Session.checkpoint`."""
        self._checkpoints += 1
        return self._checkpoints

    async def rollback(self, checkpoint: int | None = None) -> None:
        """See `Session.rollback`: checks that there is such a checkpoint, and changes nothing."""
        if not 1 <= (self._checkpoints if checkpoint is None else checkpoint) <= self._checkpoints:
            raise ValueError(f"no checkpoint {checkpoint} to go back to; {self._checkpoints} were made")

    async def put(self, path: str, data: bytes | Path, mode: Mode | None = None) -> FileInfo:
        """See `Session.put`."""
        [info] = await asyncio.to_thread(self._put, packed([(path, data, mode)], self._sandbox.limits, follow=True))
        return info

    async def put_tree(self, files: Iterable[TreeFile]) -> tuple[FileInfo, ...]:
        """See `Session.put_tree`."""
        self._listing.links = True
        incoming = ((one.path, one.content, one.mode) for one in files)
        return await asyncio.to_thread(self._put, packed(incoming, self._sandbox.limits))

    def _put(self, parcels: Iterator[Parcel]) -> tuple[FileInfo, ...]:
        put, content = list[FileInfo](), bytearray()
        for parcel in parcels:
            whole, body = iter(parcel.whole), memoryview(parcel.body)
            for _, mode, length, last in parcel.rows:
                content += body[:length]
                body = body[length:]
                if not last:
                    continue
                path, size, digest = next(whole)
                if any(folder.as_posix() in self._files for folder in PurePosixPath(path).parents):
                    raise ValueError(f"{path!r} leads through a file or a link, which is no directory")
                there = self._listing.files.get(path)
                kept: Mode = "100755" if there is not None and there.mode == "100755" else "100644"
                put.append(FileInfo(path, size, digest, mode=mode or kept))
                self._files[path], content = bytes(content), bytearray()
                self._listing.note(put[-1])
        return tuple(put)

    async def get(self, path: str, size: int | None = None) -> bytes:
        """See `Session.get`."""
        name = workspace_path(path)
        if name not in self._files:
            raise FileNotFoundError(f"no file {name!r} in the workspace")
        return self._files[name][:size]

    async def read(self, path: str, write: Callable[[bytes], object]) -> None:
        """See `Session.read`."""
        write(await self.get(path))

    @property
    def listed(self) -> int:
        """See `Session.listed`."""
        return self._listing.number

    async def files(self) -> tuple[FileInfo, ...]:
        """See `Session.files`."""
        return self._listing.all()

    async def changes(self, since: int = 0) -> Changes:
        """See `Session.changes`."""
        return self._listing.changes(since)

    async def interrupt(self) -> None:
        """Nothing runs."""

    async def aclose(self) -> None:
        """Nothing to end."""
