"""The probe against servers that are set up wrongly, and what it keeps on disk."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import CHAT, Answer, FakeServer, Seen, call, delta, serving, usage

from fastslow.agent.engine import probe as probe_module
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.probe import UNKNOWN, Finding
from fastslow.agent.surfaces.cli.doctor import _probe_server

NAMES = [
    "context",
    "switch",
    "prefix",
    "tools",
    "calls",
    "fast answer",
    "thoughts",
    "budget",
    "strict calls",
    "constraints",
    "cache",
]


class ProbedServer(FakeServer):
    """Answers a probe as a vLLM server does whose flags are right, but for the `faults` named."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: set[str] = set()
        self.started = 1.0
        self.count = None

    def answer(self, seen: Seen) -> Answer:
        match seen.path:
            case "/metrics" if "metrics" not in self.faults:
                return Answer([f"process_start_time_seconds {self.started}\n"])
            case "/tokenize" if "tokenize" not in self.faults:
                return Answer(body=self.tokens(seen.json))
            case path if path == CHAT:
                return self.chat(seen.json)
        return super().answer(seen)

    def tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        if "prompt" in body:
            return {"count": 1, "tokens": [77]}
        thinks = body["chat_template_kwargs"]["enable_thinking"] and "switch" not in self.faults
        head = [9 if thinks and "prefix" in self.faults else 8]
        tools = [3] * 40 if "tools" in body and "tools" not in self.faults else []
        ids = [*head, *tools, *[1] * 50, *([4] if thinks else [4, 5])]
        return {"count": len(ids), "tokens": ids}

    def chat(self, body: dict[str, Any]) -> Answer:
        details = {} if "cache" in self.faults else {"prompt_tokens_details": {"cached_tokens": 128}}
        if "calls" in self.faults and body["tool_choice"] != "none":
            return Answer(body={"error": {"message": '"auto" requires --enable-auto-tool-choice'}}, status=400)
        if "thinking_token_budget" in body and "reasoning" in self.faults:
            return Answer(
                body={"error": {"message": "thinking_token_budget is set but reasoning_config is null"}},
                status=400,
            )
        if isinstance(body["tool_choice"], dict):
            level = '"purple"' if "strict" in self.faults else '{"level": "low", "count": 1}'
            return Answer(
                [
                    delta(tool_calls=[call(0, "a", name="report", arguments=level)]),
                    delta(finish="stop"),
                    usage(**details),
                ]
            )
        if "structured_outputs" in body:
            text = "Well" if "constraints" in self.faults else body["structured_outputs"]["choice"][1]
            return Answer([delta(content=text), delta(finish="stop"), usage(**details)])
        if body["chat_template_kwargs"]["enable_thinking"]:
            thoughts = [delta([1], reasoning="hm ")] * (24 if "budget" in self.faults else 8)
            if "reasoning" in self.faults:
                return Answer([delta([1], content="hm </think> 1"), delta(finish="stop"), usage(**details)])
            return Answer([*thoughts, delta([2], content="1"), delta(finish="stop"), usage(**details)])
        field = "reasoning" if "fast" in self.faults else "content"
        return Answer([delta([1], **{field: "1"}), delta(finish="stop"), usage(**details)])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(probe_module, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "fastslow" / "probe"


@pytest.fixture
async def fake() -> AsyncIterator[ProbedServer]:
    async with serving(ProbedServer()) as server:
        yield server


def overwrite(cache: Path, text: str) -> None:
    for path in cache.iterdir():
        path.write_text(text)


async def findings(fake: ProbedServer) -> dict[str, Finding]:
    engine = VLLM(fake.url, profile="exaone4")
    await engine.connect()
    await engine.aclose()
    return {finding.name: finding for finding in engine.findings}


async def test_a_right_server(fake: ProbedServer) -> None:
    found = await findings(fake)
    assert list(found) == NAMES
    assert [f for f in found.values() if not f.ok] == []
    assert not any(f.remedy for f in found.values())


@pytest.mark.parametrize(
    ("fault", "wrong", "remedy"),
    [
        ("switch", {"switch"}, "chat template"),
        ("prefix", {"prefix"}, "chat template"),
        ("tools", {"tools"}, "chat template"),
        ("tokenize", {"switch"}, "/tokenize"),
        ("calls", {"calls", "strict calls"}, "--enable-auto-tool-choice --tool-call-parser hermes"),
        ("fast", {"fast answer"}, "--reasoning-parser qwen3"),
        ("reasoning", {"thoughts", "budget"}, "--reasoning-parser qwen3"),
        ("budget", {"budget"}, "--reasoning-parser qwen3"),
        ("strict", {"strict calls"}, "--tool-strict-level parameter"),
        ("constraints", {"constraints"}, "structured_outputs"),
        ("cache", {"cache"}, "--enable-prompt-tokens-details"),
    ],
)
async def test_a_wrong_server(fake: ProbedServer, fault: str, wrong: set[str], remedy: str) -> None:
    fake.faults = {fault}
    found = await findings(fake)
    assert {f.name for f in found.values() if not f.ok} == wrong
    assert all(remedy in f.remedy for f in found.values() if not f.ok)


async def test_short_context(fake: ProbedServer) -> None:
    fake.models = [{"id": "m", "max_model_len": 2048}]
    found = await findings(fake)
    assert "--max-model-len" in found["context"].remedy


async def test_findings_become_notices_and_an_unknown_budget_is_not_sent(fake: ProbedServer) -> None:
    fake.faults = {"reasoning"}
    engine = VLLM(fake.url, profile="exaone4")
    notices = await engine.connect()
    await engine.aclose()
    assert [text.split(":")[0] for text in notices] == ["thoughts", "budget"]


async def test_findings_are_kept_until_the_server_restarts(fake: ProbedServer, cache: Path) -> None:
    first = await findings(fake)
    asked = len(fake.chats)
    assert await findings(fake) == first
    assert len(fake.chats) == asked
    fake.started = 2.0
    await findings(fake)
    assert len(fake.chats) == 2 * asked
    assert len(os.listdir(cache)) == 2


async def test_damaged_findings_are_probe_server_anew(fake: ProbedServer, cache: Path) -> None:
    first = await findings(fake)
    for text in ("{", "[1]", json.dumps([{"name": "switch"}])):
        overwrite(cache, text)
        assert await findings(fake) == first


async def test_cache_folder_that_cannot_be_made(fake: ProbedServer, cache: Path) -> None:
    cache.parent.write_text("a file stands here")
    assert (await findings(fake))["switch"].ok


async def test_a_server_that_does_not_say_what_it_is_gets_no_trials(cache: Path) -> None:
    """It may answer from a script, or count what it is asked."""
    async with serving(FakeServer()) as unknown:
        engine = VLLM(unknown.url, profile="exaone4")
        (notice,) = await engine.connect()
        assert notice.startswith("server: it does not say that it is vLLM, so nothing was tried on it.")
        assert not unknown.chats
        await engine.aclose()


async def test_the_doctor_tries_such_a_server_all_the_same(fake: ProbedServer) -> None:
    fake.faults = {"metrics"}
    assert [*await findings(fake)] == ["server"]
    assert not fake.chats
    _, found = await _probe_server(fake.url)
    assert fake.chats
    assert {"switch", "cache"} <= {finding.name for finding in found}
    assert UNKNOWN not in found


async def test_probing_anew_on_demand(fake: ProbedServer) -> None:
    fake.faults = {"cache"}
    assert not (await findings(fake))["cache"].ok
    fake.faults = set()
    engine = VLLM(fake.url, profile="exaone4")
    assert all(finding.ok for finding in await engine.probe())
    await engine.aclose()
