import asyncio
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import wire
from sandbox.errors import SessionDied
from sandbox.sandbox import Limits
from sandbox.session import DockerSession
from sandbox.wire import Channel, ChannelClosed, ProtocolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def channel_of(data: bytes, *, eof: bool = True) -> Channel:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if eof:
        reader.feed_eof()
    return Channel(reader, None)  # type: ignore[arg-type]


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_what_is_sent_is_received(messages: list[dict[str, Any]]) -> None:
    async def receive() -> list[dict[str, Any]]:
        channel = channel_of(b"".join(map(wire.encode, messages)))
        return [await channel.receive() for _ in messages]

    assert asyncio.run(receive()) == messages


@given(st.binary(max_size=200))
def test_noise_is_refused_or_understood_and_never_crashes(noise: bytes) -> None:
    async def receive() -> None:
        channel = channel_of(noise)
        while True:
            assert isinstance(await channel.receive(), dict)

    with pytest.raises((ProtocolError, ChannelClosed)):
        asyncio.run(receive())


async def test_receive_survives_cancellation_between_header_and_body() -> None:
    reader = asyncio.StreamReader()
    channel = Channel(reader, None)  # type: ignore[arg-type]
    frame = wire.encode({"id": 1})
    reader.feed_data(frame[:6])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.receive(), 0.01)
    reader.feed_data(frame[6:])
    assert await channel.receive() == {"id": 1}


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_not_a_message(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(body)


async def test_a_giant_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="4294967295"):
        await channel_of(struct.pack(">I", 0xFFFFFFFF), eof=False).receive()


@pytest.mark.parametrize("value", [None, True, "1", -1, 1.5, 10**9, math.inf])
def test_integers_are_checked(value: object) -> None:
    with pytest.raises(ProtocolError):
        wire.integer({"n": value}, "n", 0, 100)


def test_half_surrogates_cannot_reach_a_terminal() -> None:
    wire.text({"t": "a\ud800b"}, "t", 10).encode()


class Liar:
    """A guest that answers each request with the frames it was given; `{id}` is the request's."""

    def __init__(self, *frames: dict[str, Any] | bytes) -> None:
        self.frames = frames
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            number = wire.decode(await reader.readexactly(length))["id"]
            for frame in self.frames:
                writer.write(frame if isinstance(frame, bytes) else wire.encode({"id": number, **frame}))
            await writer.drain()
            await reader.read()
        finally:
            writer.close()

    async def end(self) -> None:
        self.ended += 1


DONE: dict[str, Any] = {
    "kind": "done",
    "status": "ok",
    "value": None,
    "error": "",
    "exit_code": 0,
    "seconds": 0.1,
    "state_lost": False,
    "stdout": {"total": 0, "tail": ""},
    "stderr": {"total": 0, "tail": ""},
}
OUTPUT = {"kind": "output", "stream": "stdout", "text": "x" * 60}


@pytest.fixture
async def connect(tmp_path: Any) -> AsyncIterator[Any]:
    servers = []

    async def start(liar: Liar) -> DockerSession:
        path = str(tmp_path / "s")
        servers.append(await asyncio.start_unix_server(liar.serve, path))
        channel = Channel(*await asyncio.open_unix_connection(path))
        return DockerSession(channel, Limits(output=100), liar.end)

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_an_honest_answer(connect: Any) -> None:
    liar = Liar(OUTPUT, DONE)
    session = await connect(liar)
    assert (await session.run("x")).stdout == "x" * 60
    await session.aclose()
    await session.aclose()
    assert liar.ended == 1


@pytest.mark.parametrize(
    "frames",
    [
        [struct.pack(">I", 1 << 31)],
        [struct.pack(">I", 3) + b"abc"],
        [{**DONE, "id": 999}],
        [{**DONE, "id": True}, DONE],
        [{"kind": "surprise"}],
        [{"kind": ["done"]}],
        [OUTPUT, OUTPUT, DONE],  # more than the limit of 100
        [{**OUTPUT, "stream": "stdin"}],
        [{**OUTPUT, "text": 5}],
        [{**DONE, "status": "fine"}],
        [{**DONE, "value": ["x"]}],
        [{**DONE, "value": "x" * 10_000}],
        [{**DONE, "error": None}],
        [{**DONE, "exit_code": True}],
        [{**DONE, "exit_code": 10**30}],
        [{**DONE, "seconds": -1}],
        [{**DONE, "seconds": "NaN"}],
        [{**DONE, "state_lost": 1}],
        [{**DONE, "stdout": None}],
        [{**DONE, "stdout": {"total": -5, "tail": ""}}],
        [{**DONE, "stdout": {"total": 5, "tail": "x" * 10_000}}],
    ],
)
async def test_a_lying_guest_is_cut_off(connect: Any, frames: list[Any]) -> None:
    liar = Liar(*frames)
    session = await connect(liar)
    with pytest.raises(SessionDied):
        await session.run("x")
    assert liar.ended == 1
    with pytest.raises(SessionDied):
        await session.run("x")


@pytest.mark.parametrize(
    "row",
    [
        ["../evil", 1, "0" * 64],
        ["/etc/passwd", 1, "0" * 64],
        ["a/./b", 1, "0" * 64],
        ["a\0b", 1, "0" * 64],
        ["a", -1, "0" * 64],
        ["a", 1, "0" * 63 + "G"],
        ["a", 1],
        "abc",
    ],
)
async def test_hostile_file_names_never_reach_the_caller(connect: Any, row: object) -> None:
    session = await connect(Liar({"kind": "files", "files": [row]}, {"kind": "done"}))
    with pytest.raises(SessionDied):
        await session.files()


@pytest.mark.parametrize(
    "frame",
    [
        {"kind": "done", "data": "@@@@", "final": True},
        {"kind": "done", "data": 5, "final": True},
        {"kind": "done", "data": "", "final": "yes"},
    ],
)
async def test_hostile_content(connect: Any, frame: dict[str, Any]) -> None:
    session = await connect(Liar(frame))
    with pytest.raises(SessionDied):
        await session.get("a")


async def test_a_callback_that_raises_leaves_the_session_in_step(connect: Any) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError("the reader left")

    session = await connect(Liar(OUTPUT, DONE, {**DONE, "id": 2}))
    with pytest.raises(BrokenPipeError, match="the reader left"):
        await session.run("x", on_output=broken)
    assert (await session.run("y")).status == "ok"
    await session.aclose()
