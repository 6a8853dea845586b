"""The agent's side of the protocol: what an editor may ask for, over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import acp
from acp import Client, RequestError
from acp.schema import (
    AuthenticateResponse,
    ClientCapabilities,
    CloseSessionResponse,
    InitializeResponse,
    ListSessionsResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptResponse,
    ResumeSessionResponse,
    SessionConfigOptionSelect,
    SessionConfigSelectOption,
    SessionInfo,
    SetSessionConfigOptionResponse,
)

from fastslow.agent.agent import Agent
from fastslow.agent.errors import AgentError
from fastslow.agent.managed_server import running_server
from fastslow.agent.surfaces.acp.greeting import Greeting, can_read, capabilities
from fastslow.agent.surfaces.acp.parts import one_line
from fastslow.agent.surfaces.acp.projection import State, unfinished, updates, user_message
from fastslow.agent.surfaces.acp.prompts import INVALID, Block, task_of
from fastslow.agent.surfaces.acp.session import FAILED, SPEEDS, Session
from fastslow.agent.surfaces.acp.sessions import LISTED, KeptSession, events_of, kept_sessions, new_session_id
from fastslow.sandbox import SandboxError, docker_client, image_exists

SPEED = "speed"
LIMIT = 50 << 20  # bytes of one message
BUFFER_SECONDS = 5.0  # that the editor may take to give a text
NO_SERVER = "no model server runs; in a terminal, once: fastslow setup"
NO_IMAGE = "the sandbox has no image yet; in a terminal, once: fastslow setup"
MCP = "(The editor names MCP servers: {}. They are not used yet.)"
_SPEEDS = {
    "auto": ("Auto", "Thinks to plan and to repair, acts fast in between"),
    "think": ("Think", "Thinks in each turn"),
    "fast": ("Fast", "Never thinks"),
}
T = TypeVar("T")


class EditorAgent:
    """Implements what we have of `acp.Agent`. test: the command that proves the work, see `Tree`. managed: the model's
    server is that of `fastslow up`, which must run. can_read: the editor gives the texts that it holds."""

    def __init__(self, agent: Agent, test: str | None, *, managed: bool, can_read: bool) -> None:
        self._agent = agent
        self._test = test
        self._managed = managed
        self._can_read = can_read
        self._sessions: dict[str, Session] = {}
        self._is_ready = False

    def on_connect(self, conn: Client) -> None:
        self._editor = conn

    # --- the connection --------------------------------------------------------------------------

    async def initialize(
        self, protocol_version: int, client_capabilities: ClientCapabilities | None = None, **_: Any
    ) -> InitializeResponse:
        told = client_capabilities.model_dump(by_alias=True) if client_capabilities else None
        self._can_read = can_read(told)
        return InitializeResponse.model_validate(capabilities())

    async def authenticate(self, method_id: str, **_: Any) -> AuthenticateResponse:
        return AuthenticateResponse()

    # --- sessions --------------------------------------------------------------------------------

    async def new_session(self, cwd: str, mcp_servers: Sequence[Any] | None = None, **_: Any) -> NewSessionResponse:
        session = self._open(new_session_id(), _folder(cwd), told=_about_mcp(mcp_servers))
        return NewSessionResponse(session_id=session.id, config_options=_options(session))

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: Sequence[Any] | None = None, **_: Any
    ) -> LoadSessionResponse:
        """All that was said is told again, before this is answered."""
        runs, session = await self._reopened(cwd, session_id, mcp_servers)
        for run in runs:
            await self._replay(session, run)
        return LoadSessionResponse(config_options=_options(session))

    async def resume_session(
        self, cwd: str, session_id: str, mcp_servers: Sequence[Any] | None = None, **_: Any
    ) -> ResumeSessionResponse:
        _runs, session = await self._reopened(cwd, session_id, mcp_servers)
        return ResumeSessionResponse(config_options=_options(session))

    async def list_sessions(self, cwd: str | None = None, cursor: str | None = None, **_: Any) -> ListSessionsResponse:
        wanted = _real(_folder(cwd)) if cwd else None
        kept = [one for one in (await self._kept()).values() if wanted in (None, one.root)]
        kept.sort(key=lambda one: one.updated, reverse=True)
        return ListSessionsResponse(
            sessions=[
                SessionInfo(session_id=one.id, cwd=one.root, title=one.title, updated_at=one.updated.isoformat())
                for one in kept[:LISTED]
            ]
        )

    async def close_session(self, session_id: str, **_: Any) -> CloseSessionResponse:
        session = self._session(session_id)
        del self._sessions[session_id]
        await session.aclose()
        return CloseSessionResponse()

    async def set_config_option(
        self, config_id: str, session_id: str, value: str | bool, **_: Any
    ) -> SetSessionConfigOptionResponse:
        session = self._session(session_id)
        if config_id != SPEED or value not in SPEEDS:
            raise RequestError(INVALID, f"expected {SPEED} as one of {', '.join(SPEEDS)}, got {one_line(str(value))}")
        session.speed = str(value)
        return SetSessionConfigOptionResponse(config_options=_options(session))

    # --- prompts ---------------------------------------------------------------------------------

    async def prompt(self, prompt: Sequence[Block], session_id: str, **_: Any) -> PromptResponse:
        session = self._session(session_id)

        async def words() -> str:
            task = await task_of(prompt, session.root, partial(self._unsaved, session.id))
            await self._check_ready()
            return task

        return PromptResponse(stop_reason=await session.prompt(words))

    async def cancel(self, session_id: str, **_: Any) -> None:
        if session := self._sessions.get(session_id):
            session.cancel()

    async def aclose(self) -> None:
        """End all sessions, then the agent's connections and containers."""
        await asyncio.gather(*(session.aclose() for session in self._sessions.values()), return_exceptions=True)
        await self._agent.aclose()

    # --- how -------------------------------------------------------------------------------------

    def _open(self, session_id: str, root: str, follows: str = "", runs: int = 0, told: str = "") -> Session:
        session = Session(session_id, root, self._agent, self._editor, self._test, follows, runs, told)
        self._sessions[session_id] = session
        return session

    def _session(self, session_id: str) -> Session:
        if session := self._sessions.get(session_id):
            return session
        raise RequestError(INVALID, f"no session {one_line(session_id)} is open here; load it, or begin a new one")

    async def _reopened(
        self, cwd: str, session_id: str, mcp_servers: Sequence[Any] | None
    ) -> tuple[tuple[str, ...], Session]:
        """A session that was begun before, and its runs; one that nothing was said in yet is as new."""
        root, kept, known = _folder(cwd), (await self._kept()).get(session_id), self._sessions.get(session_id)
        if kept is None and known is None:
            raise RequestError(INVALID, f"no session {one_line(session_id)} in the journal; begin a new one")
        if kept and kept.root != _real(root):
            raise RequestError(INVALID, f"session {kept.id} is about {kept.root}, not {one_line(root, 500)}")
        if known:
            await known.aclose()
        follows, runs = (kept.follows, tuple(kept.runs)) if kept else ("", ())
        return runs, self._open(session_id, root, follows, len(runs), _about_mcp(mcp_servers))

    async def _kept(self) -> dict[str, KeptSession]:
        assert self._agent.journal is not None  # noqa: S101 - a run on a folder has one
        return await _told(asyncio.to_thread(kept_sessions, self._agent.journal.path))

    async def _replay(self, session: Session, run: str) -> None:
        assert self._agent.journal is not None  # noqa: S101 - a run on a folder has one
        task, events = await _told(asyncio.to_thread(events_of, self._agent.journal.path, run))
        state = State(session.root)
        told = [user_message(task, run), *(update for event in events for update in updates(event, state))]
        for update in (*told, *unfinished(state)):  # of a run that was killed
            await self._editor.session_update(session.id, update)

    async def _unsaved(self, session_id: str, path: str) -> str | None:
        """What the editor holds of a file, where that is not what the disk holds."""
        if not self._can_read:
            return None
        try:
            async with asyncio.timeout(BUFFER_SECONDS):
                held = (await self._editor.read_text_file(session_id=session_id, path=path)).content
            saved = await asyncio.to_thread(_saved, path)
        except (TimeoutError, RequestError, OSError, ValueError):
            return None
        return None if held == saved else held

    async def _check_ready(self) -> None:
        """RequestError where the first prompt would wait for minutes, or for ever: set-up belongs in a terminal."""
        if self._is_ready:
            return
        if self._managed and await asyncio.to_thread(running_server) is None:
            raise RequestError(FAILED, NO_SERVER)
        if not await _told(asyncio.to_thread(_has_image)):
            raise RequestError(FAILED, NO_IMAGE)
        self._is_ready = True


def serve(agent: Agent, greeting: Greeting, *, test: str | None, managed: bool) -> None:
    """Answer an editor until it hangs up."""
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(EditorAgent(agent, test, managed=managed, can_read=greeting.can_read), greeting))


async def _serve(editor_agent: EditorAgent, greeting: Greeting) -> None:
    reader, writer = await _streams(greeting)
    try:
        # What it does not have is told to be missing.
        await acp.run_agent(cast(acp.Agent, editor_agent), writer, reader, use_unstable_protocol=True)
    finally:
        await editor_agent.aclose()


async def _streams(greeting: Greeting) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """stdin, with the line that was read and not answered before it; and what stdout was before it became stderr."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    reader.feed_data(greeting.line)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(greeting.stdout, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


async def _told(work: Awaitable[T]) -> T:
    """What work gives; its errors as the editor is told them."""
    try:
        return await work
    except (AgentError, SandboxError, OSError) as error:
        raise RequestError(FAILED, one_line(str(error), 1000)) from error


def _folder(cwd: str) -> str:
    if not os.path.isabs(cwd) or not os.path.isdir(cwd):
        raise RequestError(INVALID, f"expected cwd as the absolute path of a folder, got {one_line(cwd, 500)}")
    return os.path.normpath(cwd)


def _real(path: str) -> str:
    """As runs are written down. The editor's own way to its files may have links in it."""
    return os.path.realpath(path)


def _saved(path: str) -> str:
    return Path(path).read_bytes().decode()


def _has_image() -> bool:
    with closing(docker_client(timeout=10)) as client:
        return image_exists(client)


def _about_mcp(servers: Sequence[Any] | None) -> str:
    names = ", ".join(one_line(str(getattr(server, "name", "?")), 40) for server in servers or ())
    return MCP.format(names) if names else ""


def _options(session: Session) -> list[Any]:
    return [
        SessionConfigOptionSelect(
            type="select",
            id=SPEED,
            name="Speed",
            category="thought_level",
            current_value=session.speed,
            options=[
                SessionConfigSelectOption(value=value, name=name, description=told)
                for value, (name, told) in _SPEEDS.items()
            ],
        )
    ]
