"""One turn of a client against a fake server."""

from __future__ import annotations

from fake_server import Answer, FakeServer

from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.transcript import User
from fastslow.tools import Tool

ASK = User("What is the weather in Seoul?")


def weather(city: str, unit: str | None = None) -> str:
    return f"{city}: 20 {unit}"


WEATHER = Tool.from_schema(
    "weather",
    "Tell the weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": ["string", "null"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    weather,
)
CODE = {
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
}
PYTHON = Tool.from_schema("python", "Run code.", CODE, lambda code: code)


async def ask(
    fake: FakeServer,
    *answers: Answer,
    profile: str = "exaone4",
    request: Request | None = None,
    **settings: int,
) -> tuple[Reply, list[Delta]]:
    """One turn against the given answers."""
    fake.answers = list(answers)
    engine = VLLM(fake.url, profile=profile, probe=False, **settings)
    try:
        *deltas, reply = [item async for item in engine.stream(request or Request((ASK,), (WEATHER,)))]
    finally:
        await engine.aclose()
    assert isinstance(reply, Reply)
    assert all(isinstance(item, Delta) for item in deltas)
    return reply, [item for item in deltas if isinstance(item, Delta)]
