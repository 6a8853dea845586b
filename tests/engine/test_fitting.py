"""A history that does not fit, before a server that counts: `stream_fitting` over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from fake_server import CHAT, Answer, FakeServer, Seen, said, serving

from fastslow.agent.compaction import ShorterHistory, stream_fitting
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.transcript import Assistant, System, ToolCall, ToolResult, User

CONTEXT = 16_384


class CountingServer(FakeServer):
    """Counts a token for four characters, and refuses a prompt with more of them than `room`."""

    room = CONTEXT

    def answer(self, seen: Seen) -> Answer:
        if seen.path == "/tokenize":
            return Answer(body={"count": self._tokens(seen), "tokens": []})
        if seen.path == CHAT and self._tokens(seen) >= self.room:
            text = f"This model's maximum context length is {self.room} tokens. However, you requested more."
            return Answer(body={"error": {"message": text}}, status=400)
        return super().answer(seen)

    def _tokens(self, seen: Seen) -> int:
        return len(json.dumps(seen.json["messages"])) // 4


@pytest.fixture
async def server() -> AsyncIterator[CountingServer]:
    async with serving(CountingServer()) as server:
        server.models = [{"id": "m", "root": "m", "max_model_len": CONTEXT}]
        yield server


def request() -> Request:
    work = [
        message
        for n in range(40)
        for message in (
            Assistant("", (ToolCall(f"c{n}", "python", json.dumps({"code": f"load({n})"})),)),
            ToolResult(f"c{n}", "python", f"table {n}\n" + "row\n" * 1000),
        )
    ]
    return Request((System("You are terse."), User("Sum it up."), *work))


@pytest.mark.parametrize("room", [CONTEXT, 4000], ids=["as it says", "less than it says"])
async def test_a_server_gets_what_fits_and_each_prompt_is_counted_once(server: CountingServer, room: int) -> None:
    server.room = room
    server.answers = [said("It is 42.")]
    engine = VLLM(server.url, profile="qwen3", probe=False)
    await engine.connect()
    items = [item async for item in stream_fitting(engine, request())]
    await engine.aclose()
    shorter = [item for item in items if isinstance(item, ShorterHistory)]
    assert len(shorter) == (1 if room == CONTEXT else 2)
    assert isinstance(items[-1], Reply)
    assert items[-1].content == "It is 42."
    sent = server.chats[-1]["messages"]
    assert len(json.dumps(sent)) // 4 == shorter[-1].after < room
    assert [message["role"] for message in sent[:4]] == ["system", "user", "assistant", "tool"]
    counted = [json.dumps(seen.json["messages"]) for seen in server.seen if seen.path == "/tokenize"]
    assert json.dumps(sent) in counted
    assert len(counted) - len(set(counted)) == (0 if room == CONTEXT else 1), "again only what was refused"
