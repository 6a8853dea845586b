"""Whatever a tool does stays the tool's: what it raises, how it ends, what it gives back. So does what others pass in:
who answers questions, toolsets, agents as tools."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from fastslow import Agent, Answer, Approval, ApprovalRule, Exit, Journal, Question, Result, ScriptedModel
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, CallOutput
from fastslow.sandbox import CallFailed, DockerSandbox, SandboxError
from fastslow.tools import Outcome, Tool, ToolError, Toolset, tool
from fastslow.tools.foreign import apart
from tests.agent.helpers import add, calls, says

ROOT = Path(__file__).parents[2]
ALL = Approval((ApprovalRule("allow"),))


class Panic(BaseException):
    """As pyo3's PanicException: no Exception."""


class Mute(Exception):
    def __str__(self) -> str:
        raise Panic("mute")


class MuteToolError(ToolError):
    def __str__(self) -> str:
        raise RuntimeError("mute")


RAISED: list[tuple[BaseException, str]] = [
    (Panic("x"), "t failed: Panic: x"),
    (KeyboardInterrupt("x"), "t failed: KeyboardInterrupt: x"),
    (KeyboardInterrupt(), "t failed: KeyboardInterrupt"),
    (SystemExit(3), "t failed: SystemExit: 3"),
    (GeneratorExit("x"), "t failed: GeneratorExit: x"),
    (asyncio.CancelledError("x"), "t failed: CancelledError: x"),
    (BaseExceptionGroup("g", [Panic("x")]), "t failed: BaseExceptionGroup: g (1 sub-exception): Panic: x"),
    (
        BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError("y")]),
        "t failed: BaseExceptionGroup: g (2 sub-exceptions): KeyboardInterrupt; ValueError: y",
    ),
    (StopIteration("x"), "t failed: RuntimeError"),
    (StopAsyncIteration("x"), "t failed: "),
    (Mute(), "t failed: Mute: (an error that cannot be shown)"),
    (MuteToolError(), "(an error that cannot be shown)"),
    (ValueError("\ud800"), "t failed: ValueError: \ufffd"),
    (SandboxError("of its own"), "t failed: SandboxError: of its own"),
    (CallFailed("of its own"), "t failed: CallFailed: of its own"),
    (MemoryError(), "t failed: MemoryError"),
    (RecursionError("deep"), "t failed: RecursionError: deep"),
]


def made(body: Callable[..., Any], timeout: float | None = 20.0, name: str = "t") -> Tool:
    return Tool.from_schema(name, "Does it.", {"type": "object"}, body, timeout=timeout, effect="read")


def raising(error: BaseException, how: str) -> Tool:
    def at_once() -> None:
        raise error

    async def later() -> None:
        await asyncio.sleep(0)
        raise error

    def loop_of_its_own() -> None:
        asyncio.run(later())

    return made({"sync": at_once, "async": later, "loop": loop_of_its_own}[how])


async def run(*tools: Any, script: Sequence[Any] = (), **options: Any) -> Result:
    script = script or [calls(("t", {})), calls(("add", {"a": 1, "b": 2})), says("done")]
    options = {"sandbox": None, "journal": None, "approval": ALL, **options}
    agent = Agent(engine=ScriptedModel(script), tools=[*tools, add], **options)
    async with asyncio.timeout(30):
        return await agent.run("the task")


def told(result: Result) -> list[str]:
    return [event.content for event in result.events if isinstance(event, CallFinished)]


@pytest.mark.parametrize("how", ["sync", "async", "loop"])
@pytest.mark.parametrize(
    ("error", "said"), RAISED, ids=[repr(error)[:30] for error, _ in RAISED[:10]] + list("abcdefg")
)
async def test_what_a_tool_raises_is_its_failure(error: BaseException, said: str, how: str) -> None:
    started = time.monotonic()
    result = await run(raising(error, how))
    assert (result.exit, result.answer) == (Exit.ANSWERED, "done"), result.reason
    first, second = told(result)
    if how != "loop" or not isinstance(error, StopAsyncIteration | asyncio.CancelledError | StopIteration):
        assert first.startswith(said)
    assert second == "3"
    assert time.monotonic() - started < 10


# --- cancelled from within ---------------------------------------------------------------------------


async def cancels_a_task_and_waits() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(60)


async def cancels_itself_and_returns() -> str:
    task = asyncio.current_task()
    assert task
    task.cancel()
    return "x"


async def waits_for_what_was_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize(
    "body", [cancels_a_task_and_waits, cancels_itself, cancels_itself_and_returns, waits_for_what_was_cancelled]
)
async def test_a_tool_that_is_cancelled_from_within_has_failed(body: Callable[..., Any]) -> None:
    result = await run(made(body))
    assert (result.exit, told(result)) == (Exit.ANSWERED, ["t failed: CancelledError", "3"])


async def test_a_timeout_within_a_tool_is_its_own() -> None:
    async def body() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    async def scope() -> str:
        with anyio.move_on_after(0.01):
            await anyio.sleep(60)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(60)
        return "went on"

    assert told(await run(made(body)))[0] == "t failed: TimeoutError"
    assert told(await run(made(scope)))[0] == "went on"


async def test_a_tool_that_swallows_its_cancellation_is_left_behind() -> None:
    free = asyncio.Event()

    async def stubborn() -> None:
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()

    started = time.monotonic()
    end = await apart(stubborn, seconds=0.1, grace=0.1)
    assert (end.overdue, time.monotonic() - started < 5) == (True, True)
    waiting = asyncio.create_task(apart(stubborn, grace=0.1))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    await asyncio.sleep(0)


async def test_the_runs_own_cancellation_cancels_it() -> None:
    under_way, cleaned = asyncio.Event(), []

    async def body() -> None:
        under_way.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(1)

    task = asyncio.create_task(run(made(body)))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [1]


async def test_what_an_engine_waits_for_in_vain_cancels_no_run() -> None:
    async def gives_up(request: Request) -> Reply:
        await waits_for_what_was_cancelled()
        raise AssertionError

    result = await run(script=[gives_up])
    assert (result.exit, result.reason) == (Exit.FAILED, "something that the run waited for was cancelled")


# --- what it gives back ------------------------------------------------------------------------------


async def test_what_a_tool_yields_is_told_as_it_comes_and_is_its_result() -> None:
    def lines() -> Generator[str]:
        yield "one"
        yield "two"

    async def numbers() -> AsyncGenerator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    def breaks() -> Iterator[int]:
        yield 1
        raise Panic("x")

    async def breaks_too() -> AsyncGenerator[int]:
        yield 1
        raise Panic("x")

    for body, content, output in (
        (lines, '["one","two"]', "one\ntwo\n"),
        (numbers, "[0,1,2]", "0\n1\n2\n"),
        (breaks, "t failed: Panic: x", "1\n"),
        (breaks_too, "t failed: Panic: x", "1\n"),
    ):
        result = await run(made(body))
        assert told(result)[0] == content
        assert "".join([event.text for event in result.events if isinstance(event, CallOutput)]) == output


async def test_what_a_tool_returns_that_yields_is_its_result() -> None:
    async def numbers() -> AsyncGenerator[int]:
        yield 1

    async def mapped() -> Iterator[str]:
        return map(str, [1, 2])

    async def streamed() -> AsyncGenerator[int]:
        return numbers()

    for body, content in ((mapped, '["1","2"]'), (streamed, "[1]"), (lambda: mapped(), '["1","2"]')):
        assert told(await run(made(body)))[0] == content
    ended = await made(lambda: {"a": map(str, [1])}).call({})
    assert (ended.text, ended.data) == ('{"a":["1"]}', {"a": ["1"]})


async def test_a_tool_that_never_stops_yielding_is_stopped() -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(1)

    async def endless_too() -> AsyncGenerator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(1)

    for body in (endless, endless_too):
        assert told(await run(made(body)))[0] == "It yielded 10,000 values and was stopped; ask for less in one call."
    assert closed == [1, 1]


class Broken:
    def __repr__(self) -> str:
        raise Panic("x")


class Dump(Broken):
    def model_dump(self) -> None:
        raise Panic("x")


def deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def circle() -> Any:
    value: dict[str, Any] = {}
    value["it"] = value
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Broken(), "t failed: Panic: x"),
        ([Broken()], "t failed: Panic: x"),
        ({"a": Dump()}, "t failed: Panic: x"),
        (deep(), "t failed: RecursionError: "),
        (circle(), "{'it': {...}}"),
        (float("nan"), "NaN"),
        (b"\xff", "b'\\xff'"),
        ({"a": b"\xff"}, '{"a":"_w=="}'),
        ("a\ud800", "a\ufffd"),
        (10**5000, "1000"),
        (threading.Lock(), "<unlocked _thread.lock"),
        ((x for x in "ab"), '["a","b"]'),
        (map(str.upper, "ab"), '["A","B"]'),
        (Outcome("a\ud800", data=object()), "a\ufffd"),
        (Outcome({"a": 1}), '{"a":1}'),  # type: ignore[arg-type]
        (Outcome("x", "weird"), "t failed: ValueError: the status of an Outcome is one of ok, error"),  # type: ignore[arg-type]
    ],
    ids=[str(number) for number in range(16)],
)
async def test_what_cannot_be_written_fails_or_becomes_text(value: Any, said: str, tmp_path: Path) -> None:
    result = await run(made(lambda: value), journal=Journal(tmp_path / "runs.db"))
    assert result.exit is Exit.ANSWERED, result.reason
    assert told(result)[0].startswith(said)
    again = Agent(engine=ScriptedModel([]), sandbox=None, journal=Journal(tmp_path / "runs.db"))
    assert told(await again.resume(result.run)) == told(result)


async def test_a_tool_with_a_loop_of_its_own() -> None:
    async def later() -> str:
        await asyncio.sleep(0.01)
        return "done"

    def runs() -> str:
        return asyncio.run(later())

    def completes() -> str:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(later())
        finally:
            loop.close()

    async def nested() -> str:
        waiting = later()
        try:
            return asyncio.run(waiting)
        finally:
            waiting.close()

    async def nested_too() -> str:
        waiting = later()
        try:
            return asyncio.get_running_loop().run_until_complete(waiting)
        finally:
            waiting.close()

    assert told(await run(made(runs)))[0] == "done"
    assert told(await run(made(completes)))[0] == "done"
    assert "cannot be called from a running event loop" in told(await run(made(nested)))[0]
    assert "already running" in told(await run(made(nested_too)))[0]


# --- beside others -----------------------------------------------------------------------------------


async def test_others_go_on_beside_a_tool_that_breaks() -> None:
    async def panics() -> None:
        raise Panic("x")

    async def cancels() -> None:
        raise asyncio.CancelledError

    def interrupts() -> None:
        raise KeyboardInterrupt

    async def exits() -> None:
        raise SystemExit

    async def broken_engine(request: Request) -> Reply:
        raise LookupError("a fault of the engine's")

    tools = [made(body, name=body.__name__) for body in (panics, cancels, interrupts, exits)]
    script = [reply for one in tools for reply in (calls((one.name, {})), says(one.name))]
    agent = Agent(engine=ScriptedModel([*script, broken_engine, says("last")]), tools=tools, sandbox=None, journal=None)
    results = [result async for _, result in agent.run_many([*"abcdef"], concurrency=1)]
    assert [result.answer for result in results] == ["panics", "cancels", "interrupts", "exits", "", "last"]
    assert results[4].reason == "the run broke off: LookupError: a fault of the engine's"


async def test_an_agent_as_a_tool_that_breaks_is_a_failed_call() -> None:
    async def broken(request: Request) -> Reply:
        raise Panic("x")

    child = Agent(engine=ScriptedModel([broken]), sandbox=None, journal=None).as_tool("t", "Does it.")
    result = await run(child, script=[calls(("t", {"task": "it"})), says("done")])
    assert (result.exit, told(result)) == (Exit.ANSWERED, ["t failed: Panic: x"])


# --- with a real sandbox -----------------------------------------------------------------------------

CALLING = """
kept = []
for name in ("panics", "cancels", "interrupts", "exits", "falls", "broken"):
    try:
        kept.append(getattr(tools, name)())
    except tools.ToolError as error:
        kept.append(str(error))
print(kept)
"""


@pytest.mark.docker
async def test_code_whose_tools_break_goes_on_and_keeps_its_variables() -> None:
    async def panics() -> None:
        raise Panic("x")

    def interrupts() -> None:
        raise KeyboardInterrupt("x")

    def exits() -> None:
        raise SystemExit(3)

    async def falls() -> None:
        raise SandboxError("of its own")

    bodies = panics, cancels_a_task_and_waits, interrupts, exits, falls, Broken
    names = "panics", "cancels", "interrupts", "exits", "falls", "broken"
    tools = [made(body, name=name) for name, body in zip(names, bodies, strict=True)]
    sandbox = DockerSandbox()
    cells = [calls(("python", {"code": CALLING})), calls(("falls", {})), calls(("python", {"code": "len(kept)"}))]
    try:
        result = await run(*tools, script=[*cells, says("done")], sandbox=sandbox)
    finally:
        await sandbox.aclose()
    first, second, third = [event for event in result.events if isinstance(event, CallFinished) and not event.parent]
    assert first.content == str(
        [
            "panics failed: Panic: x",
            "cancels failed: CancelledError",
            "interrupts failed: KeyboardInterrupt: x",
            "exits failed: SystemExit: 3",
            "falls failed: SandboxError: of its own",
            "broken failed: Panic: x",
        ]
    )
    assert (second.content, third.content) == ("falls failed: SandboxError: of its own", "6")
    assert first.seconds < 10


# --- who answers questions ---------------------------------------------------------------------------


@tool(effect="outside")
def post(line: str) -> str:
    """Post a line.

    Args:
        line: What to post.
    """
    return "posted"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Panic("x"), "nobody could be asked about post: Panic: x"),
        (ValueError("x"), "nobody could be asked about post: ValueError: x"),
        (asyncio.CancelledError(), "nobody could be asked about post: CancelledError"),
        (KeyboardInterrupt(), "nobody could be asked about post: KeyboardInterrupt"),
        (SystemExit(), "nobody could be asked about post: SystemExit"),
        (None, 'ask= must return an Answer that decides "allow", "deny" or "stop", got str'),
    ],
    ids=["panic", "error", "cancelled", "interrupt", "exit", "nonsense"],
)
async def test_a_question_that_fails_ends_the_run_and_is_asked_again(
    error: BaseException | None, said: str, tmp_path: Path
) -> None:
    async def ask(question: Question) -> Any:
        if error:
            raise error
        return "yes"

    async def yes(question: Question) -> Answer:
        return Answer("allow")

    journal = Journal(tmp_path / "runs.db")
    script = [calls(("post", {"line": "a"}))]
    result = await run(post, script=script, ask=ask, approval=None, journal=journal)
    assert (result.exit, result.reason) == (Exit.FAILED, f"{said}; resumed, the run asks again")
    again = Agent(engine=ScriptedModel([says("done")]), tools=[post, add], sandbox=None, ask=yes, journal=journal)
    assert told(await again.resume("last")) == ["posted"]


@pytest.mark.docker
async def test_a_question_that_fails_for_a_call_of_code_ends_the_run_too() -> None:
    async def ask(question: Question) -> Answer:
        raise Panic("x")

    sandbox = DockerSandbox()
    code = "try:\n    tools.post(line='a')\nexcept BaseException as error:\n    print(error)\nwhile True: pass"
    try:
        script = [calls(("python", {"code": code, "seconds": 20}))]
        result = await run(post, script=script, ask=ask, approval=None, sandbox=sandbox)
    finally:
        await sandbox.aclose()
    assert result.exit is Exit.FAILED
    assert result.reason.startswith("nobody could be asked about post: Panic: x")


# --- toolsets ----------------------------------------------------------------------------------------


class Shaky(Toolset):
    """Does something odd at a moment of its life."""

    def __init__(self, moment: str, how: str) -> None:
        self.moment, self.how = moment, how

    async def odd(self) -> None:
        match self.how:
            case "panics":
                raise Panic("x")
            case "cancelled":
                raise asyncio.CancelledError("x")
            case "cancels":
                await cancels_itself()
            case "interrupts":
                raise KeyboardInterrupt("x")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Callable[[], Sequence[Tool]]]:
        if self.moment == "open":
            await self.odd()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if self.moment == "later":
            assert task
            loop.call_later(0.02, task.cancel)  # as anyio does where a connection breaks
        try:
            yield self.list
        finally:
            if self.moment == "close":
                await self.odd()

    def list(self) -> Sequence[Tool]:
        if self.moment == "list":
            raise {"panics": Panic, "interrupts": KeyboardInterrupt}.get(self.how, asyncio.CancelledError)("x")
        return [made(lambda: "fine", name="fine")]


@pytest.mark.parametrize("how", ["panics", "cancelled", "cancels", "interrupts"])
@pytest.mark.parametrize("moment", ["open", "list", "close", "later"])
async def test_a_toolset_that_breaks_ends_the_run_with_a_reason(moment: str, how: str) -> None:
    async def slow(request: Request) -> Reply:
        await asyncio.sleep(0.1)
        return calls(("add", {"a": 1, "b": 2}))

    result = await run(Shaky(moment, how), script=[slow, says("done")])
    if moment == "close":
        assert (result.exit, result.answer) == (Exit.ANSWERED, "done")
        assert "a toolset could not be closed" in result.reason
    else:
        assert result.exit is Exit.FAILED
        assert "the toolset Shaky" in result.reason


async def test_a_connection_that_breaks_ends_the_run_with_its_reason() -> None:
    """A client's task group cancels the task that opened it, as those of MCP do."""

    class Connected(Toolset):
        @asynccontextmanager
        async def open(self) -> AsyncGenerator[Callable[[], Sequence[Tool]]]:
            async def breaks() -> None:
                await anyio.sleep(0.02)
                raise ConnectionError("hung up")

            async with anyio.create_task_group() as group:
                group.start_soon(breaks)
                yield lambda: [made(lambda: "fine", name="fine")]

    async def slow(request: Request) -> Reply:
        await asyncio.sleep(0.1)
        return calls(("add", {"a": 1, "b": 2}))

    result = await run(Connected(), script=[slow, says("done")])
    assert result.exit is Exit.FAILED
    assert result.reason.startswith("the toolset Connected broke down: ExceptionGroup: ")
    assert result.reason.endswith("ConnectionError: hung up")


# --- a person's Ctrl-C -------------------------------------------------------------------------------

INTERRUPTED = """
import asyncio, os, signal, sys, threading, time
from fastslow import Agent, Approval, ApprovalRule, ScriptedModel
from fastslow.tools import Tool
from tests.agent.helpers import calls, says

def press():
    os.kill(os.getpid(), signal.SIGINT)

async def waits():
    threading.Timer(0.2, press).start()
    await asyncio.sleep(20)

async def blocks():
    threading.Timer(0.2, press).start()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)

def thread():
    threading.Timer(0.2, press).start()
    time.sleep(20)

async def blocks_until_the_second():  # the first one only cancels, and the loop cannot see it
    threading.Timer(0.4, press).start()
    await blocks()

body = {"waits": waits, "blocks": blocks, "thread": thread, "twice": blocks_until_the_second}[sys.argv[1]]
tool = Tool.from_schema("t", "x", {"type": "object"}, body, effect="read")
agent = Agent(engine=ScriptedModel([calls(("t", {})), says("done")]), tools=[tool], sandbox=None, journal=None)
if sys.argv[2] == "run":
    work = agent.run_sync
else:
    work = lambda task: asyncio.new_event_loop().run_until_complete(agent.run(task))
try:
    work("x")
except KeyboardInterrupt:
    print("interrupted")
    sys.stdout.flush()
    os._exit(0)
print("went on")
"""


@pytest.mark.parametrize(
    ("body", "loop"), [("waits", "run"), ("thread", "run"), ("twice", "run"), ("waits", "plain"), ("blocks", "plain")]
)
def test_a_persons_ctrl_c_ends_the_run(body: str, loop: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, body, loop]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr
