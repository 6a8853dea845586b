"""`read_file` and `write_file` over the public sandbox double."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.sandbox import DummySandbox, Execution, Limits
from fastslow.sandbox.dummy import DummySession
from fastslow.tools import Caller, Outcome, ToolError, caller, parse_arguments
from fastslow.tools.builtin import Editing, builtin_tools
from fastslow.tools.builtin.files import ROOM, _excerpt

Call = Callable[..., Awaitable[Outcome]]


def calling(session: DummySession, edit: Editing = "replace") -> Call:
    """Calls the tools as the model does, in one session, and with one memory of what was seen."""
    tools = {tool.name: tool for tool in builtin_tools(edit=edit)}

    async def opened() -> DummySession:
        return session

    listener = Caller(opened)

    async def call(name: str, **arguments: Any) -> Outcome:
        caller.set(listener)
        tool = tools[name]
        return await tool.call(parse_arguments(tool.parameters, json.dumps(arguments), tool.rewrite))

    return call


async def with_files(files: dict[str, bytes], *script: Execution, upload: int = 1 << 20) -> DummySession:
    session = await DummySandbox(script, Limits(upload=upload)).session()
    for path, data in files.items():
        await session.put(path, data)
    return session


async def test_a_file_is_written_and_read() -> None:
    session = await with_files({})
    call = calling(session)
    wrote = await call("write_file", path="./notes/a.txt", content="one\ntwo\r\nthrée\n")
    assert wrote == Outcome("Wrote notes/a.txt (16 bytes).", written=("notes/a.txt",))
    assert (await call("read_file", path="notes/a.txt")).text == "1\tone\n2\ttwo\n3\tthrée"
    part = await call("read_file", file_path="/work/notes/a.txt", start_line=2, lines=1)
    assert part.text == "2\ttwo\n(lines 2 to 2 of 3; read on with start_line=3)"
    assert part.limit == ROOM


async def test_what_was_read_before_is_said() -> None:
    session = await with_files({"a.txt": b"one\ntwo\n"})
    call = calling(session)
    first = (await call("read_file", path="a.txt")).text
    again = (await call("read_file", path="./a.txt")).text
    assert again == f"{first}\n(You have read these lines 2 times now, and the file has not changed.)"
    assert "3 times" in (await call("read_file", path="a.txt")).text
    assert "times" not in (await call("read_file", path="a.txt", lines=1)).text
    await session.put("a.txt", b"two\ntwo\n")
    assert "times" not in (await call("read_file", path="a.txt", lines=1)).text


async def test_errors_say_what_to_do() -> None:
    files = {"orders.csv": b"a,b\n", "plot.png": b"\x89PNG\0\0", "empty": b""}
    session = await with_files(files, upload=1000)
    call = calling(session)
    with pytest.raises(ToolError, match=r"no file 'order\.csv'\. There is: orders\.csv"):
        await call("read_file", path="order.csv")
    with pytest.raises(ToolError, match=r"is no text .6 bytes.. Open it with Python"):
        await call("read_file", path="plot.png")
    with pytest.raises(ToolError, match="has 1 lines, so there is no line 9"):
        await call("read_file", path="orders.csv", start_line=9)
    assert (await call("read_file", path="empty")).text == "(empty is empty)"
    with pytest.raises(ToolError, match="cannot be read"):
        await call("read_file", path="../x")
    for path, content in (("/etc/passwd", ""), ("long", "x" * 1001)):
        with pytest.raises(ToolError, match=f"{path} was not written"):
            await call("write_file", path=path, content=content)
    assert [file.path for file in await session.files()] == ["empty", "orders.csv", "plot.png"]


async def test_a_file_that_was_not_read_is_not_overwritten() -> None:
    session = await with_files({"a.txt": b"one\n", "empty": b""})
    call = calling(session)
    with pytest.raises(ToolError, match=r"a\.txt was not written: it exists.*use edit_file.*read_file first"):
        await call("write_file", path="a.txt", content="two")
    assert await session.get("a.txt") == b"one\n"
    await call("read_file", path="a.txt")
    await call("write_file", path="a.txt", content="two\n")
    await call("write_file", path="/work/a.txt", content="three\n")  # its own content is known
    await session.put("a.txt", b"by code\n")
    with pytest.raises(ToolError, match="was not read since it last changed"):
        await call("write_file", path="a.txt", content="four\n")
    await call("write_file", path="empty", content="there is nothing to lose")
    await calling(session, "whole")("write_file", path="a.txt", content="four\n")
    assert await session.get("a.txt") == b"four\n"


async def test_line_ends_stay_what_they_were() -> None:
    session = await with_files({"a.txt": b"one\r\ntwo\r\n", "b.txt": b"one\r\ntwo\n"})
    call = calling(session, "whole")
    assert "its lines end with CRLF as before" in (await call("write_file", path="a.txt", content="1\n2\n")).text
    await call("write_file", path="b.txt", content="1\n2\n")
    assert (await session.get("a.txt"), await session.get("b.txt")) == (b"1\r\n2\r\n", b"1\n2\n")
    await call("write_file", path="a.txt", content="1\r2\n")
    assert await session.get("a.txt") == b"1\r2\n"


def test_long_files_are_cut_at_line_ends() -> None:
    data = b"".join(b"%d %s\n" % (number, b"x" * 90) for number in range(1, 1001))
    text, first, last = _excerpt("a", data, 101, 900)
    *shown, note = text.split("\n")
    assert (first, last) == (101, 100 + len(shown))
    assert note == f"(lines 101 to {last} of 1000; read on with start_line={last + 1})"
    assert shown[-1] == f"{last}\t{last} {'x' * 90}"
    assert 19_500 < len("\n".join(shown)) <= 20_000
    assert len(_excerpt("a", b"\n" * 100_000, 1, 100_000)[0]) < ROOM


def test_long_lines_are_cut() -> None:
    text, *_ = _excerpt("a.json", b"[" + b"1," * 5000 + b"1]\nend\n", 1, 10)
    assert text.startswith("1\t[1,1,1")
    assert "[cut: this line has 10,003 characters]\n2\tend" in text
    assert len(text) < 600


def test_other_encodings_are_shown_and_said() -> None:
    assert (
        _excerpt("a", "caf\xe9\nok\n".encode("latin-1"), 1, 9)[0] == "1\tcaf\xe9\n2\tok\n(not UTF-8, shown as Latin-1)"
    )
    assert _excerpt("a", "caf\xe9\nok\n".encode("latin-1"), 2, 9)[0].endswith(
        "(lines 2 to 2 of 2; not UTF-8, shown as Latin-1)"
    )
    assert _excerpt("a", "\ufeffcaf\xe9".encode(), 1, 9)[0] == "1\tcaf\xe9"


@given(st.binary(max_size=200), st.integers(1, 9), st.integers(1, 9))
def test_any_bytes_are_read_or_refused(data: bytes, start: int, count: int) -> None:
    try:
        text, first, last = _excerpt("x", data, start, count)
    except ToolError:
        return
    assert len(text) < ROOM
    assert not data or first == start <= last < start + count


def test_a_file_of_many_lines_is_read_without_a_list_of_them() -> None:
    """Sixty MiB of line ends cost code nothing, and a list of them half a GB here."""
    data = b"\n" * (8 << 20) + b"last"
    tracemalloc.start()
    try:
        before = time.process_time()
        shown, *_ = _excerpt("x", data, (8 << 20) + 1, 5)
        assert time.process_time() - before < 2
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()
    assert shown == "8388609\tlast\n(lines 8388609 to 8388609 of 8388609)"


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 16])
def test_excerpts_are_what_splitting_gives(monkeypatch: pytest.MonkeyPatch, end: str, block: int) -> None:
    monkeypatch.setattr("fastslow.tools.builtin.files.BLOCK", block)
    lines = ["", "a", "", "bc", "ä", "", "d"]
    for start in range(1, 8):
        for count in range(1, 9):
            told, *_ = _excerpt("x", ("\r\n".join(lines) + end).encode(), start, count)
            last = min(start - 1 + count, 7)
            part = "\n".join(f"{number}\t{lines[number - 1]}" for number in range(start, last + 1))
            on = f"; read on with start_line={last + 1}" if last < 7 else ""
            assert told == (part if (start, last) == (1, 7) else f"{part}\n(lines {start} to {last} of 7{on})")


@pytest.mark.parametrize(
    ("before", "wrong", "told"),
    [
        (None, ["line 1: '(' was never closed"], "line 1: '(' was never closed"),
        (b"x = 1\n", ["line 1: '(' was never closed", ""], "line 1: '(' was never closed"),
        (b"x = [\n", ["line 1: '(' was never closed", "line 1: '[' was never closed"], ""),  # it was broken before
        (b"x = 1\n", [""], ""),
    ],
)
async def test_a_new_syntax_error_is_told(before: bytes | None, wrong: list[str], told: str) -> None:
    """With what the sandbox's Python says of the content as it is, and as it was."""
    session = await with_files(
        {} if before is None else {"a b.py": before}, *(Execution("ok", f"{one}\n") for one in wrong)
    )
    text = (await calling(session, "whole")("write_file", path="a b.py", content="f(\n")).text
    assert text == "Wrote a b.py (3 bytes)." + (f"\nNew syntax error in a b.py, {told}. Mend it." if told else "")
    ran = session._sandbox.ran
    assert ".py < '/work/a b.py'" in ran[0]
    assert len(ran) == len(wrong)


async def test_where_nothing_can_be_parsed_nothing_is_said() -> None:
    ends = Execution("timeout", exit_code=124), Execution("error", exit_code=127), Execution("died", exit_code=137)
    session = await with_files({}, *ends)
    call = calling(session, "whole")
    for number in range(3):
        assert (await call("write_file", path="a.py", content=f"f({number}")).text == "Wrote a.py (3 bytes)."
    await call("write_file", path="big.json", content="[" * 1_000_001)  # no execution is left for it


async def test_a_file_written_whole_keeps_what_was_left_out_and_says_so() -> None:
    session = await with_files(
        {"a.py": b"def f():\r\n    return 1\r\n\r\n\r\ndef g():\r\n    return f()\r\n"}, *[Execution("ok")] * 2
    )
    wrote = await calling(session, "whole")("write_file", path="a.py", content="def f():\n    return 2\n")
    assert "as you left them out these are as before: g, its lines end with CRLF as before" in wrote.text
    assert await session.get("a.py") == b"def f():\r\n    return 2\r\n\r\n\r\ndef g():\r\n    return f()\r\n"
    await session.put("b.py", b"x = 1\ny = 2\n")
    call = calling(session)
    await call("read_file", path="b.py")
    assert (await call("write_file", path="b.py", content="x = 2\n")).text == "Wrote b.py (6 bytes)."
