"""The streams between guest and proxy: credits both ways, guests that lie, and how each stream ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from echoing import echo

from fastslow.sandbox.egress import STREAMS
from fastslow.sandbox.netstream import WINDOW
from fastslow.sandbox.wire import ProtocolError

LARGE = 50_000_000


async def test_a_stalled_reader_holds_the_server_back(listen: Any, code: Any) -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < LARGE:
            writer.write(b"x" * 50_000)
            await writer.drain()
            written += 50_000

    place = await listen(flood)
    there = code(place)
    there.generous = False
    number = await there.connect(place)
    await asyncio.sleep(0.5)
    assert len(there.heard[number]) < WINDOW  # what the answer's head took is gone from it
    assert written < 20_000_000  # the rest is in the kernel's buffers
    there.generous = True
    there.say(number, "net_credit", bytes=WINDOW)
    await there.until(lambda: there.ends[number])
    assert len(there.heard[number]) == LARGE


async def test_a_stalled_server_holds_code_back(listen: Any, code: Any) -> None:
    go, total = asyncio.Event(), 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        await go.wait()
        while data := await reader.read(1 << 20):
            total += len(data)

    place = await listen(slow)
    there = code(place)
    number = await there.connect(place)
    uploading = asyncio.create_task(there.upload(number, b"x" * LARGE))
    await asyncio.sleep(0.5)
    assert not uploading.done()
    go.set()
    await uploading
    there.say(number, "net_close", how="half")
    await there.until(lambda: there.ends[number])
    assert total == LARGE


@pytest.mark.parametrize(
    "frames",
    [
        [("net_open", 1, {}, b"")] * 2,
        [("net_open", 2, {}, b""), ("net_open", 1, {}, b"")],
        [("net_open", number, {}, b"") for number in range(1, STREAMS + 2)],
        [("net_data", 1, {}, b"x")],
        [("net_open", 1, {}, b""), ("net_data", 1, {}, b"")],
        [("net_open", 1, {}, b""), ("net_data", 1, {}, b"x" * (WINDOW + 1))],
        [("net_open", 1, {}, b""), *[("net_data", 1, {}, b"x" * 1000)] * (WINDOW // 1000 + 1)],
        [("net_open", 1, {}, b""), ("net_credit", 1, {"bytes": 1}, b"")],
        [("net_open", 1, {}, b""), ("net_credit", 1, {"bytes": -1}, b"")],
        [("net_open", 1, {}, b""), ("net_credit", 1, {"bytes": True}, b"")],
        [("net_open", 1, {}, b""), ("net_credit", 1, {}, b"")],
        [("net_open", 1, {}, b""), ("net_close", 1, {"how": "half"}, b""), ("net_data", 1, {}, b"x")],
        [("net_open", 1, {}, b""), *[("net_close", 1, {"how": "half"}, b"")] * 2],
        [("net_open", 1, {}, b""), *[("net_close", 1, {"how": "both"}, b"")] * 2],
        [("net_open", 1, {}, b""), ("net_close", 1, {"how": "both"}, b""), ("net_data", 1, {}, b"x")],
        [("net_open", 1, {}, b""), ("net_close", 1, {"how": "slow"}, b"")],
        [("net_open", 1, {}, b""), ("net_close", 1, {"how": 1}, b"")],
        [("net_open", 1, {}, b""), ("net_close", 1, {}, b"")],
        [("net_open", 0, {}, b"")],
        [("net_open", "1", {}, b"")],
        [("net_open", 1.0, {}, b"")],
        [("net_open", 1 << 80, {}, b"")],
        [("net_open", 1, {}, b""), ("net_surprise", 1, {}, b"")],
    ],
)
async def test_a_guest_that_lies(code: Any, frames: list[Any]) -> None:
    there = code("good.example:80")

    def tell() -> None:
        for kind, stream, fields, body in frames:
            there.proxy.feed({"kind": kind, "stream": stream, **fields}, body)

    with pytest.raises(ProtocolError):
        tell()


async def test_many_streams_come_and_go(listen: Any, code: Any) -> None:
    """More than fit at a time, one after the other, some given up at once or half way."""
    place = await listen(echo)
    there = code(place)
    for turn in range(4):
        numbers = [await there.connect(place) for _ in range(STREAMS)]
        for number in numbers:
            there.say(number, "net_data", b"x")
            if turn % 2:
                there.say(number, "net_close", how="half")
            else:
                there.say(number, "net_close", how="both")
        await there.until(lambda: all(there.ends[number][-1:] == ["both"] for number in numbers))  # noqa: B023
    for _ in range(100):
        there.say(there.open(), "net_close", how="both")
        await asyncio.sleep(0.001)
    assert len(there.records) == 4 * STREAMS + 100
    assert not there.proxy._streams


async def test_closing_the_proxy_ends_and_reports_all(listen: Any, code: Any) -> None:
    place = await listen(echo)
    there = code(place)
    for _ in range(5):
        await there.connect(place)
    await there.proxy.aclose()
    assert [record.reason for record in there.records] == ["the session ended"] * 5


async def test_a_server_that_never_reads_does_not_hold_up_the_end(listen: Any, code: Any) -> None:
    go = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        await go.wait()

    place = await listen(deaf)
    there = code(place)
    number = await there.connect(place)
    uploading = asyncio.create_task(there.upload(number, b"x" * LARGE))
    await asyncio.sleep(0.3)
    await asyncio.wait_for(there.proxy.aclose(), 1)
    uploading.cancel()
    go.set()
    assert there.records[0].reason == "the session ended"
