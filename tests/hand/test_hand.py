"""Replies that were written by hand, as a strong model would: what the product makes of them, and what it asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, CallFinished, DockerSandbox, Event, RunFinished, StepFinished, TurnStarted
from fastslow.agent.engine.client import VLLM
from tests.engine.fake_server import Answer, FakeServer, call, delta, serving, usage

pytestmark = pytest.mark.docker
HERE = Path(__file__).parent
MODELS = ("Qwen/Qwen3-32B", "LGAI-EXAONE/EXAONE-4.0-32B")
TEST = "python3 -m unittest -v test_calc"
FILES = {
    "calc.py": '''"""A small calculator."""


def mean(values):
    """The mean of some numbers; 0 of none."""
    if not values:
        return 0
    return sum(values) // len(values)
''',
    "test_calc.py": """import unittest

from calc import mean


class TestCalc(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 2]), 1.5)

    def test_mean_of_none(self):
        self.assertEqual(mean([]), 0)
""",
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer(number: int, reply: dict[str, Any]) -> Answer:
    """A reply as vLLM streams it."""
    calls = [
        call(n, f"call-{number}-{n}", one["name"], json.dumps(one["arguments"]))
        for n, one in enumerate(reply.get("tool_calls", ()))
    ]
    said = {key: reply[key] for key in ("reasoning", "content") if key in reply}
    return Answer([delta(**said), delta(tool_calls=calls), delta(finish="tool_calls" if calls else "stop"), usage()])


async def play(name: str, model: str, folder: Path) -> tuple[list[Event], list[dict[str, Any]], dict[str, Any]]:
    """Events of a run, the requests that it sent, and what was recorded."""
    recorded = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    for path, text in FILES.items():
        (folder / path).write_text(text, "utf-8")
    async with serving(FakeServer()) as server:
        server.models = [{"id": model, "root": model, "max_model_len": 40960}]
        server.answers = [answer(n, reply) for n, reply in enumerate(recorded["replies"])]
        agent = Agent(engine=VLLM(server.url, probe=False), sandbox=DockerSandbox(), journal=None)
        files, out = [folder / path for path in FILES], folder / "out"
        try:
            events = [event async for event in agent.stream(recorded["task"], files=files, out=out)]
        finally:
            await agent.aclose()
        assert not server.answers
    return events, server.chats, recorded


def prefixes(chats: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Of each prompt: its characters, and how many of them a prompt before it begins with."""
    prompts = [json.dumps([chat["tools"], *chat["messages"]], ensure_ascii=False) for chat in chats]
    for n, prompt in enumerate(prompts):
        yield len(prompt), max((_shared(prompt, before) for before in prompts[:n]), default=0)


def _shared(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def check(events: list[Event], chats: list[dict[str, Any]], recorded: dict[str, Any]) -> None:
    """What holds for every run that went well."""
    assert isinstance(events[-1], RunFinished)
    ended = events[-1].result
    assert ended.exit == "answered"
    assert ended.answer == recorded["replies"][-1]["content"]
    calls = [event for event in events if isinstance(event, CallFinished)]
    assert [event.status for event in calls] == ["ok"] * len(calls)
    assert not any("same result before" in event.content for event in calls)
    asked = {
        one["id"]: one for chat in chats for message in chat["messages"] for one in message.get("tool_calls") or ()
    }
    tests = [one["function"]["arguments"] for one in asked.values() if TEST in one["function"]["arguments"]]
    assert len(tests) == 2
    assert tests[0] == tests[1]
    turns = [event for event in events if isinstance(event, TurnStarted)]
    assert [turn.kind for turn in turns] == recorded["kinds"]
    assert [turn.mode.budget for turn in turns] == recorded["budgets"]
    assert [chat["chat_template_kwargs"]["enable_thinking"] for chat in chats] == [turn.mode.thinks for turn in turns]
    assert next(path for path in ended.files if path.name == "calc.py").read_text("utf-8") == FILES["calc.py"].replace(
        "//", "/"
    )


async def test_mends_a_bug_and_runs_the_same_test_again(model: str, tmp_path: Path) -> None:
    events, chats, recorded = await play("fix", model, tmp_path)
    check(events, chats, recorded)
    for before, chat in pairwise(chats):
        assert chat["messages"][: len(before["messages"])] == before["messages"]
    assert "FAILED (failures=1)\nExit code 1." in chats[1]["messages"][-1]["content"]
    assert chats[2]["messages"][-1]["content"] == "Exit code 1."  # grep without a match
    assert chats[4]["messages"][-1]["content"].endswith("OK")


async def test_a_plan_goes_on_in_what_its_steps_have_read(model: str, tmp_path: Path) -> None:
    events, chats, recorded = await play("plan", model, tmp_path)
    check(events, chats, recorded)
    assert [event.ok for event in events if isinstance(event, StepFinished)] == [True] * 3
    for before, chat in pairwise(chats[:-1]):
        *kept, last = before["messages"]
        assert chat["messages"][: len(kept)] == kept
        assert chat["messages"][len(kept)]["content"].startswith(last["content"])
    mending = "\n".join(message.get("content") or "" for message in chats[4]["messages"])
    assert "AssertionError: 1 != 1.5" in mending  # what the step before it saw
    assert "return sum(values) // len(values)" in mending
    assert "Do step 2 of 3 now" in chats[4]["messages"][-1]["content"]
    assert chats[-1]["messages"][:3] == chats[0]["messages"] + [
        chats[1]["messages"][2]
    ]  # the trunk knows results alone
    sizes = list(prefixes(chats))
    shares = [shared / size for size, shared in sizes[1:]]
    assert min(shares) > 0.75, shares
    assert sum(shared for _, shared in sizes[1:]) > 0.85 * sum(size for size, _ in sizes[1:]), sizes
    assert max(size for size, _ in sizes) < 2.5 * sizes[0][0]
