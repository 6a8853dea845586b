"""A session: the protocol to the guest in one container. See `guest/guest.py` for the other end."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import io
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sandbox import wire
from sandbox.errors import SessionDied
from sandbox.paths import workspace_path
from sandbox.sandbox import Execution, FileInfo, Limits, OnOutput, Status
from sandbox.wire import Channel, ChannelClosed, Message, ProtocolError

CHUNK = 1 << 20  # bytes of a file in one frame
ANSWER_SECONDS = 3.0  # how long beyond its own limits the guest may be silent
FILE_SECONDS = 30.0
MAX_FILES = 100_000
DIGEST = 64


class DockerSession:
    """`Session` over a connected guest. Made by `DockerSandbox.session`.

    end: removes the container; called once. Every failure of the guest ends the session: SessionDied, now
    and on each later call, since the files went with the container. Start another one.
    """

    def __init__(self, channel: Channel, limits: Limits, end: Callable[[], Awaitable[None]]) -> None:
        self.limits = limits
        self._channel = channel
        self._end = end
        self._ending: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._dead = ""  # why, once it is
        self._last = 0
        self._running = 0  # the request under way that can be interrupted
        self._owed = 0  # a request whose caller went away before its answer came

    @property
    def alive(self) -> bool:
        """False once it is known that the session is over."""
        return not self._dead and self._channel.open

    async def run(self, code: str, *, seconds: float | None = None, on_output: OnOutput | None = None) -> Execution:
        """See `Session.run`."""
        return await self._execute("run", code, seconds, on_output)

    async def shell(
        self, command: str, *, seconds: float | None = None, on_output: OnOutput | None = None
    ) -> Execution:
        """See `Session.shell`."""
        return await self._execute("shell", command, seconds, on_output)

    async def put(self, path: str, data: bytes | Path) -> FileInfo:
        """See `Session.put`."""
        name = workspace_path(path)
        with _opened(data, self.limits.upload) as (file, size):
            async with self._exclusive():
                return await self._put(name, file, size)

    async def get(self, path: str) -> bytes:
        """See `Session.get`."""
        name, content, final = workspace_path(path), bytearray(), False
        async with self._exclusive():
            while not final:
                done = await self._ask("get", FILE_SECONDS, path=name, offset=len(content), length=CHUNK)
                content += _decoded(done)
                final = wire.flag(done, "final")
                if len(content) > self.limits.upload:
                    raise ProtocolError("a file that grew beyond the limit")
        return bytes(content)

    async def files(self) -> tuple[FileInfo, ...]:
        """See `Session.files`."""
        found: list[FileInfo] = []

        def collect(message: Message) -> None:
            rows = message.get("files")
            if not isinstance(rows, list) or len(found) + len(rows) > MAX_FILES:
                raise ProtocolError("a list of files that is none, or too long")
            found.extend(_file(row) for row in rows)

        async with self._exclusive():
            await self._ask("files", FILE_SECONDS, each=collect)
        return tuple(sorted(found, key=lambda info: info.path))

    async def interrupt(self) -> None:
        """See `Session.interrupt`."""
        if self._running and not self._dead:
            with contextlib.suppress(ChannelClosed):
                await self._channel.send({"op": "interrupt", "id": self._running})

    async def aclose(self) -> None:
        """See `Session.aclose`."""
        self._dead = self._dead or "the session was closed; start another one with `await sandbox.session()`"
        if self._ending is None:
            self._channel.close()
            self._ending = asyncio.create_task(_awaited(self._end()))
        await asyncio.shield(self._ending)

    # -- one request after the other

    @contextlib.asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """The guest to oneself. Whatever shows that it is not sound any more ends the session."""
        async with self._lock:
            if self._dead:
                raise SessionDied(self._dead)
            try:
                if self._owed:
                    await self._settle()
                yield
            except ProtocolError as error:
                raise await self._died(f"its guest broke the protocol ({error})") from error
            except ChannelClosed as error:
                raise await self._died("its container ended") from error

    async def _died(self, why: str) -> SessionDied:
        if not self._dead:
            self._dead = f"the sandbox session is over: {why}; variables and files are gone, start another one"
        await self.aclose()
        return SessionDied(self._dead)

    async def _settle(self) -> None:
        """Read what is left of a request that was given up; the guest was told to stop it."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while (await self._message(self._owed)).get("kind") not in ("done", "refused"):
                    pass
        except TimeoutError:
            raise await self._died("its guest did not answer in time") from None
        self._owed = 0

    async def _ask(
        self, op: str, patience: float, *, each: Callable[[Message], None] | None = None, **fields: Any
    ) -> Message:
        """Send a request, hand the frames on the way to `each`, return the last one.

        ValueError or FileNotFoundError where the guest refuses; SessionDied when it takes over `patience`
        seconds.
        """
        self._last = self._owed = number = self._last + 1
        try:
            async with asyncio.timeout(patience) as limit:
                await self._channel.send({"op": op, "id": number, **fields})
                while (message := await self._message(number)).get("kind") not in ("done", "refused"):
                    if each is None:
                        raise ProtocolError("a frame of unknown kind")
                    each(message)
        except TimeoutError:
            if not limit.expired():
                raise
            raise await self._died("its guest did not answer in time") from None
        self._owed = 0
        if message["kind"] == "refused":
            raise _refusal(message)
        return message

    async def _message(self, number: int) -> Message:
        message = await self._channel.receive()
        wire.integer(message, "id", number, number)
        return message

    # -- code

    async def _execute(self, op: str, code: str, seconds: float | None, on_output: OnOutput | None) -> Execution:
        seconds = self.limits.seconds if seconds is None else seconds
        if not 0 < seconds <= 86_400:
            raise ValueError(f"seconds is a wall-clock limit above 0 and at most a day, got {seconds!r}")
        code = code.encode("utf-8", "replace").decode()
        if len(code) > CHUNK:
            raise ValueError(f"code of at most {CHUNK} characters can be run, got {len(code)}; put it in a file")
        printed: dict[Literal["stdout", "stderr"], list[str]] = {"stdout": [], "stderr": []}

        def collect(message: Message) -> None:
            if message.get("kind") != "output":
                raise ProtocolError("a frame of unknown kind")
            name = wire.stream(message, "stream")
            text = wire.text(message, "text", self.limits.output)
            printed[name].append(text)
            if sum(map(len, printed[name])) > self.limits.output:
                raise ProtocolError("more output than was allowed")
            if on_output is not None:
                on_output(name, text)

        async with self._exclusive():
            self._running = self._last + 1
            try:
                done = await self._ask(op, seconds + ANSWER_SECONDS, each=collect, code=code, seconds=seconds)
            except BaseException:  # cancelled, or `on_output` raised: nobody waits for this any more
                await self.interrupt()
                raise
            finally:
                self._running = 0
            return self._execution(done, "".join(printed["stdout"]), "".join(printed["stderr"]))

    def _execution(self, done: Message, stdout: str, stderr: str) -> Execution:
        limit = self.limits.output
        stdout, cut_out = _whole(done, "stdout", stdout, limit)
        stderr, cut_err = _whole(done, "stderr", stderr, limit)
        longest = limit + 200  # the note on what was cut comes on top
        return Execution(
            status=_status(done),
            stdout=stdout,
            stderr=stderr,
            value=None if done.get("value") is None else wire.text(done, "value", longest),
            error=wire.text(done, "error", 2 * longest),
            exit_code=wire.integer(done, "exit_code", -255, 255),
            seconds=wire.number(done, "seconds"),
            truncated=cut_out or cut_err,
            state_lost=wire.flag(done, "state_lost"),
        )

    # -- files

    async def _put(self, name: str, file: BinaryIO, size: int) -> FileInfo:
        offset = 0
        while True:
            data = await asyncio.to_thread(file.read, min(CHUNK, size - offset))
            final = offset + len(data) >= size or not data
            encoded = base64.b64encode(data).decode()
            done = await self._ask("put", FILE_SECONDS, path=name, offset=offset, data=encoded, final=final)
            offset += len(data)
            if final:
                return _file([name, done.get("size"), done.get("digest")])


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@contextlib.contextmanager
def _opened(data: bytes | Path, limit: int) -> Iterator[tuple[BinaryIO, int]]:
    """A readable file and its size; ValueError for one that is too large, before a byte of it is read."""
    if isinstance(data, bytes):
        _check_size("the data", len(data), limit)
        yield io.BytesIO(data), len(data)
        return
    facts = data.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{str(data)!r} is not a regular file; only files can be put into the workspace")
    _check_size(repr(str(data)), facts.st_size, limit)
    with data.open("rb") as file:
        yield file, facts.st_size


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(
            f"{what} has {size:,} bytes and at most {limit:,} may be put into the workspace; "
            "pass a smaller extract, or raise Limits(upload=…)"
        )


def _refusal(message: Message) -> Exception:
    said = wire.text(message, "text", 10_000)
    return FileNotFoundError(said) if message.get("reason") == "missing" else ValueError(said)


def _decoded(message: Message) -> bytes:
    try:
        return base64.b64decode(wire.text(message, "data", 2 * CHUNK), validate=True)
    except binascii.Error as error:
        raise ProtocolError("data that is not base64") from error


def _file(row: object) -> FileInfo:
    """A row `[path, size, digest]`, each checked: callers make host paths of them."""
    if not isinstance(row, list) or len(row) != 3:
        raise ProtocolError("a file without path, size and digest")
    fields = dict(zip(("path", "size", "digest"), row, strict=True))
    path, digest = wire.text(fields, "path", 5000), wire.text(fields, "digest", DIGEST)
    try:
        sound = workspace_path(path) == path
    except ValueError:
        sound = False
    if not sound or len(digest) != DIGEST or set(digest) - set("0123456789abcdef"):
        raise ProtocolError("a file whose path or digest is not in order")
    return FileInfo(path, wire.integer(fields, "size", 0, 1 << 50), digest)


def _status(done: Message) -> Status:
    match done.get("status"):
        case "ok" | "error" | "timeout" | "died" as status:
            return status  # type: ignore[no-any-return]
    raise ProtocolError("an unknown status")


def _whole(done: Message, name: str, head: str, limit: int) -> tuple[str, bool]:
    """The output as the caller sees it, and whether something was cut out of its middle."""
    summary = done.get(name)
    if not isinstance(summary, dict):
        raise ProtocolError(f"no summary of {name}")
    total = wire.integer(summary, "total", 0, 1 << 50)
    tail = wire.text(summary, "tail", limit)
    if total <= limit:
        return head, False
    head = head[: limit // 2]
    return f"{head}\n[… {total - len(head) - len(tail):,} characters cut …]\n{tail}", True
