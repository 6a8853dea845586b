"""An editor as the package's own client plays it, and a real process of ours as its agent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import acp
from acp import RequestError
from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    AllowedOutcome,
    ClientCapabilities,
    DeniedOutcome,
    FileSystemCapabilities,
    PromptResponse,
    ReadTextFileResponse,
    RequestPermissionResponse,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
)

from tests.engine.fake_server import Answer, call, delta, usage

ROOT = Path(__file__).parents[3]
COMMAND = ("-m", "fastslow.agent.surfaces.command")


@dataclass
class Editor:
    """Implements `acp.Client`. choice: what is answered to each question. buffers: texts that are not saved."""

    choice: str | None = "allow_once"
    buffers: dict[str, str] = field(default_factory=dict)
    updates: list[Any] = field(default_factory=list)
    asked: list[ToolCallUpdate] = field(default_factory=list)
    on_update: Callable[[Any], None] = lambda _: None

    def on_connect(self, conn: acp.Agent) -> None:
        return

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append(update)
        self.on_update(update)

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[Any], **_: Any
    ) -> RequestPermissionResponse:
        self.asked.append(tool_call)
        if self.choice is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=self.choice))

    async def read_text_file(self, path: str, session_id: str, **_: Any) -> ReadTextFileResponse:
        if path not in self.buffers:
            raise RequestError.resource_not_found(path)
        return ReadTextFileResponse(content=self.buffers[path])

    def said(self, kind: type = AgentMessageChunk) -> str:
        """All text of a kind."""
        return "".join(update.content.text for update in self.updates if isinstance(update, kind))

    @property
    def thoughts(self) -> str:
        return self.said(AgentThoughtChunk)

    def calls(self) -> dict[str, dict[str, Any]]:
        """The tool calls as an editor shows them at the end: later values take the place of earlier ones."""
        shown: dict[str, dict[str, Any]] = {}
        for update in self.updates:
            if isinstance(update, ToolCallStart | ToolCallProgress):
                told = update.model_dump(exclude_none=True, by_alias=True, exclude={"session_update"})
                shown.setdefault(update.tool_call_id, {}).update(told)
        return shown


@dataclass
class Opened:
    """A session with a process of ours."""

    editor: Editor
    agent: Any
    process: asyncio.subprocess.Process
    root: Path
    session: str = ""

    async def new(self, *mcp_servers: Any) -> Any:
        response = await self.agent.new_session(cwd=str(self.root), mcp_servers=list(mcp_servers))
        self.session = response.session_id
        return response

    async def prompt(self, *blocks: Any) -> PromptResponse:
        told = [TextContentBlock(type="text", text=block) if isinstance(block, str) else block for block in blocks]
        return await self.agent.prompt(prompt=told, session_id=self.session)


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("DOCKER_HOST", "PATH") if name in os.environ}
    return {"PYTHONPATH": str(ROOT), "FASTSLOW_HOME": str(home), **kept}


@asynccontextmanager
async def editing(
    root: Path, home: Path, url: str, editor: Editor | None = None, *options: str, can_read: bool = False
) -> AsyncIterator[Opened]:
    """A process of `fastslow acp` that an editor has started and greeted. url: of the model's server, "" for none."""
    editor = editor or Editor()
    server = ("--base-url", url) if url else ()
    arguments = (sys.executable, *COMMAND, "acp", *server, *options)
    transport = {"limit": 50 << 20, "stderr": None, "shutdown_timeout": 20.0}
    spawned = acp.spawn_agent_process(
        editor,  # type: ignore[arg-type]
        *arguments,
        env=environment(home),
        cwd=home,
        transport_kwargs=transport,
        use_unstable_protocol=True,
    )
    async with spawned as (agent, process):
        fs = FileSystemCapabilities(read_text_file=can_read, write_text_file=False)
        await agent.initialize(protocol_version=1, client_capabilities=ClientCapabilities(fs=fs, terminal=False))
        yield Opened(editor, agent, process, root)


# --- what the model says -----------------------------------------------------------------------------


def thinks(thoughts: str, text: str) -> Answer:
    return Answer(
        [
            delta(role="assistant", content=""),
            delta([1], reasoning=thoughts),
            delta([2], content=text),
            delta(finish="stop"),
            usage(120, 30),
        ]
    )


def calls_tool(name: str, **arguments: Any) -> Answer:
    return Answer(
        [
            delta(role="assistant", content=""),
            delta([1, 2], tool_calls=[call(0, f"call-{name}", name, json.dumps(arguments))]),
            delta(finish="tool_calls"),
            usage(100, 20),
        ]
    )
