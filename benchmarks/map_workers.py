"""`fastslow map` in one process, in several, and on a Ray cluster of this machine, beside a server that answers late.

    python -m benchmarks.map_workers --rows 8000 --ways 1 2 ray

A way is a number of workers, or `ray`. The server is one process that only parses heads and sends bytes. Rows a second
are counted from the first line out to the last but some, so without the start; processor time is with it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SCHEMA = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"], "additionalProperties": False}
OTHERS = {
    "/v1/models": {"data": [{"id": "m", "root": "m", "max_model_len": 16384}]},
    "/health": {},
    "/version": {"version": "0.32.0"},
}


def _answer() -> bytes:
    def choice(finish: str | None, **delta: str) -> dict[str, object]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "token_ids": None}]}

    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}
    said = [choice(None, role="assistant", content=""), choice(None, content='{"n": "x"}'), choice("stop"), usage]
    texts = [f"data: {text}\n\n".encode() for text in [*map(json.dumps, said), "[DONE]"]]
    body = b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in [*texts, b""])
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def _plain(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def _serve(delay: float) -> None:
    answer, others = _answer(), {path: _plain(value) for path, value in OTHERS.items()}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, found, rest = head.partition(b"content-length:")
                await reader.readexactly(int(rest.split(b"\r")[0]) if found else 0)
                path = head.split(b" ", 2)[1].decode()
                if path == "/v1/chat/completions":
                    await asyncio.sleep(delay)
                writer.write(answer if path == "/v1/chat/completions" else others.get(path, _plain({})))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.Event().wait()


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _measure(way: str, rows: int, at_once: int, url: str, folder: Path) -> str:
    with (folder / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "n"], *([number, f"v{number}"] for number in range(rows))])
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    out = folder / "out.jsonl"
    command = [sys.executable, "-m", "fastslow.agent.surfaces.cli.main", "map", "Repeat {n}", "--id", "id"]
    command += ["--input", str(folder / "in.csv"), "--schema", str(folder / "schema.json"), "--out", str(out)]
    command += ["--base-url", url, "--at-once", str(at_once)]
    command += ["--ray", "local"] if way == "ray" else ["--workers", way]
    environment = {**os.environ, "FASTSLOW_HOME": str(folder / "home")}
    load, began = os.getloadavg()[0], time.monotonic()
    running = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spent: dict[int, float] = {}
    memory, seen = 0, list[tuple[float, int]]()
    while running.poll() is None:
        try:
            memory = max(memory, running.memory_info().rss)
            spent |= {each.pid: _seconds(each) for each in [running, *running.children(recursive=True)]}
        except psutil.Error:
            continue  # one that just ended
        lines = out.read_bytes().count(b"\n") if out.exists() else 0
        if 0 < lines < rows:
            seen.append((time.monotonic(), lines))
        time.sleep(0.2)
    whole = time.monotonic() - began
    rate = (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]) if len(seen) > 2 else rows / whole
    own = spent.pop(running.pid, 0.0)
    return (
        f"{way:>3}: status {running.returncode}, {whole:.1f} s, {rate:.0f} rows/s; ms of a core a row: coordinator "
        f"{own / rows * 1e3:.2f}, others {sum(spent.values()) / rows * 1e3:.2f}; coordinator {memory / 1e6:.0f} MB; "
        f"load before {load:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--ways", nargs="+", default=["1", "2"])
    parser.add_argument("--serve", action="store_true", help="be the server")
    given = parser.parse_args()
    if given.serve:
        return asyncio.run(_serve(given.delay))
    for way in given.ways:
        serve = [sys.executable, "-m", "benchmarks.map_workers", "--serve", "--delay", str(given.delay)]
        server = psutil.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().strip()
            with tempfile.TemporaryDirectory() as folder:
                print(_measure(way, given.rows, given.at_once, url, Path(folder)), flush=True)
            print(f"     server: {_seconds(server) / given.rows * 1e3:.2f} ms of a core a row", flush=True)
        finally:
            server.kill()
            server.communicate()
    return None


if __name__ == "__main__":
    main()
