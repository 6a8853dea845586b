"""A plain script on httpx: a semaphore, no retries, lines appended. With `shared` it has a client for each 8 rows in
hand, as httpx compares all connections of a client with one another for each request."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
from table import SCHEMA, TASK, Output, arguments, read_rows

FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


async def main() -> None:
    url, folder, at_once = arguments()
    output, free = Output(folder), asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    context = httpx.create_ssl_context()
    count = -(-at_once // 8) if "shared" in sys.argv else 1
    clients = [httpx.AsyncClient(limits=limits, timeout=60, verify=context, trust_env=False) for _ in range(count)]

    async def ask(number: int, name: str, text: str) -> None:
        messages = [{"role": "system", "content": TASK}, {"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 1024, "response_format": FORMAT}
        async with free:
            response = await clients[number % count].post(f"{url}/chat/completions", json=body)
        response.raise_for_status()
        output.add(name, json.loads(response.json()["choices"][0]["message"]["content"]))

    async with asyncio.TaskGroup() as group:
        for number, (name, text) in enumerate(read_rows(folder)):
            if name not in output.done:
                group.create_task(ask(number, name, text))


asyncio.run(main())
