"""The model's server, in a process of its own: it answers each row in the same way, and counts.

    python server.py [DELAY]            prints its port

The answer obeys contenders/table.py's schema. Asked for a stream, it sends 14 events of one token each and a count,
all at once. DELAY: seconds before an answer. `GET /log` tells how often rows were asked about, when (`time.monotonic`,
one clock for all processes), and the CPU that the server took; `GET /reset` forgets all. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

ROW = re.compile(rb"ticket (\d{6})")
STREAM = re.compile(rb'"stream":\s*true')
TOKENS = re.compile(rb'"return_token_ids":\s*true')
SIZE = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
ANSWER = json.dumps({"urgency": "today", "why": "the customer cannot go on until then"})
PIECE = 5  # characters of a token
TOKENS_OUT = -(-len(ANSWER) // PIECE)
USAGE = {"prompt_tokens": 180, "completion_tokens": TOKENS_OUT, "total_tokens": 180 + TOKENS_OUT}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 16384}]}


def _head(choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": choices}


def _events(told: bool) -> Iterable[dict[str, Any]]:
    ids = {"token_ids": [7]} if told else {}
    deltas = [{"content": ANSWER[at : at + PIECE]} for at in range(0, len(ANSWER), PIECE)]
    deltas[0]["role"] = "assistant"
    for delta in deltas[:-1]:
        yield _head([{"index": 0, "delta": delta, "finish_reason": None, **ids}], "chat.completion.chunk")
    yield _head([{"index": 0, "delta": deltas[-1], "finish_reason": "stop", **ids}], "chat.completion.chunk")
    yield {**_head([], "chat.completion.chunk"), "usage": USAGE}


def whole(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def streamed(told: bool) -> bytes:
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in _events(told)).encode() + b"data: [DONE]\n\n"
    kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\n" + kind + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


CHOICE = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
WHOLE = whole({**_head([CHOICE], "chat.completion"), "usage": USAGE})
STREAMED = {told: streamed(told) for told in (False, True)}
NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Log:
    """What was asked since the last reset."""

    def __init__(self) -> None:
        self.rows: Counter[bytes] = Counter()
        self.first = self.last = 0.0  # when the first request was whole, and the last answer was written
        self.cpu = time.process_time()

    def told(self) -> dict[str, float]:
        return {
            "asked": self.rows.total(),
            "rows": len(self.rows),
            "twice": sum(count > 1 for count in self.rows.values()),
            "first": self.first,
            "last": self.last,
            "cpu": time.process_time() - self.cpu,
        }


class Server(asyncio.Protocol):
    """One connection. log: of all of them. delay: seconds before an answer."""

    log = Log()
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = bytearray()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            size = SIZE.search(self._read, 0, end)
            length = end + 4 + (int(size[1]) if size else 0)
            if len(self._read) < length:
                return
            path, body = bytes(self._read[:end]).split(b" ", 2)[1], bytes(self._read[end + 4 : length])
            del self._read[:length]
            self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        row = ROW.search(body)
        if path.endswith(b"/chat/completions") and row:
            self._answer_row(row[1], STREAMED[TOKENS.search(body) is not None] if STREAM.search(body) else WHOLE)
        elif path == b"/log":
            self._transport.write(whole(Server.log.told()))
        elif path == b"/reset":
            Server.log = Log()
            self._transport.write(whole({}))
        else:
            self._transport.write(whole(MODELS) if path.endswith(b"/models") else NOTHING)

    def _answer_row(self, row: bytes, answer: bytes) -> None:
        Server.log.first = Server.log.first or time.monotonic()
        Server.log.rows[row] += 1
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        self._transport.write(answer)  # nothing happens where the other side is gone
        Server.log.last = time.monotonic()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Server.delay = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    asyncio.run(_serve())
