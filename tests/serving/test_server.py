"""The managed server: its file, its refusals, its deaths explained, and (marker `engine`) a real vLLM."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from tiny_models import write_tiny_exaone4

from fastslow.agent import managed_server
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.profiles import find_profile
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.errors import ConfigurationError, EngineDied, EngineError
from fastslow.agent.managed_server import ServerInfo, running_server, server_status, stop_server
from fastslow.agent.modes import Mode
from fastslow.agent.serving import start
from fastslow.agent.serving.catalog import ModelEntry, find_model, folder_entry
from fastslow.agent.serving.diagnose import explain_death
from fastslow.agent.serving.install import engine_folder
from fastslow.agent.serving.start import start_server
from fastslow.agent.surfaces.cli import serving
from fastslow.agent.transcript import User

EXAONE4 = replace(find_profile("exaone4"), chat_template="exaone4.jinja")
SMALL = find_model("smollm2-135m")
REAL_ENGINE = engine_folder()
HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def quiet(step: str, fraction: float | None) -> None:
    assert step
    assert fraction is None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (REAL_ENGINE / "bin" / "python").exists():
        pytest.skip("the engine is not installed; run: fastslow up")
    folder = tmp_path_factory.mktemp("models") / "exaone-4.0-tiny"
    write_tiny_exaone4(folder, REAL_ENGINE / "bin" / "python")
    return folder


@pytest.fixture
def tiny(home: Path, tiny_folder: Path) -> ModelEntry:
    """The tiny model, and the real engine environment seen from this test's own home."""
    engine_folder().symlink_to(REAL_ENGINE)
    return folder_entry(tiny_folder)


def recorded(process: subprocess.Popen[str], port: int = 9) -> ServerInfo:
    created = psutil.Process(process.pid).create_time()
    url = f"http://127.0.0.1:{port}/v1"
    written = ServerInfo(process.pid, created, url, "/models/m", "m", "instruct", (), "/log")
    managed_server.write_server_info(written)
    return written


@contextmanager
def child(*code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", *code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_file_means_no_server() -> None:
    assert running_server() is None
    assert server_status() == managed_server.ServerStatus()


def test_a_record_of_a_gone_process_is_removed(home: Path) -> None:
    with child("import time; time.sleep(600)") as process:
        recorded(process)
    assert server_status().server is None
    assert not (home / "state" / "server.json").exists()


def test_a_reused_pid_is_not_our_server() -> None:
    with child("import time; time.sleep(600)") as process:
        old = replace(recorded(process), started=1.0)
        managed_server.write_server_info(old)
        stop_server(old)
        assert process.poll() is None
        assert server_status().server is None


def test_a_torn_record_is_no_server(home: Path) -> None:
    (home / "state").mkdir(parents=True)
    (home / "state" / "server.json").write_text('{"pid": 1')
    assert running_server() is None


def test_a_server_runs_only_if_it_answers() -> None:
    port = free_port()
    with child(HEALTHY, str(port)) as process:
        written = recorded(process, port)
        for _ in range(100):
            if running_server():
                break
        status = server_status()
        assert status.healthy
        assert status.server == written
        assert status.memory > 1_000_000
        stop_server(written)
        assert process.poll() is not None
    assert running_server() is None


def test_a_silent_server_is_seen_but_does_not_count_as_running() -> None:
    with child("import time; time.sleep(600)") as process:
        written = recorded(process, free_port())
        assert server_status().server == written
        assert running_server() is None


def test_stopping_ends_all_processes_even_those_that_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_server, "STOP_LIMIT", 1.0)
    with child(STUBBORN) as process:
        assert process.stdout
        grandchild = psutil.Process(int(process.stdout.readline()))
        written = recorded(process)
        stop_server(written)
        assert not psutil.pid_exists(process.pid)
        assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
        stop_server(written)


async def test_a_taken_port_is_refused_and_its_holder_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .*pid {os.getpid()}"):
            await start_server(SMALL, EXAONE4, quiet, port=port)


async def test_too_little_memory_is_said_before_anything_starts() -> None:
    huge = replace(SMALL, memory=10**15)
    with pytest.raises(EngineError, match=r"needs .* GiB of free memory"):
        await start_server(huge, EXAONE4, quiet)


async def test_without_the_engine_nothing_starts() -> None:
    with pytest.raises(EngineError, match="fastslow up"):
        await start_server(SMALL, EXAONE4, quiet)


def test_the_server_gets_no_proxies_and_no_secrets_but_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    monkeypatch.setenv("HF_TOKEN", "secret")
    given = start._environment(start.this_machine(), "its key")
    assert {"HTTPS_PROXY", "HF_TOKEN"}.isdisjoint(given)
    assert (given["HF_HUB_OFFLINE"], given["VLLM_API_KEY"]) == ("1", "its key")


def test_the_key_is_for_its_owner_alone(home: Path) -> None:
    """Also where an older version left a record that all could read."""
    file = home / "state" / "server.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    file.chmod(0o644)
    with child("import time; time.sleep(600)") as process:
        server = replace(recorded(process), key="s3cret")
        managed_server.write_server_info(server)
        assert file.stat().st_mode & 0o777 == 0o600
        assert server_status().server == server
        assert managed_server.key_for(server.base_url) == "s3cret"
        assert managed_server.key_for("http://127.0.0.1:10/v1") == ""
        assert "s3cret" not in repr(server_status())
    assert managed_server.key_for(server.base_url) == "", "another program may have its port by now"


def test_the_key_of_an_older_version_s_server_is_none(home: Path) -> None:
    with child("import time; time.sleep(600)") as process:
        server = recorded(process)
        file = home / "state" / "server.json"
        told = json.loads(file.read_text())
        del told["key"]
        file.write_text(json.dumps(told))
        assert server_status().server == server


@pytest.mark.parametrize("as_json", [True, False])
def test_status_does_not_show_the_key(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with child("import time; time.sleep(600)") as process:
        managed_server.write_server_info(replace(recorded(process), key="s3cret"))
        serving.status(as_json=as_json)
    said = capsys.readouterr().out
    assert str(process.pid) in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/health", [], 200),
        ("/v1/models", [], 401),
        ("/invocations", [(b"authorization", b"Bearer wrong")], 401),
        ("/tokenize", [(b"authorization", b"Bearer s3cret"), (b"authorization", b"Bearer wrong")], 401),
        ("/health/../invocations", [], 401),
        ("/metrics", [(b"authorization", b"Bearer s3cret")], 200),
    ],
)
async def test_whoever_asks_must_know_the_key(
    monkeypatch: pytest.MonkeyPatch, path: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    monkeypatch.syspath_prepend(str(start.GUARD))
    guard = importlib.import_module("fastslow_guard")
    sent: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: Callable[[dict[str, object]], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await guard.Guard(app)({"type": "http", "path": path, "headers": headers}, None, send)
    assert sent[0]["status"] == status
    sent.clear()
    await guard.Guard(app)({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("status", "log", "words"),
    [
        (2, "api_server.py: error: unrecognized arguments: --nonsense", "flags"),
        (1, "OSError: [Errno 98] Address already in use", "port"),
        (1, "RuntimeError: operator torchvision::nms does not exist", "torchvision"),
        (1, "ValueError: No available memory for the cache blocks.", "key-value cache"),
        (1, "torch.OutOfMemoryError: CUDA out of memory.", "memory ran out"),
        (-9, "INFO loading", "killed"),
        (1, "safetensors_rust.SafetensorError: header too large", "damaged"),
        (1, "line one\nRuntimeError: a thing nobody saw before", "a thing nobody saw before"),
        (1, "", "does not say"),
    ],
)
def test_a_death_is_explained(status: int, log: str, words: str) -> None:
    text = explain_death(status, log, "/somewhere/server.log")
    assert words in text
    assert "/somewhere/server.log" in text


@pytest.mark.engine
async def test_a_server_that_dies_says_why(tiny: ModelEntry) -> None:
    with pytest.raises(EngineDied, match="does not know one of its flags") as caught:
        await start_server(tiny, EXAONE4, quiet, extra_flags=["--no-such-flag"])
    assert "--no-such-flag" in caught.value.log
    assert server_status().server is None


@pytest.mark.engine
async def test_a_cancelled_start_leaves_nothing(tiny: ModelEntry) -> None:
    spawned = asyncio.Event()
    starting = asyncio.create_task(start_server(tiny, EXAONE4, lambda step, fraction: spawned.set()))
    await spawned.wait()
    begun = server_status().server
    assert begun
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server_status().server is None
    assert not psutil.pid_exists(begun.pid)


@pytest.mark.engine
async def test_vllm_serves_and_switches_the_exaone_4_family(tiny: ModelEntry) -> None:
    steps: list[str] = []
    started = await start_server(tiny, EXAONE4, lambda step, fraction: steps.append(step))
    try:
        assert any(steps)
        assert await start_server(tiny, EXAONE4, quiet) == started
        assert server_status().healthy
        await check_it_answers_to_its_key_alone(started)
        headers = {"Authorization": f"Bearer {started.key}"}
        async with httpx.AsyncClient(base_url=started.base_url, headers=headers, timeout=120) as client:
            fast, slow = await asyncio.gather(prompt_ids(client, False), prompt_ids(client, True))
            open_tag, close_tag = await one_token(client, "<think>"), await one_token(client, "</think>")
            assert slow[-2] == open_tag
            assert fast[: len(slow)] == slow
            assert fast.count(close_tag) == 1
            assert close_tag not in slow
            await check_forced_call(client)
        server = psutil.Process(started.pid)
        family = server.children(recursive=True)
        assert family
        server.kill()
        server.wait(10)
        assert running_server() is None, "what a killed server left behind ends when its file is found stale"
        assert managed_server._wait(family) == []
    finally:
        stop_server(started)
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(started.pid)


@pytest.mark.engine
async def test_a_turn_goes_on_where_vllm_was_started_again(tiny: ModelEntry) -> None:
    first = await start_server(tiny, EXAONE4, quiet)
    engine, begun, again = VLLM(profile=EXAONE4, probe=False), asyncio.Event(), asyncio.Event()

    async def turns() -> list[Reply]:
        """One after the other, as each is of random length (the weights are): one is under way at any time."""
        replies: list[Reply] = []
        while not again.is_set():
            async for item in engine.stream(Request((User("Hi"),), mode=Mode(200), answer_tokens=1500)):
                begun.set()
                if isinstance(item, Reply):
                    replies.append(item)
        return replies

    try:
        callers = [asyncio.create_task(turns()) for _ in range(6)]
        await asyncio.wait_for(begun.wait(), 60)
        os.killpg(first.pid, signal.SIGKILL)
        await start_server(tiny, EXAONE4, quiet)
        again.set()
        replies = [reply for made in await asyncio.wait_for(asyncio.gather(*callers), 120) for reply in made]
        assert any("the run goes on there" in note for reply in replies for note in reply.notes), replies
    finally:
        await engine.aclose()
        if last := server_status().server:
            stop_server(last)


async def check_it_answers_to_its_key_alone(server: ServerInfo) -> None:
    """Every path that vLLM has, but for its health."""
    root = server.base_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=root, trust_env=False, timeout=120) as client:
        own = {"Authorization": f"Bearer {server.key}"}
        described = (await client.get("/openapi.json", headers=own)).raise_for_status().json()
        assert {"/invocations", "/tokenize", "/v1/chat/completions"} <= set(described["paths"])
        tried = [(method, path) for path, told in described["paths"].items() for method in told]
        got = {path: (await client.request(method, path, json={})).status_code for method, path in tried}
        assert {path for path, status in got.items() if status != 401} == {"/health"}
        wrong = {"Authorization": "Bearer " + "x" * len(server.key)}
        assert (await client.get("/v1/models", headers=wrong)).status_code == 401
    shown = " ".join(psutil.Process(server.pid).cmdline()) + managed_server.log_tail(server, 10_000)
    assert server.key not in shown
    assert len(server.key) > 30


async def prompt_ids(client: httpx.AsyncClient, thinking: bool) -> list[int]:
    body = {
        "model": "exaone-4.0-tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "chat_template_kwargs": {"enable_thinking": thinking},
    }
    answer = await client.post("http://" + client.base_url.netloc.decode() + "/tokenize", json=body)
    ids: list[int] = answer.raise_for_status().json()["tokens"]
    return ids


async def one_token(client: httpx.AsyncClient, text: str) -> int:
    body = {"model": "exaone-4.0-tiny", "prompt": text, "add_special_tokens": False}
    answer = await client.post("http://" + client.base_url.netloc.decode() + "/tokenize", json=body)
    (token,) = answer.raise_for_status().json()["tokens"]
    return int(token)


async def check_forced_call(client: httpx.AsyncClient) -> None:
    """Weights are random, so only the grammar can have made this call valid.

    Sampled, not greedy: between JSON tokens the tool grammar allows any amount of white space, and the
    likeliest token of random weights is the same for ever.
    """
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Seoul", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "weather", "description": "d", "parameters": parameters, "strict": True}
    answer = await client.post(
        "/chat/completions",
        json={
            "model": "exaone-4.0-tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "chat_template_kwargs": {"enable_thinking": False},
            "max_tokens": 200,
            "temperature": 1,
            "seed": 0,
        },
    )
    (call,) = answer.raise_for_status().json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert httpx.Response(200, content=call["function"]["arguments"]).json()["city"] in ("Seoul", "Paris")
