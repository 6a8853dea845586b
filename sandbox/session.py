"""A session: one interpreter in a container. See `guest/supervisor.py` for the other end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fastslow.sandbox import stubs, wire
from fastslow.sandbox.channel import ANSWER_SECONDS, CLOSED, Channel, PendingRequest
from fastslow.sandbox.errors import SandboxError, SessionDied
from fastslow.sandbox.execution import ExecutionBuilder
from fastslow.sandbox.listing import UNHEARD, Update
from fastslow.sandbox.paths import workspace_path
from fastslow.sandbox.sandbox import (
    Changes,
    Execution,
    FileInfo,
    HostFunction,
    Mode,
    OnCall,
    OnDisplay,
    OnOutput,
    TreeFile,
)
from fastslow.sandbox.tree import Parcel, packed
from fastslow.sandbox.wire import CHUNK, Frame, Message, ProtocolError

FILE_SECONDS = 30.0
SLOWEST = 1 << 20  # bytes a second of a large file


class DockerSession:
    """`Session` over the channel to a container. Made by `DockerSandbox.session`, and by `fork`.

    number: which of the container's sessions; 0 is the first, and the container ends with it.
    """

    def __init__(self, channel: Channel, number: int = 0, offered: frozenset[str] = frozenset()) -> None:
        self.limits = channel.limits
        self._channel = channel
        self._number = number
        self._offered = offered
        self._forks: list[DockerSession] = []
        self._turn = asyncio.Lock()
        self._closed = False
        self._running = 0  # the request under way that can be interrupted
        self._unanswered: PendingRequest | None = None  # whose caller went away before its answer came
        self._lost = False  # the variables, by code whose caller went away

    @property
    def alive(self) -> bool:
        """False once it is known that the session is over."""
        return not self._closed and self._channel.alive

    async def run(
        self,
        code: str,
        *,
        seconds: float | None = None,
        on_output: OnOutput | None = None,
        on_display: OnDisplay | None = None,
        on_call: OnCall | None = None,
    ) -> Execution:
        """See `Session.run`."""
        builder = ExecutionBuilder(self._channel, self._offered, on_output, on_display, on_call)
        return await self._execute("run", code, seconds, builder)

    async def shell(
        self, command: str, *, seconds: float | None = None, on_output: OnOutput | None = None
    ) -> Execution:
        """See `Session.shell`."""
        builder = ExecutionBuilder(self._channel, frozenset(), on_output, None, None)
        return await self._execute("shell", command, seconds, builder)

    async def offer(self, functions: Sequence[HostFunction]) -> None:
        """See `Session.offer`."""
        names, source = [function.name for function in functions], stubs.source(functions).encode()
        if len(source) > CHUNK:
            raise ValueError(f"the stubs of {len(names)} functions have {len(source):,} bytes, {CHUNK:,} at most")
        async with self._exclusive():
            await self._ask("offer", source, functions=names)
            self._offered = frozenset(names)

    async def fork(self) -> DockerSession:
        """See `Session.fork`. SandboxError when there is no room for the copy."""
        making = asyncio.create_task(self._fork())
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            with contextlib.suppress(SandboxError):
                await (await making).aclose()
            raise

    async def checkpoint(self) -> int:
        """See `Session.checkpoint`. SandboxError when there is no room for the copy."""
        async with self._exclusive():
            return wire.integer(await self._ask("checkpoint"), "checkpoint", 1, 1 << 50)

    async def rollback(self, checkpoint: int | None = None) -> None:
        """See `Session.rollback`."""
        async with self._exclusive():
            await self._ask("rollback", checkpoint=checkpoint)

    async def put(self, path: str, data: bytes | Path, mode: Mode | None = None) -> FileInfo:
        """See `Session.put`. The digest is of what we sent."""
        [info] = await self._put(packed([(path, data, mode)], self.limits, follow=True))
        return info

    async def put_tree(self, files: Iterable[TreeFile]) -> tuple[FileInfo, ...]:
        """See `Session.put_tree`. The digests are of what we sent."""
        return await self._put(packed(((one.path, one.content, one.mode) for one in files), self.limits), tree=True)

    async def get(self, path: str, size: int | None = None) -> bytes:
        """See `Session.get`."""
        content = bytearray()
        await self._read(path, content.extend, size)
        return bytes(content)

    async def read(self, path: str, write: Callable[[bytes], object]) -> None:
        """See `Session.read`. ValueError for one that comes too slowly."""
        await self._read(path, write, None)

    @property
    def listed(self) -> int:
        """See `Session.listed`."""
        return self._channel.listing.number

    async def files(self) -> tuple[FileInfo, ...]:
        """See `Session.files`."""
        await self.changes(self.listed)
        return self._channel.listing.all()

    async def changes(self, since: int = 0) -> Changes:
        """See `Session.changes`. The guest tells what it has not told before."""
        async with self._exclusive_files():
            listing = self._channel.listing
            update = Update(listing)
            request = self._channel.request(FILE_SECONDS, update.feed)
            done = _check_granted(await self._channel.answer(request, {"op": "files", "since": listing.heard}))
            listing.apply(update, done.header)
            return listing.changes(since)

    async def interrupt(self) -> None:
        """See `Session.interrupt`."""
        if self._running:
            await self._channel.tell({"op": "interrupt", "id": self._running})

    async def aclose(self) -> None:
        """See `Session.aclose`."""
        if self._number == 0:
            self._closed = True
            await self._channel.aclose()
        elif not self._closed:
            self._closed = True
            for copy in self._forks:
                await copy.aclose()
            with contextlib.suppress(SessionDied):
                await self._channel.ask({"op": "drop", "session": self._number}, patience=ANSWER_SECONDS)

    async def _fork(self) -> DockerSession:
        async with self._exclusive():
            copy = DockerSession(self._channel, self._channel.new_session(), self._offered)
            await self._ask("fork", new=copy._number)
            self._forks.append(copy)
            return copy

    # -- one request after the other

    @contextlib.asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """The interpreter to oneself."""
        async with self._turn:
            if self._unanswered is not None:
                self._lost |= (await self._channel.settle(self._unanswered)).get("state") == "lost"
                self._unanswered = None
            async with self._ending_on_nonsense():
                yield

    @contextlib.asynccontextmanager
    async def _exclusive_files(self) -> AsyncIterator[None]:
        """The workspace to oneself; code may run meanwhile."""
        async with self._channel.files, self._ending_on_nonsense():
            yield

    @contextlib.asynccontextmanager
    async def _ending_on_nonsense(self) -> AsyncIterator[None]:
        """An answer that makes no sense ends all."""
        if self._closed and self._number:
            raise SessionDied(CLOSED)
        await self._channel.check()
        try:
            yield
        except ProtocolError as error:
            raise await self._channel.break_off(error) from error

    async def _wait(self, request: PendingRequest, header: Message, body: bytes) -> Frame:
        try:
            return await self._channel.answer(request, {**header, "session": self._number}, body)
        except BaseException:
            self._unanswered = request  # until it is over in the guest, too, nothing else is begun there
            raise

    async def _ask(self, op: str, body: bytes = b"", **fields: object) -> Message:
        """Change the session's state. SandboxError where that cannot be, ValueError for what is not there."""
        done = await self._wait(self._channel.request(FILE_SECONDS), {"op": op, **fields}, body)
        if done.header["kind"] == "refused":
            missing, said = _refusal(done.header)
            raise ValueError(said) if missing else SandboxError(f"{op}: {said}")
        return done.header

    async def _execute(self, op: str, code: str, seconds: float | None, builder: ExecutionBuilder) -> Execution:
        seconds = self.limits.seconds if seconds is None else seconds
        if not 0 < seconds <= 86_400:
            raise ValueError(f"seconds is a wall-clock limit above 0 and at most a day, got {seconds!r}")
        body = code.encode("utf-8", "replace")
        if len(body) > CHUNK:
            raise ValueError(f"code of at most {CHUNK:,} bytes can be run, got {len(body):,}; put it in a file")
        async with self._exclusive():
            builder.request = request = self._channel.request(seconds + ANSWER_SECONDS, builder.feed)
            self._running = request.number
            try:
                done = await self._wait(request, {"op": op, "seconds": seconds}, body)
            except BaseException:  # cancelled, or a callback raised: nobody waits for this any more
                await self.interrupt()
                raise
            finally:
                self._running = 0
                await builder.aclose()
            if done.header["kind"] == "refused":
                raise SandboxError(_refusal(done.header)[1])
            execution = builder.execution(done.header)
            if self._lost and execution.state == "kept":
                execution = replace(execution, state="lost")
            self._lost = False
            return execution

    async def _put(self, parcels: Iterator[Parcel], *, tree: bool = False) -> tuple[FileInfo, ...]:
        """Send them one after the other; the next is read while one is on its way."""
        listing, put = self._channel.listing, list[FileInfo]()
        async with self._exclusive_files():
            listing.links |= tree
            parcel = await asyncio.to_thread(next, parcels, None)
            try:
                while parcel is not None:
                    reading = asyncio.create_task(asyncio.to_thread(next, parcels, None))
                    try:
                        infos = await self._send(parcel, tree)
                    finally:
                        await asyncio.gather(reading, return_exceptions=True)
                    for info in infos:
                        listing.note(info)
                    put += infos
                    parcel = reading.result()
            except BaseException:  # what was half sent goes away, and what we did not hear of any more is told again
                listing.heard = UNHEARD
                await self._channel.tell({"op": "abandon"})
                raise
        return tuple(put)

    async def _send(self, parcel: Parcel, tree: bool) -> list[FileInfo]:
        """The files of which this was the last part."""
        header = {"op": "put", "files": parcel.rows, "tree": tree}
        done = _check_granted(await self._channel.ask(header, bytes(parcel.body), patience=FILE_SECONDS)).header
        modes, asked = done.get("modes"), [row[1] for row in parcel.rows if row[3]]
        if not isinstance(modes, list) or len(modes) != len(asked):
            raise ProtocolError("files without their modes")
        infos = [FileInfo(*whole, mode=wire.mode(mode)) for whole, mode in zip(parcel.whole, modes, strict=True)]
        for info, mode in zip(infos, asked, strict=True):
            if info.mode != mode and (mode is not None or info.mode == "120000"):
                raise ProtocolError("a file that became another one")
        return infos

    async def _read(self, path: str, write: Callable[[bytes], object], size: int | None) -> None:
        """Each part is whole, and comes in its time: a guest could send a byte every half minute."""
        name, offset, final = workspace_path(path), 0, False
        end = time.monotonic() + FILE_SECONDS
        length = CHUNK if size is None else min(size, CHUNK)
        async with self._exclusive_files():
            while not final:
                fields = {"op": "get", "path": name, "offset": offset, "length": length}
                done = _check_granted(await self._channel.ask(fields, patience=FILE_SECONDS))
                final = wire.flag(done.header, "final") or size is not None
                offset += len(done.body)
                if len(done.body) > length or not (final or len(done.body) == length) or offset > self.limits.upload:
                    raise ProtocolError("a file that grew beyond the limit, or a part that is none")
                if time.monotonic() > end + offset / SLOWEST:
                    raise ValueError(f"{name!r} comes too slowly: {offset:,} bytes so far")
                write(done.body)


def _refusal(message: Message) -> tuple[bool, str]:
    """Whether something was missing, and the reason in words."""
    said = "".join(letter if letter.isprintable() else "?" for letter in wire.text(message, "text", 10_000))
    return message.get("reason") == "missing", said


def _check_granted(frame: Frame) -> Frame:
    """The answer to a request about a file. ValueError or FileNotFoundError where the guest refuses."""
    if frame.header["kind"] == "refused":
        missing, said = _refusal(frame.header)
        raise FileNotFoundError(said) if missing else ValueError(said)
    return frame
