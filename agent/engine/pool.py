"""`Pool`: a model that several vLLM servers serve. A run stays with one server, which has its prompt in its cache."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.retries import PATIENCE
from fastslow.agent.engine.schedule import CONCURRENCY
from fastslow.agent.engine.types import Delta, Engine, Reply, Request
from fastslow.agent.errors import ConfigurationError, EngineError, EngineRefused, EngineUnreachable
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Message
from fastslow.tools import Tool

MOVE_SECONDS = 2.0  # that a server which is away or full is waited for, as there are others
REST = 30.0  # seconds for which a server that failed is left out; one call tries it out then
SESSIONS = 10_000  # that are remembered; of more, those that were not heard of for the longest time are not
_AWAY = {429, 502, 503, 504}

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Server:
    """One of the servers. calls: in flight. sessions: that belong here. picked: when it was chosen last, in numbers.
    error: why it is left out, None while it answers; rested: when it may be tried again. known: it was reached once."""

    engine: Engine
    calls: int = 0
    sessions: int = 0
    picked: int = 0
    error: EngineError | None = None
    rested: float = 0.0
    known: bool = False
    notices: tuple[str, ...] = ()

    @property
    def load(self) -> tuple[int, int, int]:
        return self.calls, self.sessions, self.picked

    def failed(self, error: EngineError) -> None:
        self.error, self.rested = error, _now() + REST

    def try_out(self) -> None:
        """One call does, where it failed before, and no other one meanwhile."""
        if self.error:
            self.rested = _now() + REST


class Pool:
    """A model on several vLLM servers. Implements `Engine`.

    A session, which is a run, stays with the server that it was given; a new one goes where the fewest calls are in
    flight. Where a server cannot be reached, its sessions go on at the others, and it is left out for a while.

    servers: addresses, as of `VLLM`, or engines, for settings of their own: `VLLM(url, concurrency=512, patience=2)`.
        None takes those of FASTSLOW_BASE_URL, parted by blanks or commas. All must serve the same model.
    model, profile, concurrency: as of `VLLM`, for the addresses.

    >>> Pool(["http://gpu1:8000/v1", "http://gpu2:8000/v1"])
    Pool([VLLM('not connected', model=''), VLLM('not connected', model='')])
    """

    def __init__(
        self,
        servers: Iterable[str | Engine] | None = None,
        model: str | None = None,
        profile: Profile | str | None = None,
        *,
        concurrency: int = CONCURRENCY,
    ) -> None:
        given = addresses() if servers is None else [servers] if isinstance(servers, str) else list(servers)
        if not given:
            raise ConfigurationError("a pool needs the addresses of servers; pass them, or set FASTSLOW_BASE_URL")
        self._servers = [
            _Server(
                VLLM(each, model, profile=profile, patience=MOVE_SECONDS, concurrency=concurrency)
                if isinstance(each, str)
                else each
            )
            for each in given
        ]
        self._sessions: OrderedDict[str, _Server] = OrderedDict()
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"Pool({[server.engine for server in self._servers]!r})"

    @property
    def model(self) -> str:
        return self._first.model

    @property
    def profile(self) -> Profile:
        return self._first.profile

    @property
    def context(self) -> int:
        """The least of all, as a run may have to move."""
        return min(filter(None, [server.engine.context for server in self._servers if server.known]), default=0)

    @property
    def _first(self) -> Engine:
        """One that is known, if any is."""
        return next((server for server in self._servers if server.known), self._servers[0]).engine

    async def connect(self) -> tuple[str, ...]:
        """Reach the servers; returns their notices, and which of them are left out. Idempotent.

        Raises EngineUnreachable where none answers, EngineRefused, and ConfigurationError for different models.
        """
        asked = [server for server in self._up() or self._servers if not server.known]
        for server in asked:
            server.try_out()
        await asyncio.gather(*map(self._greet, asked))
        if not any(server.known for server in self._servers):
            raise self._none_left()
        return tuple(dict.fromkeys(notice for server in self._servers for notice in server.notices))

    async def _greet(self, server: _Server) -> None:
        try:
            await self._join(server)
        except EngineError as error:
            self._leave_out(server, error)
            server.notices = (f"A server is left out until it answers: {error}",)

    async def _join(self, server: _Server) -> None:
        """Have a server known, which must serve what the others do."""
        if server.known:
            return
        notices = await server.engine.connect()
        reached = [each.engine for each in self._servers if each.known or each is server]
        if len({engine.model for engine in reached}) > 1:
            serve = ", ".join(map(repr, reached))
            raise ConfigurationError(f"the servers of a pool must serve the same model, and these serve: {serve}")
        server.known, server.error, server.notices = True, None, notices

    async def aclose(self) -> None:
        for server in self._servers:
            await server.engine.aclose()

    # --- calls -----------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        """See `Engine.stream`. Where the server goes away meanwhile, another one is asked from the start."""
        notes: tuple[str, ...] = ()
        failed: float | None = None
        while True:
            server = await self._pick(request.session, failed)
            server.calls += 1
            try:
                await self._join(server)
                async with aclosing(server.engine.stream(request)) as items:
                    async for item in items:
                        if isinstance(item, Reply):
                            server.error = None
                            item = replace(item, notes=(*notes, *item.notes)) if notes else item
                        yield item
                return
            except EngineError as error:
                self._leave_out(server, error)
                failed = failed or _now()
                notes += (f"A server could not be reached, so the turn was asked for again where one answers: {error}",)
            finally:
                server.calls -= 1

    async def choose(self, request: Request, choices: Sequence[str]) -> Reply:
        """See `Engine.choose`."""
        return await self._ask(request.session, lambda engine: engine.choose(request, choices))

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
    ) -> int:
        """See `Engine.count`."""
        return await self._ask(session, lambda engine: engine.count(messages, tools, mode, session))

    async def _ask(self, session: str, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Ask the session's server for something short, or another one where that is away."""
        failed: float | None = None
        while True:
            server = await self._pick(session, failed)
            server.calls += 1
            try:
                await self._join(server)
                return await ask(server.engine)
            except EngineError as error:
                self._leave_out(server, error)
                failed = failed or _now()
            finally:
                server.calls -= 1

    # --- which server ----------------------------------------------------------------------------

    async def _pick(self, session: str, failed: float | None) -> _Server:
        """The session's server, or the least loaded one; waits where none answers. failed: when the call did first.

        Raises EngineUnreachable when it waited too long.
        """
        since = failed or _now()
        while not (up := self._up()):
            if _now() - since >= PATIENCE:
                raise self._none_left()
            await asyncio.sleep(min(server.rested for server in self._servers) - _now())
        server = self._sessions.get(session)
        if server is None or server not in up:
            server = min(up, key=lambda each: each.load)
            server.picked = next(self._numbers)
        server.try_out()
        self._keep(session, server)
        return server

    def _up(self) -> list[_Server]:
        """Servers that answer, or may again."""
        return [server for server in self._servers if server.error is None or server.rested <= _now()]

    def _keep(self, session: str, server: _Server) -> None:
        """Remember where a session is."""
        if not session:
            return
        before = self._sessions.get(session)
        if before is not server:
            self._sessions[session] = server
            server.sessions += 1
            if before:
                before.sessions -= 1
        self._sessions.move_to_end(session)
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)[1].sessions -= 1

    def _leave_out(self, server: _Server, error: EngineError) -> None:
        """For a while, where it cannot be reached. Raises any other error."""
        if not _is_away(error):
            raise error
        server.failed(error)

    def _none_left(self) -> EngineUnreachable:
        told = "; ".join(str(server.error) for server in self._servers)
        return EngineUnreachable(f"none of the {len(self._servers)} servers can be reached: {told}")


def engine_of(
    base_urls: str | Sequence[str] | None = None,
    model: str | None = None,
    profile: Profile | None = None,
    *,
    concurrency: int = CONCURRENCY,
) -> Engine:
    """The engine that a command line or the environment asks for: a `VLLM`, or a `Pool` where several addresses are
    given. model: a name that they serve; without an address it is the managed server's affair. concurrency: calls at
    once, of each server."""
    found = addresses(base_urls)
    if len(found) > 1:
        return Pool(found, model, profile, concurrency=concurrency)
    url = found[0] if found else None
    return VLLM(url, model if url else None, profile=profile, concurrency=concurrency)


def addresses(given: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Addresses, of which one text may hold several, parted by blanks or commas. None takes FASTSLOW_BASE_URL.

    >>> addresses("http://a/v1,http://b/v1")
    ('http://a/v1', 'http://b/v1')
    """
    given = os.environ.get("FASTSLOW_BASE_URL", "") if given is None else given
    texts = [given] if isinstance(given, str) else given
    return tuple(url for text in texts for url in re.split(r"[\s,]+(?=https?://)|\s+", text.strip()) if url)


def _is_away(error: EngineError) -> bool:
    """Whether the server is at fault, and not what it was asked."""
    return isinstance(error, EngineUnreachable) or (isinstance(error, EngineRefused) and error.status in _AWAY)


def _now() -> float:
    return asyncio.get_running_loop().time()
