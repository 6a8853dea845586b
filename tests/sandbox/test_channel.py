import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.sandbox import wire
from fastslow.sandbox.channel import Channel
from fastslow.sandbox.errors import SessionDied
from fastslow.sandbox.execution import AT_ONCE, VALUE, cost_of
from fastslow.sandbox.execution import CALL as CALL_COST
from fastslow.sandbox.sandbox import HostFunction, Limits, TreeFile
from fastslow.sandbox.session import DockerSession
from fastslow.sandbox.wire import Frame, FrameStream, GuestGone, ProtocolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HEADERS = st.dictionaries(st.text(), JSON, max_size=4)


def frame_stream(data: bytes, *, eof: bool = True) -> FrameStream:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if eof:
        reader.feed_eof()
    return FrameStream(reader, None)  # type: ignore[arg-type]


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=4))
def test_what_is_sent_is_received(frames: list[tuple[dict[str, Any], bytes]]) -> None:
    async def receive() -> list[Frame]:
        stream = frame_stream(b"".join(wire.encode(*frame) for frame in frames))
        return [await stream.receive() for _ in frames]

    assert asyncio.run(receive()) == [Frame(*frame) for frame in frames]


@given(st.binary(max_size=200))
def test_noise_is_refused_or_understood_and_never_crashes(noise: bytes) -> None:
    async def receive() -> None:
        stream = frame_stream(noise)
        while True:
            assert isinstance((await stream.receive()).header, dict)

    with pytest.raises((ProtocolError, GuestGone)):
        asyncio.run(receive())


async def test_receive_survives_cancellation_between_header_and_body() -> None:
    reader = asyncio.StreamReader()
    stream = FrameStream(reader, None)  # type: ignore[arg-type]
    frame = wire.encode({"id": 1}, b"body")
    reader.feed_data(frame[:10])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.receive(), 0.01)
    reader.feed_data(frame[10:])
    assert await stream.receive() == Frame({"id": 1}, b"body")


@pytest.mark.parametrize("head", [b"[]", b"1", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_not_a_header(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(head)


@pytest.mark.parametrize(
    "lengths", [(0xFFFFFFFF, 0), (2, 0xFFFFFFFF), (wire.MAX_HEADER + 1, 0), (2, wire.MAX_BODY + 1)]
)
async def test_a_giant_length_is_refused_before_it_is_read(lengths: tuple[int, int]) -> None:
    with pytest.raises(ProtocolError, match="a frame of"):
        await frame_stream(struct.pack(">II", *lengths), eof=False).receive()


@pytest.mark.parametrize("value", [None, True, "1", -1, 1.5, 10**9, math.inf])
def test_integers_are_checked(value: object) -> None:
    with pytest.raises(ProtocolError):
        wire.integer({"n": value}, "n", 0, 100)


def test_half_surrogates_cannot_reach_a_terminal() -> None:
    assert wire.text({"t": "a\ud800b"}, "t", 10) == "a?b"


class Liar:
    """A guest that answers the n-th request with the n-th list of frames, each a header, or a header and a body.

    Where a header has no `id` (None: none at all), it gets the request's.
    """

    def __init__(self, *answers: list[Any], greeting: list[Any] | None = None) -> None:
        self.answers = list(answers)
        self.greeting = [{"kind": "hello", "id": None}] if greeting is None else greeting
        self.heard: list[Frame] = []
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = FrameStream(reader, writer)
        try:
            await self.say(stream, 0, self.greeting)
            while True:
                self.heard.append(frame := await stream.receive())
                if "id" in frame.header and frame.header["op"] != "interrupt" and self.answers:
                    await self.say(stream, frame.header["id"], self.answers.pop(0))
        except GuestGone:
            pass
        finally:
            writer.close()

    async def say(self, stream: FrameStream, number: int, frames: list[Any]) -> None:
        for frame in frames:
            if isinstance(frame, bytes):
                stream._writer.write(frame)
                continue
            header, body = frame if isinstance(frame, tuple) else (frame, b"")
            header = {"id": number, **header}
            if header["id"] is None:
                del header["id"]
            await stream.send(header, body)

    async def end(self) -> None:
        self.ended += 1


DONE: dict[str, Any] = {
    "kind": "done",
    "status": "ok",
    "value": None,
    "error": "",
    "exit_code": 0,
    "seconds": 0.1,
    "state": "kept",
    "stdout": {"total": 60, "file": None, "saved": 0},
    "stderr": {"total": 0, "file": None, "saved": 0},
}
DONE_SILENT = {**DONE, "stdout": {"total": 0, "file": None, "saved": 0}}
OUTPUT = ({"kind": "output", "stream": "stdout"}, b"x" * 60)
LONG = {**DONE, "stdout": {"total": 1000, "file": "output/stdout-1.txt", "saved": 1000}}
TAIL = ({"kind": "tail", "stream": "stdout"}, b"t" * 50)
LISTED = {"kind": "done", "number": 1, "whole": True, "left": [], "more": 0}
CALL = ({"kind": "call", "call": 1, "name": "f"}, b"{}")


def shown(*mime: Any, body: bytes) -> tuple[dict[str, Any], bytes]:
    return {"kind": "display", "mime": list(mime)}, body


@pytest.fixture
async def connect(tmp_path: Any) -> AsyncIterator[Any]:
    servers, channels = [], []

    async def start(liar: Liar, limits: Limits | None = None) -> DockerSession:
        path = str(tmp_path / "s")
        servers.append(await asyncio.start_unix_server(liar.serve, path))
        stream = FrameStream(*await asyncio.open_unix_connection(path))
        limits = limits or Limits(output=100, displays=100, calls=2)
        channel = Channel(stream, limits, liar.end)
        channels.append(channel)
        await channel.open()
        return DockerSession(channel)

    yield start
    for channel in channels:
        await channel.aclose()
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_an_honest_answer(connect: Any) -> None:
    display = shown(["image/png", 4], ["text/plain", 2], body=b"\x89PNGhi")
    liar = Liar([OUTPUT, display, DONE], [OUTPUT, ({**OUTPUT[0]}, b"y" * 40), TAIL, LONG])
    session = await connect(liar)
    done = await session.run("x")
    assert done.stdout == "x" * 60
    assert done.displays[0].data == {"image/png": b"\x89PNG", "text/plain": "hi"}
    long = await session.run("y")
    assert long.stdout == "x" * 50 + "\n[… 900 bytes cut; the whole is in output/stdout-1.txt …]\n" + "t" * 50
    assert long.truncated
    await session.aclose()
    await session.aclose()
    assert liar.ended == 1


async def test_a_character_is_never_cut_in_two(connect: Any) -> None:
    heard: list[str] = []
    text = ("x" + "ä" * 49).encode()
    halves = [({"kind": "output", "stream": "stdout"}, part) for part in (text[:10], text[10:])]
    done = {**DONE, "stdout": {"total": 300, "file": None, "saved": 0}}
    session = await connect(Liar([*halves, (TAIL[0], b"\xa4" + "ä".encode() * 3), done]))
    long = await session.run("x", on_output=lambda _, text: heard.append(text))
    assert "\ufffd" not in long.stdout + "".join(heard)


@pytest.mark.parametrize(
    "greeting", [[{"kind": "ready", "id": None}], [DONE], [b"\0" * 8], [{"kind": "hello", "id": 0}]]
)
async def test_a_guest_that_does_not_say_hello(connect: Any, greeting: list[Any]) -> None:
    liar = Liar(greeting=greeting)
    with pytest.raises(SessionDied):
        await connect(liar)
    assert liar.ended == 1


@pytest.mark.parametrize(
    "frames",
    [
        [struct.pack(">II", 1 << 31, 0)],
        [struct.pack(">II", 3, 0) + b"abc"],
        [{**DONE, "id": 999}],
        [{**DONE, "id": True}, DONE],
        [{**DONE, "id": None}],
        [DONE, DONE],
        [{"kind": "surprise"}],
        [{"kind": ["done"]}],
        [{"kind": "hello", "id": None}],
        [{"kind": "ready", "id": None}, {"kind": "ready", "id": None}],
        [{"kind": "net_open", "id": None, "stream": 1}],  # there is no network
        [OUTPUT, OUTPUT, DONE],  # more than the limit of 100
        [(OUTPUT[0], b"")],
        [({**OUTPUT[0], "stream": "stdin"}, b"x")],
        [OUTPUT, TAIL, TAIL, LONG],
        [{**DONE, "status": "fine"}],
        [{**DONE, "value": ["x"]}],
        [{**DONE, "value": "x" * 10_000}],
        [{**DONE, "error": None}],
        [{**DONE, "exit_code": True}],
        [{**DONE, "exit_code": 10**30}],
        [{**DONE, "seconds": -1}],
        [{**DONE, "seconds": "NaN"}],
        [{**DONE, "state": 1}],
        [{**DONE, "state": "better"}],
        [{**DONE, "stdout": None}],
        [{**DONE, "stdout": {"total": -5}}],
        [{**LONG, "stdout": {"total": 1000, "file": "../../etc/passwd", "saved": 1}}],
        [{**LONG, "stdout": {"total": 1000, "file": "a\n[sudo]", "saved": 1}}],
        [{**LONG, "stdout": {"total": 1000, "file": "a", "saved": "all"}}],
        [shown(body=b"")],
        [shown(["text/x-evil", 1], body=b"x")],
        [shown([["text/plain"], 1], body=b"x")],
        [shown(["text/plain", 2], body=b"x")],
        [shown(["text/plain", 1], body=b"xx")],
        [shown(["text/plain", -1], ["text/html", 2], body=b"x")],
        [shown(["text/plain", 1], ["text/plain", 1], body=b"xx")],
        [shown(["text/plain", 101], body=b"x" * 101)],
        [{**CALL[0], "call": 0}],
        [({**CALL[0], "name": "f" * 300}, b"{}")],
        [(CALL[0], b"[]")],
        [(CALL[0], b"{")],
        [CALL, CALL, CALL],  # more than the limit of 2
    ],
)
async def test_a_lying_guest_is_cut_off(connect: Any, frames: list[Any]) -> None:
    liar = Liar(frames)
    session = await connect(liar)
    await asyncio.gather(session.run("x"), return_exceptions=True)  # a second answer comes after the first
    with pytest.raises(SessionDied):
        await session.run("x")
    assert liar.ended == 1
    with pytest.raises(SessionDied):
        await session.run("x")
    assert not session.alive


async def test_one_lie_ends_all_sessions_of_the_container(connect: Any) -> None:
    liar = Liar([{"kind": "done"}], [], [{"kind": "surprise"}])
    session = await connect(liar)
    copy = await session.fork()
    waiting = asyncio.create_task(session.run("x"))
    await asyncio.sleep(0.01)
    with pytest.raises(SessionDied):
        await copy.run("y")
    with pytest.raises(SessionDied):
        await waiting
    assert liar.ended == 1


@pytest.mark.parametrize("checkpoint", [None, "1", -1, True, 1.5])
async def test_a_checkpoint_that_is_none(connect: Any, checkpoint: object) -> None:
    session = await connect(Liar([{"kind": "done", "checkpoint": checkpoint}]))
    with pytest.raises(SessionDied):
        await session.checkpoint()


@pytest.mark.parametrize(
    "row",
    [
        ["../evil", 1, "0" * 64, "", "100644"],
        ["/etc/passwd", 1, "0" * 64, "", "100644"],
        ["a/./b", 1, "0" * 64, "", "100644"],
        ["a\0b", 1, "0" * 64, "", "100644"],
        [".git/config", 1, "0" * 64, "", "100644"],
        ["a", -1, "0" * 64, "", "100644"],
        ["a", 1, "0" * 63 + "G", "", "100644"],
        ["a", 1, "", "", "100644"],
        ["a", 1, "0" * 64, "large", "100644"],
        ["a", 1, "", "\x1b[31m", "100644"],
        ["a", 1, "", ["large"], "100644"],
        ["a", 1, "0" * 64, "", "120000"],  # links are no files here
        ["a", 1, "0" * 64, "", "160000"],
        ["a", 1, "0" * 64, "", 0o100644],
        ["a", 1, "0" * 64, "", ["100644"]],
        ["a", 1, "0" * 64, "", None],
        ["a", 1, "0" * 64, ""],
        ["a", 1],
        "abc",
    ],
)
async def test_hostile_file_names_never_reach_the_caller(connect: Any, row: object) -> None:
    session = await connect(Liar([{"kind": "files", "files": [row], "gone": []}, LISTED]))
    with pytest.raises(SessionDied):
        await session.files()


@pytest.mark.parametrize(
    "frame", [{"kind": "done", "final": "yes"}, {"kind": "done"}, ({"kind": "done", "final": False}, b"x" * 200)]
)
async def test_hostile_content(connect: Any, frame: Any) -> None:
    session = await connect(Liar([frame]), Limits(upload=100))
    with pytest.raises(SessionDied):
        await session.get("a")


async def test_a_callback_that_raises_leaves_the_session_in_step(connect: Any) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError("the reader left")

    liar = Liar([OUTPUT, shown(["text/plain", 1], body=b"x"), DONE], [OUTPUT, DONE])
    session = await connect(liar)
    with pytest.raises(BrokenPipeError, match="the reader left"):
        await session.run("x", on_output=broken)
    assert (await session.run("y")).status == "ok"
    assert [frame.header["op"] for frame in liar.heard] == ["run", "interrupt", "run"]
    await session.aclose()


async def test_a_guest_that_is_silent_is_cut_off(connect: Any) -> None:
    liar = Liar([OUTPUT], [DONE])
    session = await connect(liar)
    running = asyncio.create_task(session.run("x"))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(SessionDied, match="did not answer in time"):
        await session.run("y")
    assert liar.ended == 1


async def test_what_a_host_function_raises_is_told_without_its_traceback(connect: Any) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("no such row")

    def answered(liar: Liar) -> list[tuple[bool, bytes]]:
        return [(frame.header["ok"], frame.body) for frame in liar.heard if frame.header["op"] == "returned"]

    liar = Liar([{"kind": "done"}], [CALL, ({**CALL[0], "call": 2, "name": "g"}, b"{}")])
    session = await connect(liar)
    await session.offer([HostFunction("f", "")])
    running = asyncio.create_task(session.run("x", on_call=fail))
    await asyncio.sleep(0.2)
    assert answered(liar)[0] == (False, b"\"'no such row'\"")
    assert answered(liar)[1][0] is False
    assert b"no function 'g'" in answered(liar)[1][1]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await session.aclose()


# --- what calls and displays may cost -----------------------------------------------------------------


def calling(*bodies: bytes) -> list[Any]:
    return [({**CALL[0], "call": number}, body) for number, body in enumerate(bodies, 1)]


async def answers(connect: Any, limits: Limits, bodies: list[bytes], on_call: Any) -> list[tuple[bool, str]]:
    """What code was told of calls that it made side by side."""
    liar = Liar([{"kind": "done"}], calling(*bodies))
    session = await connect(liar, limits)
    await session.offer([HostFunction("f", "")])
    running = asyncio.create_task(session.run("x", on_call=on_call))

    def told() -> list[tuple[bool, str]]:
        return [(f.header["ok"], f.body.decode()) for f in liar.heard if f.header["op"] == "returned"]

    try:
        async with asyncio.timeout(30):
            while len(told()) < len(bodies):  # noqa: ASYNC110 - the guest is a double, and says what it heard
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return told()


async def give(_name: str, arguments: dict[str, Any]) -> Any:
    return len(str(arguments))


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"{}", 1),
        (b'{"a": [1, [2, {}]]}', 6),
        (b'{"a": "' + b"1,2,3[{" * 100 + b'"}', 1),
        (b'{"a": "' + rb"\"," * 1000 + b'"}', 1),
        (b'{"a": [' + b"[]," * 1000 + b"[]]}", 2003),
    ],
)
def test_the_memory_of_arguments_is_known_before_they_are_read(body: bytes, values: int) -> None:
    assert cost_of(body) <= CALL_COST + len(body) + VALUE * values
    assert cost_of(body) >= CALL_COST + len(body) + (VALUE * values if values > 10 else 0)


@pytest.mark.parametrize("body", [b'"' * (1 << 20), rb"\"" * (1 << 19), b'"' + rb"\," * (1 << 19), b"," * (1 << 20)])
def test_counting_is_linear(body: bytes) -> None:
    before = time.process_time()
    cost_of(body)
    assert time.process_time() - before < 1


async def test_arguments_that_blow_up_are_refused_unread(connect: Any) -> None:
    """1 MiB of `[]` takes 22 MB; a thousand such calls took 2.4 GB."""
    bomb = b'{"a": [' + b"[]," * 300_000 + b"[]]}"
    text = b'{"a": "' + b"1,2\\n" * 200_000 + b'"}'
    (bombed, why), fine = await answers(connect, Limits(), [bomb, text], give)
    assert not bombed
    assert "bytes of memory, and 4,194,304 at most are passed on" in why
    assert fine == (True, str(len("{'a': ''}") + 5 * 200_000))


async def test_the_sum_of_what_calls_pass_has_an_end(connect: Any) -> None:
    text = b'{"a": "' + b"x" * 20_000 + b'"}'
    first, second, third = await answers(connect, Limits(traffic=45_000), [text, text, text], give)
    assert first[0]
    assert second[0]
    assert not third[0]
    assert "have passed 45,000 bytes, the most that they may (Limits.traffic)" in third[1]

    async def much(*_: object) -> Any:
        return "y" * 30_000

    [told] = await answers(connect, Limits(traffic=25_000), [b"{}"], much)
    assert not told[0]
    assert "Limits.traffic" in told[1]


async def test_only_so_much_waits_at_once(connect: Any) -> None:
    at_once = most = 0

    async def slow(_name: str, arguments: dict[str, Any]) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(2 if arguments else 0.05)
        at_once -= 1

    text = b'{"a": "' + b"x" * 1_000_000 + b'"}'
    told = await answers(connect, Limits(), [text] * 20, slow)
    assert [ok for ok, _ in told].count(True) == 16
    assert all("make fewer at once" in said for ok, said in told if not ok)
    assert all(ok for ok, _ in await answers(connect, Limits(), [b"{}"] * 200, slow))
    assert most == AT_ONCE


async def test_displays_have_a_sum_too(connect: Any) -> None:
    one = shown(["text/plain", 60], body=b"x" * 60)
    session = await connect(Liar([one, DONE_SILENT], [one, one, DONE_SILENT]), Limits(displays=200, traffic=150))
    first, second = await session.run("x"), await session.run("y")
    assert [(len(e.displays), e.withheld) for e in (first, second)] == [(1, 0), (1, 1)]


async def test_a_flood_of_frames_leaves_others_their_turn(connect: Any) -> None:
    rows = [[f"{n // 100}/a file with a name {n}", 1, "0" * 64, "", "100644"] for n in range(20_000)]
    frames = [{"kind": "files", "id": 1, "files": rows[n : n + 64], "gone": []} for n in range(0, len(rows), 64)]
    session = await connect(Liar([b"".join(map(wire.encode, frames)), LISTED]), Limits())
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    request = asyncio.create_task(session.changes())
    await asyncio.sleep(0.1)  # the guest has said it all
    taking = asyncio.create_task(take_turns())
    changes = await request
    taking.cancel()
    assert len(changes.changed) == 20_000
    assert turns >= 10


async def test_a_file_in_crumbs_ends_all(connect: Any) -> None:
    for frames in ([({"kind": "done", "final": False}, b"x")], [({"kind": "done", "final": True}, b"x" * 2_000_000)]):
        session = await connect(Liar(frames))
        with pytest.raises(SessionDied):
            await session.get("a")


@pytest.mark.parametrize("modes", [None, "100644", [], ["100644"], ["100644", "100644"], ["100644", "120000"], [0, 0]])
async def test_a_file_that_becomes_another_one_ends_all(connect: Any, modes: object) -> None:
    session = await connect(Liar([{"kind": "done", "modes": modes}]))
    with pytest.raises(SessionDied):
        await session.put_tree([TreeFile("a", b"x", "100755"), TreeFile("b", b"y")])


@pytest.mark.parametrize("mode", [None, "120000", "160000", 33188, ["100644"]])
async def test_a_mode_that_is_none_ends_all(connect: Any, mode: object) -> None:
    session = await connect(Liar([{"kind": "done", "modes": [mode]}]))
    with pytest.raises(SessionDied):
        await session.put("a", b"x")


async def test_only_the_beginning_of_a_file_is_fetched(connect: Any) -> None:
    liar = Liar([({"kind": "done", "final": False}, b"\x89PNG")])
    assert await (await connect(liar)).get("a.png", 4) == b"\x89PNG"
    assert liar.heard[0].header["length"] == 4
