"""The one channel to the guest of a container: what comes is routed to the request that waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastslow.sandbox import wire
from fastslow.sandbox.egress import EgressProxy
from fastslow.sandbox.errors import SessionDied
from fastslow.sandbox.listing import Listing
from fastslow.sandbox.sandbox import Limits, OnEgress
from fastslow.sandbox.wire import Frame, FrameStream, GuestGone, Message, ProtocolError

TURN = 0.005  # seconds for which frames are handled before others get theirs
ANSWER_SECONDS = 3.0  # how long beyond its own limits the guest may be silent
CLOSED = "the session was closed; start another one with `await sandbox.session()`"

log = logging.getLogger(__name__)


class PendingRequest:
    """A question to the guest that waits for its answer, `patience` seconds long.

    each: is handed the frames on the way to the answer; raises ProtocolError for what makes no sense.
    """

    def __init__(
        self, number: int, each: Callable[[Frame], None] | None, patience: float, on_timeout: Callable[[], None]
    ) -> None:
        self.number = number
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Frame] = self._loop.create_future()
        self.given_up = False
        self._each = each
        self._on_timeout = on_timeout
        self._left = patience
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(patience, on_timeout)

    def pause(self) -> None:
        """Stop the clock: it is our turn."""
        if self._timer is not None and not self.given_up:
            self._stop()
            self._left -= self._loop.time() - self._since

    def resume(self) -> None:
        if self._timer is None and not self.given_up and not self.answer.done():
            self._since = self._loop.time()
            self._timer = self._loop.call_later(self._left, self._on_timeout)

    def feed(self, frame: Frame) -> None:
        """A frame on the way to the answer."""
        if self.given_up:
            return
        if self._each is None:
            raise ProtocolError("a frame of unknown kind")
        self._each(frame)

    def give_up(self, error: Exception | None = None) -> None:
        """Whoever waits gets the error; what still comes is dropped. `answer` is then for `settle`."""
        if self.given_up or (self.answer.done() and not self.answer.cancelled()):
            return
        self.given_up = True
        if error is not None and not self.answer.done():
            self.answer.set_exception(error)
        self.answer = self._loop.create_future()
        self._stop()
        self._timer = self._loop.call_later(ANSWER_SECONDS, self._on_timeout)

    def finish(self, frame: Frame | None, error: Exception | None = None) -> None:
        """The answer is there, or will not come."""
        self._stop()
        if self.answer.done():
            return
        if frame is not None:
            self.answer.set_result(frame)
        elif self.given_up or error is None:
            self.answer.cancel()
        else:
            self.answer.set_exception(error)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Channel:
    """All that is said to one container, and heard from it, by its sessions side by side.

    end: removes the container; called once. A guest that goes, breaks the protocol or is silent for too long ends
    everything: SessionDied, now and on each later call, since the files went with the container.
    egress: gets what code sends to the network; without it such frames are a breach.
    ready: set once the guest has its data stack loaded; never, if code came first.
    on_egress: hears of each network connection of code, from the session on that took this one.
    """

    def __init__(
        self, frames: FrameStream, limits: Limits, end: Callable[[], Awaitable[None]], egress: EgressProxy | None = None
    ) -> None:
        self.limits = limits
        self.ready = asyncio.Event()
        self.on_egress: OnEgress | None = None
        self.files = asyncio.Lock()  # the guest moves one file at a time
        self.listing = Listing(limits)
        self._traffic = 0
        self._frames = frames
        self._end = end
        self._egress = egress
        self._hello = asyncio.Event()
        self._requests: dict[int, PendingRequest] = {}
        self._last = 0
        self._sessions = 0
        self._dead = ""  # why, once it is
        self._reader: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """False once it is known that the container is over."""
        return not self._dead and self._frames.open

    async def open(self) -> None:
        """Listen, and wait for the guest's first word. SessionDied if it is another one."""
        self._reader = asyncio.create_task(self._listen())
        await self._hello.wait()
        await self.check()

    async def check(self) -> None:
        """SessionDied if the container is over."""
        if self._dead:
            assert self._ending is not None  # noqa: S101 - set where `_dead` is
            await asyncio.shield(self._ending)
            raise SessionDied(self._dead)

    def charge(self, size: int) -> bool:
        """Count bytes against `Limits.traffic`; False, and they are not counted, where that is spent."""
        fits = self._traffic + size <= self.limits.traffic
        self._traffic += size if fits else 0
        return fits

    def new_session(self) -> int:
        """A number for a session that will be forked."""
        self._sessions += 1
        return self._sessions

    async def tell(self, header: Message, body: bytes = b"") -> None:
        """Send what has no answer. Nothing happens when nobody is there."""
        try:
            await self._frames.send(header, body)
        except GuestGone:
            self._fail("its container ended")

    def request(self, patience: float, each: Callable[[Frame], None] | None = None) -> PendingRequest:
        """Room for an answer. SessionDied if the container is over."""
        if self._dead:
            raise SessionDied(self._dead)
        self._last += 1
        request = self._requests[self._last] = PendingRequest(self._last, each, patience, self._timed_out)
        return request

    async def answer(self, request: PendingRequest, header: Message, body: bytes = b"") -> Frame:
        """Send it, and wait for the answer, `done` or `refused`. SessionDied when the container ends before."""
        try:
            await self.tell({**header, "id": request.number}, body)
            return await request.answer
        except SessionDied:
            await self.aclose()
            raise
        except asyncio.CancelledError:
            request.give_up()
            raise

    async def ask(self, header: Message, body: bytes = b"", *, patience: float) -> Frame:
        return await self.answer(self.request(patience), header, body)

    async def settle(self, request: PendingRequest) -> Message:
        """Wait until a request that was given up is over in the guest, too; the header of its late answer."""
        if not request.answer.done():
            await asyncio.wait({request.answer})
        await self.check()
        return request.answer.result().header

    async def break_off(self, error: ProtocolError) -> SessionDied:
        """End everything for what an answer said; the error to raise."""
        self._fail(f"its guest broke the protocol ({error})")
        await self.aclose()
        return SessionDied(self._dead)

    async def aclose(self) -> None:
        """End the container. Idempotent."""
        self._fail("")
        assert self._ending is not None  # noqa: S101 - `_fail` set it
        await asyncio.shield(self._ending)

    def _timed_out(self) -> None:
        self._fail("its guest did not answer in time")

    def _fail(self, why: str) -> None:
        if self._dead:
            return
        over = f"the sandbox session is over: {why}; variables and files are gone, start another one"
        self._dead = over if why else CLOSED
        self._frames.close()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        self._ending = asyncio.create_task(_run(self._end()))
        self._hello.set()
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.finish(None, SessionDied(self._dead))

    async def _listen(self) -> None:
        began = time.monotonic()
        try:
            while True:
                self._route(await self._frames.receive())
                if time.monotonic() - began > TURN:  # what has come already is received without a pause
                    await asyncio.sleep(0)
                    began = time.monotonic()
        except ProtocolError as error:
            self._fail(f"its guest broke the protocol ({error})")
        except GuestGone:
            self._fail("its container ended")
        except Exception:
            log.exception("a frame of the sandbox's guest could not be handled")
            self._fail("a frame of its guest could not be handled")

    def _route(self, frame: Frame) -> None:
        header = frame.header
        kind = header.get("kind")
        number = header.get("id")
        if number is None:
            self._announce(kind, frame)
            return
        request = self._requests.get(wire.integer(header, "id", 1, self._last))
        if request is None:
            raise ProtocolError("an answer to nothing")
        if kind in ("done", "refused"):
            del self._requests[number]
            request.finish(frame)
        else:
            request.feed(frame)

    def _announce(self, kind: object, frame: Frame) -> None:
        """What the guest says of its own accord."""
        if isinstance(kind, str) and kind.startswith("net_"):
            if self._egress is None:
                raise ProtocolError("a word on the network, and there is none")
            self._egress.feed(frame.header, frame.body)
        elif kind == "hello" and not self._hello.is_set():
            self._hello.set()
        elif kind == "ready" and self._hello.is_set() and not self.ready.is_set():
            self.ready.set()
        else:
            raise ProtocolError("a frame of unknown kind")


async def _run(awaitable: Awaitable[Any]) -> None:
    await awaitable
