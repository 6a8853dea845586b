"""The server on the loopback interface that stands between the contenders and the model's.

POST /run/<id>/v1/chat/completions   to the model's server, and what it answers is taken down
POST /run/<id>/tool/<name>           runs a tool of the case with arguments as JSON; the answer is its text, under
                                     422 where it failed
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from benchmarks.peers.recorded import Run
from fastslow.sandbox import SandboxError
from fastslow.tools import ToolError
from fastslow.tools.result import clip

SIZE = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
HEALTH_SECONDS = 30.0
JSON, TEXT, SSE = "application/json", "text/plain; charset=utf-8", "text/event-stream"


class Loopback:
    """`async with` serves. upstream: the model's server, with its `/v1`. filled: settings that a request which leaves
    them out is given. runs: by id; requests of others are refused."""

    def __init__(self, upstream: str, key: str | None = None, filled: Mapping[str, Any] | None = None) -> None:
        self._upstream, self._filled = upstream.rstrip("/"), dict(filled or {})
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=None, trust_env=False)
        self.runs: dict[str, Run] = {}
        self.address = ""

    async def __aenter__(self) -> Loopback:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._client.aclose()

    async def healthy(self) -> bool:
        """Whether the model's server still answers, so that what failed is a contender's own failure."""
        try:
            answer = await self._client.get(f"{self._upstream.removesuffix('/v1')}/health", timeout=HEALTH_SECONDS)
        except httpx.HTTPError:
            return False
        return answer.status_code < 500  # what is no vLLM may not know the address

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, then the connection is closed."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # whoever asked has gone
            head = await reader.readuntil(b"\r\n\r\n")
            size = SIZE.search(head)
            body = await reader.readexactly(int(size[1]) if size else 0)
            status, kind, text = await self._answer(head.split(b" ", 2)[1].decode(), body)
            content = text.encode("utf-8", "replace")
            fields = (f"Content-Type: {kind}", f"Content-Length: {len(content)}", "Connection: close")
            writer.write("\r\n".join((f"HTTP/1.1 {status} .", *fields, "", "")).encode() + content)
            await writer.drain()
        writer.close()

    async def _answer(self, path: str, body: bytes) -> tuple[int, str, str]:
        match path.strip("/").split("/"):
            case ["run", id_, "v1", "chat", "completions"] if run := self.runs.get(id_):
                return await self._complete(run, json.loads(body))
            case ["run", id_, "tool", name] if run := self.runs.get(id_):
                ok, text = await _carried_out(run, name, body.decode("utf-8", "replace"))
                return 200 if ok else 422, TEXT, text
        return _refused(f"nothing is at {path}", 404)

    async def _complete(self, run: Run, request: dict[str, Any]) -> tuple[int, str, str]:
        if why := run.asks():
            return _refused(why)
        streams = request.pop("stream", False)
        request.pop("stream_options", None)
        began = time.monotonic()
        try:
            async with asyncio.timeout_at(run.deadline):
                url = f"{self._upstream}/chat/completions"
                response = await self._client.post(url, json=self._filled | request)
        except TimeoutError:
            return _refused("the run's time is over")
        except httpx.HTTPError as error:
            return _refused(f"the model's server: {error!r}", 502)
        if response.status_code != 200:
            return response.status_code, JSON, response.text
        answer = response.json()
        run.answered(request, answer, time.monotonic() - began)
        return (200, SSE, _streamed(answer)) if streams else (200, JSON, response.text)


async def _carried_out(run: Run, name: str, text: str) -> tuple[bool, str]:
    """What a tool says, or what is wrong with the call; the contender shows it to the model."""
    if run.decided.is_set():
        return False, "the run is over"
    tool = next(tool for tool in run.tools if tool.name == name)
    call = run.called(tool, text)
    if not call.valid:
        return False, f"Error: the arguments do not fit the schema of {name}: {text[:500]}"
    try:
        return True, clip(await tool.run(call.arguments))
    except (ToolError, SandboxError) as error:
        return False, clip(str(error))


def _streamed(answer: dict[str, Any]) -> str:
    """A whole answer as a stream of one piece, for those who only read streams."""
    choice = answer["choices"][0]
    calls = [{"index": n, **call} for n, call in enumerate(choice["message"].get("tool_calls") or ())]
    delta = {**choice["message"], "tool_calls": calls or None}
    piece = {"index": 0, "delta": delta, "finish_reason": choice["finish_reason"]}
    chunk = {**answer, "object": "chat.completion.chunk", "choices": [piece]}
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"


def _refused(why: str, status: int = 400) -> tuple[int, str, str]:
    return status, JSON, json.dumps({"error": {"message": why, "type": "BadRequestError", "code": status}})
