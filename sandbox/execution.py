"""What one execution says on its way to its end: checked, kept, handed on; and its calls of host functions."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from collections.abc import Callable
from typing import Any, Literal

from fastslow.sandbox import wire
from fastslow.sandbox.channel import Channel, PendingRequest
from fastslow.sandbox.errors import CallFailed
from fastslow.sandbox.paths import is_canonical
from fastslow.sandbox.sandbox import Display, Execution, OnCall, OnDisplay, OnOutput, State, Status
from fastslow.sandbox.wire import CHUNK, MAX_BODY, Frame, Message, ProtocolError

TEXT = frozenset(
    ("text/plain", "text/html", "text/markdown", "text/latex", "application/json", "image/svg+xml")
)  # MIME types that are text in UTF-8
BINARY = frozenset(("image/png", "image/jpeg"))
MAX_DISPLAYS = 1000
CALL, VALUE = 1000, 64  # what a call, and each value in its arguments, takes of our memory beside its JSON
LARGEST_CALL = 4 << 20  # of these, in one call: longer ones would hold up other runs
LARGEST_PENDING = 16 << 20  # in all calls that are not answered yet
AT_ONCE = 64  # calls that are being answered
MARKS = (b",", b"[", b"{")
STRINGS = re.compile(rb'"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)', re.DOTALL)
NOTE = 200  # characters, more than the guest's note on what it cut


class Output:
    """One of stdout and stderr: the bytes up to the limit, and the tail of what came after."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.half = max(1, limit // 2)
        self.head = bytearray()
        self.tail = bytearray()
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes, *, tail: bool) -> None:
        kept, room = (self.tail, self.half) if tail else (self.head, self.limit)
        kept += data
        if not data or len(kept) > room:
            raise ProtocolError("more output than was allowed, or none")

    def text(self, summary: object) -> tuple[str, bool]:
        """The output as the caller sees it, and whether something was cut out of its middle."""
        if not isinstance(summary, dict):
            raise ProtocolError("no summary of an output")
        total = wire.integer(summary, "total", 0, 1 << 60)
        if total <= self.limit:
            return self.head.decode("utf-8", "replace"), False
        head, tail = self.head[: self.half], self.tail
        while tail and tail[0] & 0xC0 == 0x80:  # the rest of a character
            tail = tail[1:]
        note = f"{total - len(head) - len(tail):,} bytes cut{_where(summary, total)}"
        start = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
        return f"{start}\n[… {note} …]\n{tail.decode('utf-8', 'replace')}", True


def _where(summary: Message, total: int) -> str:
    """Where the whole of an output is, if anywhere."""
    if summary.get("file") is None:
        return ""
    path, saved = wire.text(summary, "file", 5000), wire.integer(summary, "saved", 0, 1 << 60)
    if not is_canonical(path):
        raise ProtocolError("a file whose path is not in order")
    return f"; the whole is in {path}" if saved >= total else f"; the first {saved:,} bytes are in {path}"


class ExecutionBuilder:
    """Takes the frames of one execution (`feed`), and makes the `Execution` of the last (`execution`).

    A callback that raises ends the caller's wait with its error. request: set as soon as there is one.
    """

    request: PendingRequest

    def __init__(
        self,
        channel: Channel,
        offered: frozenset[str],
        on_output: OnOutput | None,
        on_display: OnDisplay | None,
        on_call: OnCall | None,
    ) -> None:
        self._channel = channel
        self._limits = channel.limits
        self._offered = offered
        self._on_output, self._on_display, self._on_call = on_output, on_display, on_call
        self._outputs = {"stdout": Output(self._limits.output), "stderr": Output(self._limits.output)}
        self._displays: list[Display] = []
        self._display_bytes = 0
        self._withheld = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._answering = asyncio.Semaphore(AT_ONCE)
        self._call_count = self._pending = 0

    def feed(self, frame: Frame) -> None:
        """Raises ProtocolError."""
        match frame.header.get("kind"):
            case "output":
                self._output(wire.stream(frame.header, "stream"), frame.body)
            case "tail":
                self._outputs[wire.stream(frame.header, "stream")].add(frame.body, tail=True)
            case "display":
                self._display(frame)
            case "call":
                self._call(frame)
            case _:
                raise ProtocolError("a frame of unknown kind")

    def execution(self, done: Message) -> Execution:
        """Raises ProtocolError."""
        stdout, cut_out = self._outputs["stdout"].text(done.get("stdout"))
        stderr, cut_err = self._outputs["stderr"].text(done.get("stderr"))
        longest = self._limits.output + NOTE
        return Execution(
            status=_status(done),
            stdout=stdout,
            stderr=stderr,
            value=None if done.get("value") is None else wire.text(done, "value", longest),
            error=wire.text(done, "error", longest + NOTE),
            exit_code=wire.integer(done, "exit_code", -255, 255),
            seconds=wire.number(done, "seconds"),
            truncated=cut_out or cut_err,
            state=_state(done),
            displays=tuple(self._displays),
            withheld=self._withheld,
        )

    async def aclose(self) -> None:
        """The execution is over: nobody waits for the answers to its calls any more."""
        if self._calls:
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)

    def _output(self, name: Literal["stdout", "stderr"], data: bytes) -> None:
        output = self._outputs[name]
        output.add(data, tail=False)
        if self._on_output is not None and (text := output.decoder.decode(data)):
            self._notify(self._on_output, name, text)

    def _display(self, frame: Frame) -> None:
        self._display_bytes += len(frame.body)
        if len(self._displays) + self._withheld >= MAX_DISPLAYS or self._display_bytes > self._limits.displays:
            raise ProtocolError("more displays than were allowed")
        display = _display(frame)
        if not self._channel.charge(len(frame.body)):
            self._withheld += 1
            return
        self._displays.append(display)
        if self._on_display is not None:
            self._notify(self._on_display, display)

    def _notify(self, callback: Callable[..., None], *values: Any) -> None:
        try:
            callback(*values)
        except Exception as error:
            self.request.give_up(error)

    # -- calls of host functions

    def _call(self, frame: Frame) -> None:
        number = wire.integer(frame.header, "call", 1, 1 << 53)
        name = wire.text(frame.header, "name", 200)
        self._call_count += 1
        if self._call_count > self._limits.calls or len(frame.body) > CHUNK:
            raise ProtocolError("more calls than were allowed, or larger ones")
        cost = cost_of(frame.body)
        self._pending += cost
        refusal = self._refusal(cost)
        arguments = {} if refusal else wire.decode(_without_surrogates(frame.body))

        def answered(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            self._pending -= cost
            if not self._calls:
                self.request.resume()

        self.request.pause()
        task = asyncio.create_task(self._answer(number, name, arguments, refusal))
        self._calls.add(task)
        task.add_done_callback(answered)

    def _refusal(self, cost: int) -> str:
        """Why a call is too much, before it is read."""
        if cost > LARGEST_CALL:
            return f"arguments that take {cost:,} bytes of memory, and {LARGEST_CALL:,} at most are passed on"
        if self._pending > LARGEST_PENDING:
            return (
                f"calls at the same time whose arguments take {self._pending:,} bytes of memory, and "
                f"{LARGEST_PENDING:,} at most are passed on: make fewer at once"
            )
        return "" if self._channel.charge(cost) else self._spent()

    def _spent(self) -> str:
        most = self._limits.traffic
        return f"calls and displays of this session have passed {most:,} bytes, the most that they may (Limits.traffic)"

    async def _answer(self, number: int, name: str, arguments: Message, refusal: str) -> None:
        """Carry out one call. What it raises is told to the code: its message, nothing else of ours."""
        try:
            if refusal:
                raise CallFailed(refusal)
            if self._on_call is None or name not in self._offered:
                raise CallFailed(f"there is no function {name!r} to call; there are: {sorted(self._offered)}")
            async with self._answering:
                ok, said = True, _json(await self._on_call(name, arguments))
            if len(said) > MAX_BODY:
                raise CallFailed(f"{name} returned {len(said):,} bytes of JSON, and at most {MAX_BODY:,} are passed on")
            if not self._channel.charge(len(said)):
                raise CallFailed(self._spent())
        except Exception as error:
            ok, said = False, _json((str(error) or type(error).__name__)[:10_000])
        await self._channel.tell({"op": "returned", "call": number, "ok": ok}, said)


def cost_of(body: bytes) -> int:
    """Bytes that JSON takes of our memory once it is read, about: `[[],[],…]` takes 20 times its length."""
    values = sum(map(body.count, MARKS))
    if values * VALUE > len(body):  # many may stand within texts
        values = sum(map(STRINGS.sub(b"", body).count, MARKS))
    return CALL + len(body) + VALUE * values


def _json(value: object) -> bytes:
    """The value as JSON; what JSON cannot hold as its str."""
    try:
        return json.dumps(value, default=str).encode()
    except (TypeError, ValueError, RecursionError):  # keys of another type; a circle
        return json.dumps(str(value)).encode()


def _without_surrogates(body: bytes) -> bytes:
    """Half of an escaped surrogate pair would break whoever prints it; most bodies have none."""
    if rb"\ud" not in body.lower():
        return body
    return json.dumps(wire.decode(body), ensure_ascii=False).encode("utf-8", "replace")


def _display(frame: Frame) -> Display:
    rows = frame.header.get("mime")
    if not isinstance(rows, list) or not 1 <= len(rows) <= len(TEXT | BINARY):
        raise ProtocolError("a display without types")
    data: dict[str, str | bytes] = {}
    start = 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or row[0] not in TEXT | BINARY or row[0] in data:
            raise ProtocolError("a display of an unknown type")
        size = wire.integer({"size": row[1]}, "size", 0, len(frame.body) - start)
        part = frame.body[start : start + size]
        data[row[0]] = part.decode("utf-8", "replace") if row[0] in TEXT else part
        start += size
    if start != len(frame.body):
        raise ProtocolError("a display with more data than it says")
    return Display(data)


def _status(done: Message) -> Status:
    match done.get("status"):
        case "ok" | "error" | "timeout" | "died" as status:
            return status  # type: ignore[no-any-return]
    raise ProtocolError("an unknown status")


def _state(done: Message) -> State:
    match done.get("state"):
        case "kept" | "restored" | "lost" as state:
            return state  # type: ignore[no-any-return]
    raise ProtocolError("an unknown state")
