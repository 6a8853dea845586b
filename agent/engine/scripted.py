"""Public doubles of an engine: a script instead of a model, and a recording instead of a server."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import httpx

from fastslow.agent.engine.address import Address
from fastslow.agent.engine.cassette import CassettePlayer
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import Profile, Sampling
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.engine.wire import encode_history
from fastslow.agent.errors import ContextOverflow
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Message
from fastslow.tools import Tool

Scripted: TypeAlias = Reply | Callable[[Request], Reply | Awaitable[Reply]]

SCRIPTED = Profile(
    name="scripted",
    pattern=r"^scripted$",
    fast=Sampling(temperature=0.0),
    think=Sampling(temperature=0.0),
    reasoning_parser="qwen3",
    tool_parser="hermes",
)


class ScriptedModel:
    """Gives the replies of a script, one a call, and keeps the requests.

    A function in the script gets the request and returns the reply, now or after a wait; it may raise. A call
    behind the end of the script raises AssertionError. context: tokens of four characters each; a prompt that fills
    it raises ContextOverflow.

    >>> model = ScriptedModel([Reply("Hello."), lambda request: Reply(request.messages[-1].content)])
    """

    def __init__(
        self,
        replies: Iterable[Scripted],
        *,
        profile: Profile = SCRIPTED,
        model: str = "scripted",
        context: int = 131_072,
    ) -> None:
        self._replies = list(replies)
        self.model = model
        self.profile = profile
        self.context = context
        self.requests: list[Request] = []

    async def connect(self) -> tuple[str, ...]:
        return ()

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        number = len(self.requests)
        self.requests.append(request)
        if number >= len(self._replies):
            raise AssertionError(
                f"the script has {len(self._replies)} replies, and a further one was asked for: {request}"
            )
        if await self.count(request.messages, request.tools) >= self.context:
            raise ContextOverflow(f"the prompt leaves nothing of the {self.context} tokens of the context")
        scripted = self._replies[number]
        answer = scripted if isinstance(scripted, Reply) else scripted(request)
        reply = await answer if inspect.isawaitable(answer) else answer
        if reply.reasoning:
            yield Delta("thinking", reply.reasoning)
        if reply.content:
            yield Delta("text", reply.content)
        yield reply

    async def choose(self, request: Request, choices: Sequence[str]) -> Reply:
        """The next reply of the script, whose content is taken for certain unless it says otherwise."""
        async for item in self.stream(request):
            if isinstance(item, Reply):
                reply = item
        return reply if reply.logprobs or not reply.content else replace(reply, logprobs={reply.content: 0.0})

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
    ) -> int:
        said = encode_history(messages, self.profile)
        return (len(json.dumps(said, ensure_ascii=False)) + sum([tool.size for tool in tools])) // 4

    async def aclose(self) -> None:
        return

    def assert_complete(self) -> None:
        """Raises AssertionError when a part of the script was never asked for."""
        if len(self.requests) < len(self._replies):
            raise AssertionError(f"{len(self.requests)} of {len(self._replies)} scripted replies were asked for")


class ReplayModel(VLLM):
    """A `VLLM` whose server is a file that `VLLM(record=path)` wrote: the same parsing, without a server.

    Nothing is probed. profile: as in `VLLM`; None finds it by the recorded model's name.
    """

    def __init__(self, path: str | Path, *, model: str | None = None, profile: Profile | str | None = None) -> None:
        super().__init__("http://replay.invalid/v1", model, profile=profile, retries=0, probe=False)
        self._replay = CassettePlayer(Path(path))

    def _transport(self, address: Address) -> httpx.AsyncBaseTransport | None:
        return self._replay

    def assert_complete(self) -> None:
        """Raises AssertionError when a recorded answer was never asked for."""
        if self._replay.left:
            raise AssertionError(f"{self._replay.left} recorded answers were not asked for")
