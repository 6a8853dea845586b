"""The floor: the same conversation by a loop on httpx that does nothing but what it must."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx

SHARED = 8  # connections of one client: httpx compares them with one another for each request
TYPES = {int: "integer", float: "number", str: "string"}


def _schema(tool: Callable[..., str]) -> dict[str, Any]:
    hints = {name: hint for name, hint in tool.__annotations__.items() if name != "return"}
    parameters = {
        "type": "object",
        "properties": {name: {"type": TYPES[hint]} for name, hint in hints.items()},
        "required": list(hints),
    }
    return {
        "type": "function",
        "function": {"name": tool.__name__, "description": tool.__doc__, "parameters": parameters},
    }


class Plain:
    """Whole answers."""

    shared = SHARED

    def __init__(self, url: str, tools: Sequence[Callable[..., str]]) -> None:
        self._url = f"{url}/chat/completions"
        self._tools = {tool.__name__: tool for tool in tools}
        self._schemas = [_schema(tool) for tool in tools]
        self._clients: list[httpx.AsyncClient] = []
        self._context = httpx.create_ssl_context()

    def _client(self, number: int) -> httpx.AsyncClient:
        while len(self._clients) <= number // self.shared:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=self._context)
            self._clients.append(client)
        return self._clients[number // self.shared]

    async def many(self, tasks: Sequence[str]) -> list[str]:
        return list(await asyncio.gather(*(self._run(self._client(n), task) for n, task in enumerate(tasks))))

    async def _run(self, client: httpx.AsyncClient, task: str) -> str:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You answer with the help of tools."},
            {"role": "user", "content": task},
        ]
        while True:
            message = await self._ask(client, {"model": "m", "messages": messages, "tools": self._schemas})
            messages.append(message)
            if not message.get("tool_calls"):
                return str(message["content"])
            for call in message["tool_calls"]:
                function = call["function"]
                result = self._tools[function["name"]](**json.loads(function["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
        response = await client.post(self._url, json=body)
        message: dict[str, Any] = response.json()["choices"][0]["message"]
        return message


class Streaming(Plain):
    """Answers as they come, asked for as ours asks."""

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
        body |= {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}
        content: list[str] = []
        calls: dict[int, dict[str, Any]] = {}
        async with client.stream("POST", self._url, json=body) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line == "data: [DONE]":
                    continue
                for choice in json.loads(line[5:])["choices"]:
                    delta = choice["delta"]
                    content.append(delta.get("content") or "")
                    for call in delta.get("tool_calls", ()):
                        if "id" in call:
                            calls[call["index"]] = {key: call[key] for key in ("id", "type", "function")}
                        else:
                            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(content)}
        return {**message, "tool_calls": list(calls.values())} if calls else message


class OneClient(Streaming):
    """The same with all connections in one client, as most people would write it."""

    shared = 1 << 30
