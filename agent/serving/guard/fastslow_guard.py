"""Middleware of the managed vLLM server: whoever asks for anything must know the server's key.

vLLM's own check of a key leaves out all paths but `/v1` and a few more: `/invocations` generates and `/tokenize` reads
for anybody (https://docs.vllm.ai/en/stable/usage/security/#api-key-authentication-limitations). Only `/health` is open
here, since it says nothing. Imported by vLLM (`--middleware`), in the engine's environment.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

OPEN = ("/health",)


class Guard:
    """ASGI middleware. The key is in VLLM_API_KEY, as for vLLM's own check."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app
        self.expected = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._knows(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "this server wants its key"}'})

    def _knows(self, scope: Scope) -> bool:
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(said) == 1 and hmac.compare_digest(said[0], self.expected)
