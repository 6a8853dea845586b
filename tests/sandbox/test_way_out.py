"""The whole way out: the guest's forwarder in a process of its own, and code in a container."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import io
import os
import socket
import struct
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echoing import echo

from fastslow.sandbox import DockerSandbox, Egress, Limits, Network
from fastslow.sandbox.egress import STREAMS, EgressProxy
from fastslow.sandbox.wire import FrameStream, GuestGone

LARGE = 50_000_000
GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
FORWARD = """
import os, selectors, socket, sys
sys.path.insert(0, sys.argv[1])
import egress, frames
host = socket.socket(fileno=int(sys.argv[2]))
selector = selectors.DefaultSelector()
def send(header, body=b""):
    try:
        host.sendall(frames.encode(header, body))
    except OSError:
        os._exit(0)  # as `Host.leave`
forwarder = egress.Forwarder(selector, send, port=0)
selector.register(host, selectors.EVENT_READ, "host")
print(forwarder.listener.getsockname()[1], flush=True)
cut = frames.Frames()
while True:
    for key, mask in selector.select():
        if selector.get_map().get(key.fd) is not key:
            continue
        if key.data == "host":
            try:
                data = host.recv(1 << 20)
            except ConnectionResetError:  # the host left something unread
                data = b""
            if not data:
                os._exit(0)
            for frame in cut.feed(data):
                forwarder.feed(*frame)
        else:
            forwarder.ready(key, mask)
"""


@pytest.fixture
async def forwarder() -> AsyncIterator[Callable[..., Awaitable[tuple[int, EgressProxy, list[Egress]]]]]:
    """Starts the guest's forwarder and a proxy behind it: the port, the proxy, and what it reports."""
    ended: list[Callable[[], Awaitable[None]]] = []

    async def start(*allow: str) -> tuple[int, EgressProxy, list[Egress]]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", FORWARD, str(GUEST), str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdout=asyncio.subprocess.PIPE,
            )
        stream = FrameStream(*await asyncio.open_unix_connection(sock=ours, limit=1 << 20))
        records: list[Egress] = []
        proxy = EgressProxy(Network(allow), stream.send, records.append)

        async def listen() -> None:
            with contextlib.suppress(GuestGone):
                while frame := await stream.receive():
                    proxy.feed(frame.header, frame.body)

        listening = asyncio.create_task(listen())

        async def end() -> None:
            await proxy.aclose()
            stream.close()
            await listening
            assert await asyncio.wait_for(process.wait(), 5) == 0

        ended.append(end)
        assert process.stdout is not None
        return int(await process.stdout.readline()), proxy, records

    yield start
    for end in ended:
        await end()


async def becomes_true(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        await asyncio.sleep(0.01)
    assert happened()


async def tunnel(port: int, place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    return reader, writer


async def test_megabytes_both_ways_at_once(listen: Any, forwarder: Any) -> None:
    place = await listen(echo)
    port, _, records = await forwarder(place)
    reader, writer = await tunnel(port, place)
    data = os.urandom(1 << 20) * 20

    async def upload() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    uploading = asyncio.create_task(upload())
    got = await asyncio.wait_for(reader.read(), 20)
    await uploading
    assert got == data + b"end"
    writer.close()
    assert [(record.sent > len(data), record.received > len(data), record.reason) for record in records] == [
        (True, True, "")
    ]


async def test_one_stalled_connection_does_not_hold_up_the_others(listen: Any, forwarder: Any) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    flooding, echoing = await listen(flood), await listen(echo)
    port, _, _ = await forwarder(flooding, echoing)
    stalled = [(await tunnel(port, flooding))[1] for _ in range(10)]
    for _ in range(20):
        reader, writer = await tunnel(port, echoing)
        writer.write(b"hi")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"hi"
        writer.close()
    for writer in stalled:
        writer.transport.abort()


async def test_more_connections_than_streams_take_turns(listen: Any, forwarder: Any) -> None:
    place = await listen(echo)
    port, proxy, records = await forwarder(place)

    async def once() -> bytes:
        reader, writer = await tunnel(port, place)
        writer.write(b"x" * 10_000)
        writer.write_eof()
        got = await reader.read()
        writer.close()
        return got

    got = await asyncio.wait_for(asyncio.gather(*(once() for _ in range(3 * STREAMS))), 30)
    assert set(got) == {b"x" * 10_000 + b"end"}
    await becomes_true(lambda: not proxy._streams)
    assert len(records) == 3 * STREAMS


async def test_code_that_hangs_up_frees_its_stream(listen: Any, forwarder: Any) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    place = await listen(flood)
    port, proxy, records = await forwarder(place)
    for _ in range(STREAMS + 10):
        _, writer = await tunnel(port, place)
        writer.transport.abort()
    await becomes_true(lambda: not proxy._streams)
    assert len(records) == STREAMS + 10


async def test_a_broken_server_is_a_broken_connection_for_code(listen: Any, forwarder: Any) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await reader.read(1)
        writer.transport.abort()

    place = await listen(leave)
    port, _, records = await forwarder(place)
    reader, writer = await tunnel(port, place)
    writer.write(b"x")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert records[0].reason == "the connection broke"


# -- in a container


@pytest.fixture
def site() -> Iterator[int]:
    """An ordinary web server on this machine's loopback: `/n` has n bytes, `/simple/p/` is an index of one package."""
    wheel = wheel_of("p")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/simple/p/":
                kind, body = "text/html", b'<!DOCTYPE html><a href="/p-1-py3-none-any.whl">p-1-py3-none-any.whl</a>'
            elif self.path.endswith(".whl"):
                kind, body = "application/zip", wheel
            else:
                kind, body = "text/plain", b"x" * int(self.path[1:])
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def wheel_of(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}.py", "x = 1\n")
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")
    return data.getvalue()


@pytest.mark.docker
async def test_code_reaches_what_is_allowed_and_nothing_else(client: object, small: Limits, site: int) -> None:
    heard: list[Egress] = []
    sandbox = DockerSandbox(small, network=Network((f"127.0.0.1:{site}",)))
    try:
        session = await sandbox.session(on_egress=heard.append)
        got = await session.run(f"""
import concurrent.futures, socket, urllib.error, urllib.request
get = lambda path: urllib.request.urlopen(f"http://127.0.0.1:{site}/{{path}}", timeout=5).read()
with concurrent.futures.ThreadPoolExecutor(30) as pool:
    print(len(get(20_000_000)), sum(map(len, pool.map(get, range(200)))))
""")
        assert (got.stdout, got.error) == ("20000000 19900\n", "")
        refused = await session.run(f"""
def attempt(what, *arguments):
    try:
        return what(*arguments)
    except OSError as error:
        return str(error)
open_url = lambda url: urllib.request.urlopen(url, timeout=5)
for url in ("http://127.0.0.1:1/", "http://example.org/", "https://example.org/"):
    print(attempt(open_url, url))
for address in (("127.0.0.1", {site}), ("172.17.0.1", {site}), ("192.0.2.1", 80)):
    print(attempt(socket.create_connection, address, 1))
print(attempt(socket.getaddrinfo, "example.org", 80))
""")
        lines = refused.stdout.splitlines()
        assert all("Forbidden" in line and f"may connect to: 127.0.0.1:{site}" in line for line in lines[:3])
        assert lines[3:6] == ["[Errno 111] Connection refused", *["[Errno 101] Network is unreachable"] * 2]
        assert lines[6].startswith("[Errno -3]")
    finally:
        await sandbox.aclose()
    assert {(record.host, record.port, record.allowed) for record in heard} == {
        *(("127.0.0.1", site, True), ("127.0.0.1", 1, False), ("example.org", 80, False), ("example.org", 443, False))
    }


@pytest.mark.docker
async def test_pip_installs_from_an_index_that_is_allowed(client: object, small: Limits, site: int) -> None:
    sandbox = DockerSandbox(small, network=Network((f"127.0.0.1:{site}",)))
    try:
        session = await sandbox.session()
        pip = "python3 -m pip download --disable-pip-version-check --no-cache-dir --no-deps -q"
        index = f"--trusted-host 127.0.0.1 --index-url http://127.0.0.1:{site}/simple"
        done = await session.shell(f"{pip} {index} p && ls *.whl", seconds=30)
        assert (done.stdout, done.status) == ("p-1-py3-none-any.whl\n", "ok"), done.stderr
    finally:
        await sandbox.aclose()
