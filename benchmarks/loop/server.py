"""The model's server, in a process of its own: it answers at once, from a script, and notes when.

    python server.py            prints its port

A task that says `case-NAME takes N turns` gets N answers of a text and one call of a tool, then a text. Asked for a
stream, it sends 32 events of one token each, all at once. `GET /log` tells of each case when each request was whole,
when its answer was written (`time.perf_counter()`, one clock for all processes) and its bytes, then forgets all.
Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from eight import call_of_turn

CASE = re.compile(rb"case-([\w.]+) takes (\d+) turns")
STREAM = re.compile(rb'"stream":\s*true')
TOKENS = re.compile(rb'"return_token_ids":\s*true')
SIZE = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
FINAL = "All done: every tool was asked, and every answer was read."
USAGE = {"prompt_tokens": 900, "completion_tokens": 32, "total_tokens": 932}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 262144}]}


def _head(choices: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": choices}


def _call(turn: int, last: bool, ends_with_tool: bool) -> tuple[str, dict[str, Any] | None]:
    """What the model says in a turn: a text, and a call unless that ends it."""
    if last and not ends_with_tool:
        return FINAL, None
    name, arguments = ("final_answer", {"answer": FINAL}) if last else call_of_turn(turn)
    function = {"name": name, "arguments": json.dumps(arguments)}
    text = f"I need to know more about this before I can answer, so in turn {turn} I ask the tool {name}."
    return text, {"id": f"call-{turn}", "type": "function", "function": function}


def _pieces(text: str, count: int) -> Iterable[str]:
    step = -(-len(text) // count)
    return (text[at : at + step] for at in range(0, len(text), step))


def _events(text: str, call: dict[str, Any] | None, told: bool) -> Iterable[dict[str, Any]]:
    ids = {"token_ids": [7]} if told else {}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(text, 22)]
    if call:
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": 0, "id": call["id"], "type": "function", "function": function}]})
        for piece in _pieces(call["function"]["arguments"], 9):
            deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    for delta in deltas:
        yield _head([{"index": 0, "delta": delta, "finish_reason": None, **ids}], "chat.completion.chunk")
    finish = "tool_calls" if call else "stop"
    yield _head([{"index": 0, "delta": {}, "finish_reason": finish}], "chat.completion.chunk")
    yield {**_head([], "chat.completion.chunk"), "usage": USAGE}


@cache
def answer(turn: int, last: bool, ends_with_tool: bool, streams: bool, told: bool) -> bytes:
    """An answer as it goes over the wire."""
    text, call = _call(turn, last, ends_with_tool)
    if streams:
        body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in _events(text, call, told))
        body += b"data: [DONE]\n\n"
        kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\n" + kind + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if call:
        message["tool_calls"] = [call]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
    return whole({**_head([choice], "chat.completion"), "usage": USAGE})


def whole(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Server(asyncio.Protocol):
    """One connection. log: of all of them."""

    log: dict[str, list[tuple[float, float, int]]] = {}  # noqa: RUF012 - shared on purpose

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
            arrived = time.perf_counter()
            path, body = bytes(self._read[:end]).split(b" ", 2)[1], bytes(self._read[end + 4 : length])
            del self._read[:length]
            self._answer(path, body, arrived)

    def _answer(self, path: bytes, body: bytes, arrived: float) -> None:
        case = CASE.search(body)
        if path.endswith(b"/log"):
            self._transport.write(whole(self.log))
            self.log.clear()
        elif case is None:
            self._transport.write(whole(MODELS))
        else:
            said = self.log.setdefault(case[1].decode(), [])
            turn, last = len(said), len(said) >= int(case[2])
            streams, told = STREAM.search(body) is not None, TOKENS.search(body) is not None
            # smolagents ends with a call of its own tool.
            self._transport.write(answer(turn, last, last and b'"final_answer"' in body, streams, told))
            said.append((arrived, time.perf_counter(), len(body)))


async def _serve() -> None:
    for turn in range(101):
        for told in (False, True):
            answer(turn, False, False, True, told)
        answer(turn, False, False, False, False)
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
