"""A worker, without its process: what it is asked, what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from fastslow.agent.errors import EngineUnreachable, RunBusy
from fastslow.agent.events import Exit
from fastslow.agent.flow.crew import Do
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.spec import MapSpec
from fastslow.agent.flow.words import Asked, Failure, Said, asked_line, read_said, said_line
from fastslow.agent.flow.worker import TOO_LONG, work
from fastslow.agent.record.jobs import StepResult
from fastslow.sandbox import SandboxError

SPEC = MapSpec("job", "Repeat {n}")


def opening(do: Do) -> Callable[[MapSpec], AbstractAsyncContextManager[Do]]:
    @asynccontextmanager
    async def opened(spec: MapSpec) -> AsyncIterator[Do]:
        assert spec == SPEC
        yield do

    return opened


def asked(number: int, text: str = "") -> bytes:
    return asked_line(Asked(number, Row(number, str(number), f"key-{number}", {"n": text})))


async def said(do: Do, *lines: bytes, wait: float = 0.0) -> list[Said]:
    reader, heard = asyncio.StreamReader(), list[Said]()
    reader.feed_data(SPEC.to_json().encode() + b"\n" + b"".join(lines))

    def say(words: Said) -> None:
        heard.append(read_said(said_line(words)))

    working = asyncio.create_task(work(reader, say, opening(do)))
    await asyncio.sleep(wait)
    reader.feed_eof()
    await asyncio.wait_for(working, 10)
    return heard


async def echo(row: Row) -> StepResult:
    return StepResult(row.key, row.id, Exit.ANSWERED, dict(row.values))


async def test_rows_in_results_out() -> None:
    ready, first, second = await said(echo, asked(1, "a"), asked(2, "b\n\u2028"), wait=0.1)
    assert ready == Said()
    assert (first.number, first.done and first.done.output) == (1, {"n": "a"})
    assert (second.number, second.done and second.done.output) == (2, {"n": "b\n\u2028"})


async def test_the_end_of_the_input_leaves_what_is_in_hand() -> None:
    left = []

    async def endless(row: Row) -> StepResult:
        try:
            await asyncio.sleep(1000)
        finally:
            left.append(row.id)
        raise AssertionError

    assert await said(endless, asked(1), asked(2), wait=0.1) == [Said()]
    assert sorted(left) == ["1", "2"]


async def test_half_a_line_of_a_dead_coordinator_is_nothing() -> None:
    assert await said(echo, asked(1)[:-1]) == [Said()]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineUnreachable("nobody is there"), Failure("server", "nobody is there")),
        (SandboxError("no daemon"), Failure("sandbox", "no daemon")),
        (OSError("the disk is full"), Failure("other", "the disk is full")),
        (KeyError("x"), Failure("other", "a worker broke off: KeyError: 'x'")),
    ],
)
async def test_errors_are_told_by_kind(error: Exception, told: Failure) -> None:
    async def failing(row: Row) -> StepResult:
        raise error

    assert await said(failing, asked(1), wait=0.1) == [Said(), Said(1, failure=told)]


async def test_a_run_that_an_earlier_worker_still_leaves_is_waited_for() -> None:
    tries = []

    async def busy(row: Row) -> StepResult:
        tries.append(row.id)
        if len(tries) < 2:
            raise RunBusy("another process has it")
        return await echo(row)

    assert [words.number for words in await said(busy, asked(1), wait=0.8)] == [0, 1]


async def test_a_result_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.flow.words.LINE", 2000)

    async def shouting(row: Row) -> StepResult:
        return StepResult(row.key, row.id, Exit.ANSWERED, "x" * 3000)

    _, told = await said(shouting, asked(1), wait=0.1)
    assert told.done
    assert (told.done.key, told.done.exit, told.done.failure) == ("key-1", Exit.FAILED, TOO_LONG)


async def test_what_is_no_row_ends_it_with_a_word() -> None:
    _, told = await said(echo, b"[]\n")
    assert told.failure
    assert told.failure.whose == "other"
