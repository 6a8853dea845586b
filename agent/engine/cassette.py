"""HTTP cassettes: every exchange with a server in a file of JSON lines, played back to the same client.

One line an exchange: `{"method", "path", "request", "status", "type", "body"}`; request is the JSON that was
sent, body the text that came back, event streams included. Headers and queries are not kept, so no key is.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from fastslow.agent.folders import append_line


class CassetteRecorder(httpx.AsyncBaseTransport):
    """Passes requests on to another transport and appends each finished exchange to a cassette. hide: takes what is
    secret out of a text, as an error may say it again."""

    def __init__(self, inner: httpx.AsyncBaseTransport, path: Path, hide: Callable[[str], str]) -> None:
        self._inner = inner
        self._path = path
        self._hide = hide

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        response = await self._inner.handle_async_request(request)
        entry = {
            "method": request.method,
            "path": request.url.path,
            "request": json.loads(content) if content else None,
            "status": response.status_code,
            "type": response.headers.get("content-type", ""),
        }
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError(f"an async transport answers with an async stream, got {stream!r}")
        tee = _Tee(stream, self._path, entry, self._hide)
        return httpx.Response(response.status_code, headers=response.headers, stream=tee)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Tee(httpx.AsyncByteStream):
    """A body that is written down when it ends or is given up."""

    def __init__(
        self, inner: httpx.AsyncByteStream, path: Path, entry: dict[str, Any], hide: Callable[[str], str]
    ) -> None:
        self._inner = inner
        self._path = path
        self._entry = entry
        self._hide = hide
        self._chunks: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._chunks.append(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._entry["body"] = self._hide(b"".join(self._chunks).decode("utf-8", "replace"))
        append_line(self._path, json.dumps(self._entry, ensure_ascii=False))


class CassettePlayer(httpx.AsyncBaseTransport):
    """Answers from a cassette: with the exchange of the very same request, else with the path's next."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text("utf-8").split("\n")
        self._path = path
        self._left: list[dict[str, Any]] = [json.loads(line) for line in lines if line]

    @property
    def left(self) -> int:
        """Chat completions that nobody asked for yet."""
        return sum(entry["path"].endswith("/chat/completions") for entry in self._left)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        asked = json.loads(content) if content else None
        same = [e for e in self._left if (e["method"], e["path"]) == (request.method, request.url.path)]
        if not same:
            raise LookupError(f"{self._path} holds no further answer to {request.method} {request.url.path}")
        entry = next((e for e in same if e["request"] == asked), same[0])
        self._left.remove(entry)
        return httpx.Response(entry["status"], headers={"content-type": entry["type"]}, content=entry["body"].encode())
