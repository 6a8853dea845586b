"""What 256 runs at once cost us: runs a second and CPU a turn, beside bare httpx that sends the same requests.

    python -m benchmarks.many [--runs 256] [--rounds 3] [--json]

A process of its own plays the model server and answers at once, so what is measured is the client: encoding, the wire,
parsing, the loop, the tool, the scheduler. Each run takes four turns (a thinking one, three fast ones) and three calls
of a tool; each answer comes in 40 pieces.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from agent import VLLM, Agent, Exit, Journal, run_many

SHARED = 8  # connections of an httpx client, as our own have them
TURNS = 4
PIECES = 40
AT_ONCE = 128  # requests, for both


# --- the server, in a process of its own -------------------------------------------------------------


def _events(*deltas: dict[str, Any]) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": delta, "token_ids": [7]}]} for delta in deltas]
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": len(deltas)}}
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (*chunks, finish, usage))


def _answer(calls: int) -> bytes:
    if calls >= TURNS - 1:
        body = _events(*({"content": "word "} for _ in range(PIECES)))
    else:
        arguments = json.dumps({"a": calls, "b": 1})
        call = {
            "index": 0,
            "id": f"call{calls}",
            "type": "function",
            "function": {"name": "add", "arguments": arguments},
        }
        body = _events(*({"reasoning": "thought "} for _ in range(PIECES)), {"tool_calls": [call]})
    body += b"data: [DONE]\n\n"
    kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\n" + kind + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    answers = [_answer(calls) for calls in range(TURNS)]
    models = json.dumps({"data": [{"id": "m", "max_model_len": 32768}]}).encode()
    listed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(models),
        models,
    )
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            body = await reader.readexactly(int(size.partition(b":")[2]))
            calls = body.count(b'"role":"tool"')
            writer.write(answers[min(calls, TURNS - 1)] if b"/chat/" in head.split(b"\r\n")[0] else listed)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.many", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


# --- the two clients -----------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def agent_at(url: str, journal: Journal | None = None, record: Path | None = None) -> Agent:
    engine = VLLM(url, profile="exaone4", concurrency=AT_ONCE, probe=False, record=record)
    return Agent(engine=engine, tools=[add], sandbox=None, journal=journal)


async def fastslow(url: str, runs: int, journal: Journal | None = None) -> None:
    agent = agent_at(url, journal)
    async with aclosing(run_many(agent, (f"Task {n}" for n in range(runs)), concurrency=runs)) as ended:
        async for _, result in ended:
            assert result.exit is Exit.ANSWERED, result.reason
    await agent.aclose()


async def bare(url: str, runs: int, bodies: list[dict[str, Any]], shared: int) -> None:
    """The same requests in the same order, each answer read and its JSON parsed, and nothing else done.

    shared: connections of one httpx client; it pays for each pair of them.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    places, context = asyncio.Semaphore(AT_ONCE), httpx.create_ssl_context()
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(AT_ONCE // shared):
            client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=context)
            clients.append(await stack.enter_async_context(client))

        async def run(client: httpx.AsyncClient) -> None:
            for body in bodies:
                async with places, client.stream("POST", f"{url}/chat/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("data:") and line != "data: [DONE]":
                            json.loads(line[5:])

        await asyncio.gather(*(run(clients[n % len(clients)]) for n in range(runs)))


async def bodies_of_a_run(url: str, folder: Path) -> list[dict[str, Any]]:
    agent = agent_at(url, record=folder / "run.jsonl")
    await agent.run("Task 0")
    await agent.aclose()
    entries = [json.loads(line) for line in (folder / "run.jsonl").read_text("utf-8").splitlines()]
    bodies = [entry["request"] for entry in entries if entry["request"]]
    assert len(bodies) == TURNS
    return bodies


# --- measuring -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """runs: a second of wall clock. cpu: milliseconds a turn, of the client's process. times: CPU beside bare httpx."""

    name: str
    runs: float
    cpu: float
    times: float


async def measured(runs: int, rounds: int, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Runs a second and CPU milliseconds a turn, the median of the rounds; one before them does not count."""
    await work()
    speed, cpu = [], []
    for _ in range(rounds):
        wall, spent = time.perf_counter(), time.process_time()
        await work()
        speed.append(runs / (time.perf_counter() - wall))
        cpu.append((time.process_time() - spent) * 1000 / (runs * TURNS))
    return statistics.median(speed), statistics.median(cpu)


async def measure(runs: int, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, server() as url:
        bodies = await bodies_of_a_run(url, Path(folder))
        journal = Journal(Path(folder, "runs.db"))
        contenders: dict[str, Callable[[], Awaitable[None]]] = {
            "bare httpx": lambda: bare(url, runs, bodies, SHARED),
            "bare httpx, one client": lambda: bare(url, runs, bodies, AT_ONCE),
            "fastslow, no journal": lambda: fastslow(url, runs),
            "fastslow": lambda: fastslow(url, runs, journal),
        }
        results = {name: await measured(runs, rounds, work) for name, work in contenders.items()}
        journal.close()
    floor = results["bare httpx"][1]
    return [Row(name, speed, cpu, cpu / floor) for name, (speed, cpu) in results.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(_serve())
        return
    rows = asyncio.run(measure(asked.runs, asked.rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if asked.json:
        print(json.dumps({"runs": asked.runs, "turns": TURNS, "peak_mib": peak, "rows": [asdict(row) for row in rows]}))
        return
    print(f"{asked.runs} runs at once, {TURNS} turns each; {peak:.0f} MiB at the peak of the process")
    print(f"{'':24}{'runs/s':>8}{'CPU ms a turn':>16}{'times bare':>12}")
    for row in rows:
        print(f"{row.name:24}{row.runs:8.1f}{row.cpu:16.2f}{row.times:12.1f}")


if __name__ == "__main__":
    main()
