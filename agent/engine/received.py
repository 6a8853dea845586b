"""What a server sent, put together from its pieces. A field of the wrong type counts as absent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from fastslow.agent.engine.types import Delta
from fastslow.agent.errors import EngineError

END_SECONDS = 1.0  # for the end of a stream behind its `[DONE]`: read to it, a connection serves again


@dataclass(slots=True)
class ReceivedCall:
    """A tool call as the server's parser gave it; any part may be missing or damaged."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Received:
    """One answer while it arrives, from stream chunks or from one whole body.

    token_ids: what the model generated, where the server tells. thinking_ids: those that came as reasoning.
    finish: the server's word; empty while the answer is not whole. stop_string: which one ended it (it is not
    in the content).
    """

    calls: list[ReceivedCall] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    thinking_ids: int = 0
    finish: str = ""
    stop_string: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False
    _content: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _by_index: dict[int, ReceivedCall] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the server ended it of itself. vLLM says `abort` for what it gave up when it was shut down."""
        return self.finish not in {"", "abort", "error"}

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    def feed(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Take one chunk of a stream, or one whole body, and return what a person may watch of it."""
        self.usage = as_mapping(chunk.get("usage")) or self.usage
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return []
        choice = as_mapping(choices[0])
        whole = as_mapping(choice.get("message"))
        part = whole or as_mapping(choice.get("delta"))
        self.stop_string = as_text(choice.get("stop_reason")) or self.stop_string
        self.finish = as_text(choice.get("finish_reason")) or self.finish or ("stop" if whole else "")
        # vLLM renamed `reasoning_content` to `reasoning`; a server may send either, or both.
        thinking = as_text(part.get("reasoning")) or as_text(part.get("reasoning_content"))
        text = as_text(part.get("content"))
        calls = part.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else []):
            self._feed_call(as_mapping(call), position if whole else 0)
        ids = choice.get("token_ids")
        if isinstance(ids, list):
            self.token_ids += [n for n in ids if isinstance(n, int)]
            self.thinking_ids += len(ids) if thinking and not text and not calls else 0
        self._reasoning.append(thinking)
        self._content.append(text)
        self.started = self.started or bool(thinking or text or calls)
        return [Delta("thinking", thinking)] * bool(thinking) + [Delta("text", text)] * bool(text)

    def _feed_call(self, part: Mapping[str, Any], position: int) -> None:
        """Add a piece of a call. A second name under one index is a second call: some servers miscount."""
        index = part.get("index")
        index = index if isinstance(index, int) else position
        function = as_mapping(part.get("function"))
        name = as_text(function.get("name"))
        call = self._by_index.get(index)
        if call is None or (name and call.name):
            call = self._by_index[index] = ReceivedCall()
            self.calls.append(call)
        call.id = call.id or as_text(part.get("id"))
        call.name = call.name or name
        given = function.get("arguments")
        call.arguments += json.dumps(given) if isinstance(given, dict) else as_text(given)  # some send the object


def as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes], None]:
    """The data of server-sent events up to `[DONE]`; those that came together, together.

    Split at line feeds alone: httpx's own line reader also splits at U+2028 and its like, which JSON may
    hold raw.
    """
    begun: list[bytes] = []
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun.clear()
        begun.append(rest)
        data = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
        done = b"[DONE]" in data
        if told := data[: data.index(b"[DONE]")] if done else data:
            yield told
        if done:
            await _to_the_end(chunks)
            return


async def _to_the_end(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left, which should be nothing. A connection whose answer was not read to its end is closed."""
    with suppress(TimeoutError, httpx.HTTPError, EngineError):
        async with asyncio.timeout(END_SECONDS):
            async for _ in chunks:
                pass
