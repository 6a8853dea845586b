"""The proxy's HTTP: one request of code's, checked, connected and relayed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import h11

from fastslow.sandbox.allow import Address, bracketed, is_public, literal, normal_host, rules, split_authority
from fastslow.sandbox.netstream import CHUNK, Stream
from fastslow.sandbox.sandbox import Network

HEAD = 16 << 10  # the most of a request's head
HEAD_SECONDS = 15.0
LOOKUP_SECONDS = 10.0
CONNECT_SECONDS = 5.0  # for each address
ADDRESSES = 4  # of a name that are tried
IDLE_SECONDS = 120.0  # without a byte either way
LINGER_SECONDS = 5.0  # how long code may be silent once the server, or the proxy, has said all

# RFC 9110, 7.6.1; whatever else `Connection` names goes, too. Framing is made anew.
_HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"host"}
_FRAMING = {b"content-length", b"transfer-encoding"}
_PHRASES = {400: "Bad Request", 403: "Forbidden", 408: "Request Timeout", 502: "Bad Gateway", 504: "Gateway Timeout"}

# Of our own: names that hang must not hold up what else the program does in threads.
_LOOKUPS = ThreadPoolExecutor(4, "fastslow-lookup")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def lookup(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, in the order to try them. OSError when it has none."""
    find = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, find)
    return [str(entry[4][0]) for entry in found]


class Refused(Exception):
    """The request is answered with `status` and a line that says why."""

    def __init__(self, status: int, why: str, reason: str) -> None:
        super().__init__(why)
        self.status = status
        self.reason = reason  # for the `Egress`


@dataclass(slots=True)
class EgressDraft:
    """An `Egress` in the making."""

    host: str = ""
    port: int = 0
    allowed: bool = False
    address: str = ""
    reason: str = ""


class Policy:
    """Which addresses a name and a port lead to, if they are allowed."""

    def __init__(self, network: Network, resolve: Resolve) -> None:
        self._rules = rules(network)
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Those that may be connected to, at least one. Raises Refused."""
        if not any(rule.permits(host, port) for rule in self._rules):
            raise self._forbidden(f"{bracketed(host)}:{port} is not allowed", "not allowed")
        if (address := literal(host)) is not None:  # an entry names it, and was checked
            return [address]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError):  # TimeoutError, too
            raise Refused(502, f"the name {host} cannot be looked up", "the name cannot be looked up") from None
        addresses = [address for text in found if is_public(address := ip_address(text))]
        if not addresses:
            raise self._forbidden(
                f"{host} leads to a private or otherwise special address, which only an entry that names the "
                "address itself can allow",
                "not a public address",
            )
        return addresses

    def _forbidden(self, why: str, reason: str) -> Refused:
        allowed = ", ".join(map(str, self._rules[:8])) + (", …" if len(self._rules) > 8 else "")
        return Refused(403, f"{why}; this sandbox may connect to: {allowed or 'nothing'}", reason)


async def exchange(stream: Stream, policy: Policy, draft: EgressDraft) -> None:
    """Serve one request, from its head to the end of its answer. OSError when it broke on the way."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD)
    try:
        request = await _head(stream, server)
        if request is None:
            draft.reason = "closed without a request"
            return
        draft.host, draft.port, path = _target(request)
        head = None if request.method == b"CONNECT" else _forwarded_request(request, draft.host, draft.port, path)
        reader, writer = await _connect(policy, draft)
    except Refused as refusal:
        draft.reason = refusal.reason
        await _refuse(stream, refusal)
        return
    writer.transport.set_write_buffer_limits(0)  # `drain` then returns once the kernel has it all
    try:
        if head is None:
            await stream.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upload = partial(_upload_all, stream, writer, server.trailing_data[0])
        else:
            upload = partial(_upload_body, stream, writer, server, head)
        await _relay(stream, reader, upload, tunnel=head is None)
    finally:
        writer.transport.abort()


async def _connect(policy: Policy, draft: EgressDraft) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    addresses = await policy.addresses(draft.host, draft.port)
    draft.allowed = True
    for address in addresses[:ADDRESSES]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await asyncio.open_connection(str(address), draft.port)
        except OSError:  # TimeoutError, too
            continue
        draft.address = str(address)
        return connection
    raise Refused(502, f"{bracketed(draft.host)}:{draft.port} cannot be connected to", "not connected")


async def _head(stream: Stream, server: h11.Connection) -> h11.Request | None:
    """The request, without its body; None when code hung up without one."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            while True:
                event = server.next_event()
                if isinstance(event, h11.Request):
                    return event
                if event is not h11.NEED_DATA:
                    return None
                server.receive_data(await stream.read(HEAD))
    except TimeoutError:
        raise Refused(408, "no request came", "no request came") from None
    except h11.RemoteProtocolError:
        raise _not_for_a_proxy() from None


def _not_for_a_proxy() -> Refused:
    why = "this is a proxy: it takes `CONNECT host:port` and `GET http://host/…`, well-formed, one a connection"
    return Refused(400, why, "not a request for a proxy")


def _target(request: h11.Request) -> tuple[str, int, bytes]:
    """Host and port that a request is for, in their normal form, and what to ask there."""
    try:
        if request.method == b"CONNECT":
            if any(name in _FRAMING for name, _ in request.headers):
                raise ValueError("a body")
            host, port = split_authority(request.target.decode())
            return normal_host(host), port, b""
        scheme, separator, rest = request.target.partition(b"://")
        if scheme.lower() != b"http" or not separator or b"#" in rest:
            raise ValueError("not absolute")
        end = min(index for index in (rest.find(b"/"), rest.find(b"?"), len(rest)) if index >= 0)
        host, port = split_authority(rest[:end].decode(), 80)
        path = rest[end:]
        return normal_host(host), port, path if path.startswith(b"/") else b"/" + path
    except ValueError:  # of decoding, too
        raise _not_for_a_proxy() from None


def _forwarded_request(request: h11.Request, host: str, port: int, path: bytes) -> h11.Request:
    """The request as the server gets it: what was for the proxy is gone, `Host` and the framing are our own."""
    named = {
        name.strip().lower() for key, value in request.headers if key == b"connection" for name in value.split(b",")
    }
    framing = [(key, value) for key, value in request.headers if key in _FRAMING]
    if len(framing) > 1:  # a length and chunks: each server believes another of the two
        raise _not_for_a_proxy()
    gone = _HOP_BY_HOP | _FRAMING | named
    kept = [(key, value) for key, value in request.headers if key not in gone and not key.startswith(b"proxy-")]
    place = bracketed(host) if port == 80 else f"{bracketed(host)}:{port}"
    headers = [(b"Host", place.encode()), *kept, *framing, (b"Connection", b"close")]
    return h11.Request(method=request.method, target=path, headers=headers)


async def _refuse(stream: Stream, refusal: Refused) -> None:
    """Answer, and read on for a while: a client that is still sending would not see an answer before a reset.

    The line stands behind the status, too: of an answer to CONNECT, clients show nothing else.
    """
    body = f"{refusal}\n".encode()
    head = (
        f"HTTP/1.1 {refusal.status} {_PHRASES[refusal.status]} ({str(refusal).encode('ascii', 'ignore').decode()})\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            await stream.write(head.encode() + body)
            await stream.close("half")
            while await stream.read():
                pass


# -- bytes


async def _relay(
    stream: Stream,
    reader: asyncio.StreamReader,
    upload: Callable[[Callable[[], None]], Coroutine[None, None, None]],
    *,
    tunnel: bool,
) -> None:
    """Both ways at once, until the server has said all; in a tunnel, until code has, too. TimeoutError when idle.

    upload: sends to the server what code says, and calls its argument when something moved.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(IDLE_SECONDS) as limit:

        def moved() -> None:
            limit.reschedule(loop.time() + IDLE_SECONDS)

        uploading = asyncio.create_task(upload(moved))
        try:
            while data := await reader.read(CHUNK):
                await stream.write(data)
                moved()
            if tunnel:
                await stream.close("half")
                await _linger(stream, uploading)
            if uploading.done():
                uploading.result()
        finally:
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)


async def _linger(stream: Stream, uploading: asyncio.Task[None]) -> None:
    """Wait until code has said all, or is silent: whether the server still listens cannot be seen from here."""
    before = -1
    while not uploading.done() and before != stream.sent:
        before = stream.sent
        await asyncio.wait({uploading}, timeout=LINGER_SECONDS)


async def _upload_all(stream: Stream, writer: asyncio.StreamWriter, early: bytes, moved: Callable[[], None]) -> None:
    """A tunnel's way up. early: what came together with the request."""
    with contextlib.suppress(OSError):  # a server that hears no more may still speak
        data = early or await stream.read()
        while data:
            writer.write(data)
            await writer.drain()
            moved()
            data = await stream.read()
        writer.write_eof()


async def _upload_body(
    stream: Stream,
    writer: asyncio.StreamWriter,
    server: h11.Connection,
    head: h11.Request,
    moved: Callable[[], None],
) -> None:
    """The one request, its body framed anew. What code says after it is not passed on."""
    client = h11.Connection(h11.CLIENT)
    writer.write(client.send(head) or b"")
    try:
        while True:
            event = server.next_event()
            if event is h11.NEED_DATA:
                await writer.drain()
                moved()
                server.receive_data(await stream.read())
            elif isinstance(event, h11.Data):
                writer.write(client.send(event) or b"")
            else:
                writer.write(client.send(h11.EndOfMessage()) or b"")  # without the trailers
                await writer.drain()
                return
    except h11.RemoteProtocolError as error:
        writer.transport.abort()
        raise ConnectionError("a body that is not as its head says") from error
    except OSError:  # the server hears no more, and may have said why
        return
