"""The proxy on the host: what it passes on, what it refuses, and what it never holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import h11
import pytest
from echoing import echo
from egress_code import Code
from hypothesis import given
from hypothesis import strategies as st

from fastslow.sandbox import Egress, Network, forward
from fastslow.sandbox.egress import EgressProxy
from fastslow.sandbox.netstream import WINDOW

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """A server that keeps what it got and answers `ok`."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if b"chunked" in head.lower():
            body = await reader.readuntil(b"0\r\n\r\n")
        elif b"content-length: " in head.lower():
            body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        self.got.append(head + body)
        writer.write(OK)
        await writer.drain()


# -- what is passed on


async def test_a_request_reaches_the_server_without_what_was_for_the_proxy(listen: Any, code: Any) -> None:
    server = Recorder()
    place = await listen(server)
    there = code(place)
    answer = await there.ask(
        f"GET HTTP://{place}/a?b=c HTTP/1.1\r\nHost: elsewhere\r\nAccept: */*\r\nProxy-Authorization: Basic eA==\r\n"
        "Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Private, Host\r\nX-Private: 1\r\nTE: trailers\r\n"
        "Upgrade: h2c\r\n\r\n".encode()
    )
    assert answer == OK
    assert server.got == [f"GET /a?b=c HTTP/1.1\r\nHost: {place}\r\naccept: */*\r\nConnection: close\r\n\r\n".encode()]
    [record] = there.records
    assert (record.host, record.port, record.allowed, record.address) == (
        "127.0.0.1",
        int(place[10:]),
        True,
        "127.0.0.1",
    )
    assert (record.sent, record.received, record.reason) == (len(there.heard) and record.sent, len(OK), "")


@pytest.mark.parametrize(
    ("body", "framed"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"content-length: 5\r\nConnection: close\r\n\r\nhello"),
        (
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
            b"transfer-encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
    ],
)
async def test_a_body_is_framed_anew(listen: Any, code: Any, body: bytes, framed: bytes) -> None:
    server = Recorder()
    place = await listen(server)
    extra = f"GET http://{place}/second HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    answer = await code(place).ask(f"POST http://{place} HTTP/1.1\r\nHost: a\r\n".encode() + body + extra)
    assert answer == OK
    assert server.got == [f"POST / HTTP/1.1\r\nHost: {place}\r\n".encode() + framed]


async def test_a_tunnel_with_both_halves_closed_in_turn(listen: Any, code: Any) -> None:
    place = await listen(echo)
    there = code(place)
    number = there.open(f"CONNECT {place} HTTP/1.0\r\n\r\nearly ".encode())  # as Python 3.11 asks
    await there.until(lambda: there.heard[number].endswith(b"early "))
    there.say(number, "net_data", b"late ")
    there.say(number, "net_close", how="half")
    await there.until(lambda: there.ends[number])
    assert bytes(there.heard[number]).endswith(b"\r\n\r\nearly late end")
    await there.until(lambda: len(there.ends[number]) == 2)
    assert there.ends[number] == ["half", "both"]
    assert there.records[0].received == len(there.heard[number])


async def test_the_server_closes_first(listen: Any, code: Any) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        heard.set_result(await reader.read())

    place = await listen(greet)
    there = code(place)
    number = await there.connect(place)
    await there.until(lambda: there.ends[number] == ["half"])
    there.say(number, "net_data", b"one more thing")
    there.say(number, "net_close", how="half")
    assert await heard == b"one more thing"


async def test_a_connection_that_the_server_breaks_is_broken_for_code(listen: Any, code: Any) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()  # with something unread: a reset

    place = await listen(abort)
    there = code(place)
    number = await there.connect(place)
    there.say(number, "net_data", b"x" * 100_000)
    await there.until(lambda: there.ends[number])
    assert there.ends[number][-1] in ("broken", "half")


# -- what is refused


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\n\r\n",
        b"GET http://good.example/\r\nX: HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nX: a\rGET http://evil.example/\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
        b"GET http://good.example\0.evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example%00/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://user@good.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://evil.example\\@good.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://evil.example#@good.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example:0/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example:65536/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example:99999999999999999999/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://good.example:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:///path HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET https://good.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://good.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET good.example HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET http://[fe80::1%25eth0]/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://g\xc3\xb6\xc3\xb6d.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\thttp://good.example/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST http://good.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST http://good.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"POST http://good.example/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\nx",
        b"POST http://good.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"CONNECT good.example HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT http://good.example:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT good.example:80/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT good.example:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://good.example/" + b"x" * 100_000,
        b"GET http://good.example/ HTTP/1.1\r\n" + b"X: y\r\n" * 30_000,
    ],
)
async def test_what_is_no_plain_request_goes_nowhere(code: Any, head: bytes) -> None:
    there = code("good.example:80", names={"good.example": ["127.0.0.1"]})
    answer = await there.ask(head[:WINDOW])
    assert answer.startswith(b"HTTP/1.1 400 Bad Request (this is a proxy")
    assert not there.looked_up
    assert [record.allowed for record in there.records] == [False]


@pytest.mark.parametrize(
    "target",
    [
        *("evil.example:443", "good.example:80", "good.example.evil.example:443", "xgood.example:443"),
        *("127.0.0.1:443", "127.1:443", "2130706433:443", "0x7f000001:443", "[::1]:443", "[::ffff:127.0.0.1]:443"),
        *("169.254.169.254:80", "sub.example:443", "localhost:443"),
    ],
)
async def test_what_is_not_on_the_list_is_not_even_looked_up(code: Any, target: str) -> None:
    there = code("good.example:443", "*.sub.example:443")
    number = there.open(f"CONNECT {target} HTTP/1.1\r\nHost: good.example:443\r\n\r\n".encode())
    await there.until(lambda: there.ends[number])
    status, _, body = bytes(there.heard[number]).partition(b"\r\n\r\n")
    if status.startswith(b"HTTP/1.1 403 Forbidden"):
        assert body.endswith(b"is not allowed; this sandbox may connect to: good.example:443, *.sub.example:443\n")
    else:
        assert target in ("127.1:443", "0x7f000001:443", "2130706433:443")  # no way to write an address
    assert not there.looked_up
    await there.proxy.aclose()
    assert not there.records[0].allowed


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1", "192.168.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
        [],
    ],
)
async def test_an_allowed_name_may_not_lead_inside(code: Any, addresses: list[str]) -> None:
    there = code("good.example:443", names={"good.example": addresses})
    answer = await there.ask(b"CONNECT GOOD.example.:443 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 Forbidden (good.example leads to a private")
    [record] = there.records
    assert (record.host, record.allowed, record.reason) == ("good.example", False, "not a public address")


async def test_a_name_that_changes_its_mind_is_asked_once(
    listen: Any, code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the connection goes to an address of the very answer that was checked."""
    connected: list[str] = []

    async def refuse(host: str, port: int) -> Any:
        connected.append(host)
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    there = code("good.example:443", names={"good.example": ["127.0.0.1", "192.0.2.1", "8.8.8.8", "1.1.1.1"]})
    answer = await there.ask(b"CONNECT good.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway (good.example:443 cannot be connected to)")
    assert connected == ["8.8.8.8", "1.1.1.1"]
    assert there.looked_up == ["good.example"]


async def test_names_that_are_not_there(code: Any) -> None:
    there = code("good.example:443", "nowhere.invalid:80")
    assert (await there.ask(b"CONNECT good.example:443 HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
    with pytest.raises(OSError, match=r".+"):
        await forward.lookup("nowhere.invalid", 80)


async def test_a_port_where_nobody_listens(listen: Any, code: Any) -> None:
    place = await listen(echo)
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection("127.0.0.1", int(place[10:]))
        own = writer.get_extra_info("sockname")[1]
        there = code(f"127.0.0.1:{own}")  # taken, and nobody listens
        answer = await there.ask(f"CONNECT 127.0.0.1:{own} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        writer.close()
    assert answer.startswith(b"HTTP/1.1 502 ")


# -- limits of time


@pytest.mark.parametrize("said", [b"", b"GET http://good.example/ HTT"])
async def test_a_head_that_does_not_come(code: Any, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(forward, "HEAD_SECONDS", 0.05)
    assert (await code("good.example:80").ask(said)).startswith(b"HTTP/1.1 408 Request Timeout")


async def test_a_lookup_that_hangs(code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(forward, "LOOKUP_SECONDS", 0.05)
    there = code()
    there.proxy = EgressProxy(Network(("good.example:80",)), there.take, there.records.append, resolve=hang)
    assert (await there.ask(b"CONNECT good.example:80 HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


async def test_an_idle_tunnel_ends(listen: Any, code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await listen(echo)
    monkeypatch.setattr(forward, "IDLE_SECONDS", 0.2)
    there = code(place)
    number = await there.connect(place)
    for _ in range(4):  # longer than the limit, but not idle
        there.say(number, "net_data", b"x")
        await asyncio.sleep(0.1)
    assert not there.ends[number]
    await there.until(lambda: there.ends[number] == ["broken"])
    assert there.records[0].reason == "idle for too long"


async def test_a_client_that_keeps_a_tunnel_whose_server_left(
    listen: Any, code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    place = await listen(leave)
    monkeypatch.setattr(forward, "LINGER_SECONDS", 0.05)
    there = code(place)
    number = await there.connect(place)
    await there.until(lambda: len(there.ends[number]) == 2)
    assert there.ends[number] == ["half", "both"]


async def test_nothing_of_a_request_but_its_place_is_logged(
    listen: Any, code: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place = await listen(Recorder())
    with caplog.at_level(logging.DEBUG):
        there = code(place)
        await there.ask(f"GET http://{place}/secret HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n".encode())
        await there.ask(f"GET http://{place}/secret HTTP/1.1\r\nHost: a\r\nX: secret\0\r\n\r\n".encode())
        await there.ask(b"GET http://evil.example/secret HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "secret" not in caplog.text + repr(there.records)
    assert "evil.example" in caplog.text


# -- the parser


@given(
    st.binary(max_size=300) | st.binary(max_size=60).map(lambda noise: b"GET http://a" + noise + b" HTTP/1.1\r\n\r\n")
)
def test_noise_never_reaches_a_target(noise: bytes) -> None:
    async def ask() -> list[Egress]:
        there = Code("good.example:80")
        number = there.open(noise)
        there.say(number, "net_close", how="half")
        await there.until(lambda: there.ends[number])
        await there.proxy.aclose()
        assert not there.looked_up
        return there.records

    [record] = asyncio.run(ask())
    assert not record.allowed


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["X", "Connection", "Proxy-X", "TE", "Host2", "Keep-Alive", "Upgrade"]),
        st.text("abcXTE, host-content-length", max_size=20).map(str.strip),
    ),
    max_size=6,
)


@given(
    st.sampled_from(["GET", "POST", "DELETE", "X-Y"]), st.text("ab/?&=%~", max_size=20), HEADERS, st.binary(max_size=99)
)
def test_what_is_forwarded_is_one_request_to_the_checked_host(
    method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    fields = [("Host", "other"), *headers, ("Content-Length", str(len(body)))]
    request = h11.Request(method=method, target=f"http://good.example:81/{path}", headers=fields)
    host, port, asked = forward._target(request)
    sent = h11.Connection(h11.CLIENT).send(forward._forwarded_request(request, host, port, asked))
    server = h11.Connection(h11.SERVER)
    server.receive_data((sent or b"") + body + b"GET /smuggled")
    seen = server.next_event()
    assert isinstance(seen, h11.Request)
    assert seen.target == f"/{path}".encode()
    assert [value for name, value in seen.headers if name == b"host"] == [b"good.example:81"]
    assert [value for name, value in seen.headers if name == b"content-length"] == [str(len(body)).encode()]
    assert not [name for name, _ in seen.headers if name in (b"te", b"upgrade", b"keep-alive") or name[:6] == b"proxy-"]
    got = b""
    while isinstance(event := server.next_event(), h11.Data):
        got += event.data
    assert got == body
    assert isinstance(event, h11.EndOfMessage)
