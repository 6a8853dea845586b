"""Code of others: a tool's body, a toolset, whoever answers a question. Whatever it raises or does to its task stays
there, and comes back as a value."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dis
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from queue import SimpleQueue
from types import CodeType
from typing import Any, Generic, TypeVar

from fastslow.tools.lenient import without_surrogates

T = TypeVar("T")
IDLE = 64  # threads that wait for work, at most
GRACE = 5.0  # seconds to clean up for code that is cancelled; what takes longer is left behind
_RAISE = bytes([dis.opmap["RAISE_VARARGS"]])
_idle: list[SimpleQueue[Any]] = []  # of each thread that waits for work, where it takes it from
os.register_at_fork(after_in_child=_idle.clear)  # threads stay in the parent


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """How code of others ended: with a value, with what it raised, or not at all within its time (overdue)."""

    value: T | None = None
    error: BaseException | None = None
    overdue: bool = False


async def apart(
    function: Callable[..., Awaitable[T]], *arguments: Any, seconds: float | None = None, grace: float = GRACE
) -> Ended[T]:
    """Await a function of others in a task of its own, so that it can cancel nothing but itself.

    seconds: for which it may run, None for no limit. grace: that it gets to end when those are over, or when we are
    cancelled. Raises nothing but that cancellation, and KeyboardInterrupt where a person pressed Ctrl-C.
    """
    task = asyncio.create_task(ended(function, *arguments))
    overdue = True
    try:
        await asyncio.wait([task], timeout=seconds)
        overdue = not task.done()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=grace)
    if overdue:
        return Ended(overdue=True)
    return Ended(error=asyncio.CancelledError()) if task.cancelled() else task.result()


async def ended(function: Callable[..., Awaitable[T]], *arguments: Any) -> Ended[T]:
    """Await a function of others in this task, which is to be its own."""
    try:
        return Ended(await function(*arguments))
    except BaseException as error:
        if pressed(error):
            raise
        return Ended(error=error)


def tried(function: Callable[..., T], *arguments: Any) -> Ended[T]:
    """Call a function of others here and now."""
    try:
        return Ended(function(*arguments))
    except BaseException as error:
        if pressed(error):
            raise
        return Ended(error=error)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run a blocking function in a daemon thread that does nothing else meanwhile; raises what it raises.

    A thread cannot be stopped: in a pool of so many, tools that hang would take one each until nothing runs any more,
    and the interpreter would wait for them at its exit. One that has ended takes the next function: to start another
    costs more than the rest of a call, and the event loop waits for it.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="tool", daemon=True).start()
    inbox.put((future, contextvars.copy_context(), function, *arguments))
    return await asyncio.wrap_future(future)


def _serve(inbox: SimpleQueue[Any]) -> None:
    _work(*inbox.get())
    while len(_idle) < IDLE:
        _idle.append(inbox)
        _work(*inbox.get())


def _work(
    future: concurrent.futures.Future[T], context: contextvars.Context, function: Callable[..., T], *arguments: Any
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = context.run(function, *arguments)
    except StopIteration as error:  # a future refuses to carry it
        future.set_exception(RuntimeError(described(error)))
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def pressed(error: BaseException) -> bool:
    """Whether a person pressed Ctrl-C, and no code raised this KeyboardInterrupt of its own accord.

    A signal interrupts the main thread at any instruction, or, under `asyncio.run`, in its handler.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    codes: list[CodeType] = []
    instruction, trace = 0, error.__traceback__
    while trace:
        codes.append(trace.tb_frame.f_code)
        instruction, trace = trace.tb_lasti, trace.tb_next
    if not codes or _work.__code__ in codes:  # no signal comes to another thread
        return False
    raised = codes[-1].co_code[instruction : instruction + 1] == _RAISE
    return not raised or codes[-1] is asyncio.Runner._on_sigint.__code__  # type: ignore[attr-defined]


def described(error: BaseException) -> str:
    """An exception in one line, with its kind: `KeyError: 'x'` says more than `'x'`."""
    text, kind = text_of(error), type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        text = f"{text}: {'; '.join(map(described, error.exceptions))}"
    return f"{kind}: {text}" if text else kind


def text_of(error: BaseException) -> str:
    """What an exception says, as text that can be written down."""
    try:
        return without_surrogates(str(error))
    except BaseException:  # a broken __str__ is code of others, too
        return "(an error that cannot be shown)"
