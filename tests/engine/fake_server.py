"""A real HTTP server on loopback that answers as it is told: the peer for faults of the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

CHAT = "/v1/chat/completions"


@dataclass
class Answer:
    """What one POST gets. chunks: as an event stream; body: as one JSON answer.

    drop: the connection is cut after the chunks. polite: the stream ends there, but without `[DONE]`.
    hold: nothing more is sent and the connection stays open until the client closes it.
    pings: comments come meanwhile, as from a proxy that keeps the connection open.
    delay: seconds before it begins.
    raw: bytes that are sent instead of an HTTP answer; the connection is cut behind them, or held.
    """

    chunks: list[dict[str, Any] | str] = field(default_factory=list)
    body: dict[str, Any] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    polite: bool = False
    hold: bool = False
    pings: bool = False
    delay: float = 0.0
    raw: bytes | None = None


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    json: Any


class FakeServer:
    """`answers` go to chat completions in order; other endpoints answer from `models`, `text` and `count`."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.accepted = 0  # connections
        self.seen: list[Seen] = []
        self.models: list[dict[str, Any]] = [{"id": "m", "root": "m", "max_model_len": 16384}]
        self.text: str | None = None  # what /detokenize says; None answers 404
        self.count: int | None = 7  # what /tokenize says; None answers 404
        self.holding = asyncio.Event()
        self.client_closed = asyncio.Event()
        self.url = ""
        self.open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    @property
    def chats(self) -> list[dict[str, Any]]:
        return [seen.json for seen in self.seen if seen.path == CHAT]

    def answer(self, seen: Seen) -> Answer:
        match seen.path:
            case "/v1/models":
                return Answer(body={"data": self.models})
            case "/health":
                return Answer(body={})
            case "/version":
                return Answer(body={"version": "0.32.0"})
            case "/detokenize" if self.text is not None:
                return Answer(body={"prompt": self.text})
            case "/tokenize" if self.count is not None:
                return Answer(body={"count": self.count, "tokens": []})
            case path if path == CHAT and self.answers:
                return self.answers.pop(0)
        return Answer(body={"error": {"message": f"no answer to {seen.path}"}}, status=404)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open[asyncio.current_task()] = writer
        self.accepted += 1
        try:
            while (seen := await read_request(reader)) is not None:
                self.seen.append(seen)
                answer = self.answer(seen)
                await asyncio.sleep(answer.delay)
                await send(writer, answer)
                if answer.hold:
                    self.holding.set()
                    ping = asyncio.create_task(pinging(writer) if answer.pings else asyncio.sleep(0))
                    await reader.read()  # returns when the client closes
                    ping.cancel()
                    self.client_closed.set()
                if answer.hold or answer.drop or answer.raw is not None:
                    return
        except ConnectionError:
            self.client_closed.set()
        finally:
            writer.close()
            del self.open[asyncio.current_task()]


async def read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(head[0].split(" ")[1], headers, json.loads(body) if body else None)


async def send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    if answer.raw is not None:
        writer.write(answer.raw)
        await writer.drain()
        return
    body = b"" if answer.body is None else json.dumps(answer.body).encode()
    kind = "application/json" if answer.body is not None else "text/event-stream; charset=utf-8"
    length = f"Content-Length: {len(body)}" if answer.body is not None else "Transfer-Encoding: chunked"
    extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    writer.write(f"HTTP/1.1 {answer.status} X\r\nContent-Type: {kind}\r\n{length}\r\n{extra}\r\n".encode() + body)
    if answer.body is None:
        for chunk in answer.chunks:
            text = chunk if isinstance(chunk, str) else "data: " + json.dumps(chunk, ensure_ascii=False) + "\n\n"
            write_chunk(writer, text)
            await writer.drain()
        if not (answer.drop or answer.hold):
            write_chunk(writer, "" if answer.polite else "data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
    await writer.drain()


async def pinging(writer: asyncio.StreamWriter) -> None:
    while True:
        write_chunk(writer, ": ping\n\n")
        await asyncio.sleep(0.05)


def write_chunk(writer: asyncio.StreamWriter, text: str) -> None:
    if data := text.encode():
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


Server = TypeVar("Server", bound=FakeServer)


@asynccontextmanager
async def serving(fake: Server, port: int = 0) -> AsyncIterator[Server]:
    server = await asyncio.start_server(fake.handle, "127.0.0.1", port, reuse_address=True)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.open.values():
            writer.close()
        await asyncio.gather(*(task for task in fake.open if task))


def port_of(fake: FakeServer) -> int:
    return int(fake.url.removesuffix("/v1").rpartition(":")[2])


# --- pieces of streams -----------------------------------------------------------------------------


def delta(ids: list[int] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish, "token_ids": ids}]}


def call(index: int, call_id: str = "", name: str | None = None, arguments: str = "") -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, "function": function} | ({"id": call_id, "type": "function"} if call_id else {})


def usage(prompt: int = 10, completion: int = 5, **details: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [], "usage": counts | details}


def said(text: str, finish: str = "stop", **fields: Any) -> Answer:
    """A stream that says one text."""
    return Answer(
        [
            delta(role="assistant", content=""),
            delta([1, 2], content=text, **fields),
            delta(finish=finish),
            usage(),
        ]
    )
