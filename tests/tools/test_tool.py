"""Tools: made from schemas and functions, run, and put together."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import functools
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from fastslow.sandbox.errors import SandboxError
from fastslow.tools import (
    ArgumentError,
    Caller,
    Tool,
    Toolbox,
    ToolDefinitionError,
    ToolError,
    caller,
    clip,
    parse_arguments,
    tool,
)

EMPTY = {"type": "object", "properties": {}}


def made(handler: Callable[..., Any], timeout: float | None = 60.0, **properties: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return Tool.from_schema("f", "Does it.", parameters, handler, timeout=timeout)


# --- definition --------------------------------------------------------------------------------------


def test_spec_is_the_openai_object() -> None:
    spec = made(lambda a: a, a={"type": "string"}).spec
    assert spec == {
        "type": "function",
        "function": {
            "name": "f",
            "description": "Does it.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }


@pytest.mark.parametrize(
    ("name", "description", "parameters", "said"),
    [
        ("a b", "x", EMPTY, "name"),
        ("", "x", EMPTY, "name"),
        ("a" * 65, "x", EMPTY, "name"),
        ("f", " ", EMPTY, "description"),
        ("f", "x", {"type": "string"}, "'object'"),
        ("f", "x", {"type": "objekt"}, "no usable JSON schema"),
        ("f", "x", {"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}, "leaves the schema"),
        ("f", "x", {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}, "points to nothing"),
        ("f", "x", {"type": "object", "anyOf": [{"not": {"$ref": "#"}}]}, "refers to itself"),
    ],
)
def test_bad_definitions(name: str, description: str, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolDefinitionError, match=said):
        Tool.from_schema(name, description, parameters, print)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"effect": "reads"}, "needs an effect of"),
        ({"place": "moon"}, "a place of"),
        ({"timeout": "5"}, "needs a timeout over 0 seconds"),
        ({"timeout": 0}, "needs a timeout over 0 seconds"),
        ({"name": 5}, "a tool's name has"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolDefinitionError, match=said):
        Tool(**{"name": "f", "description": "x", "parameters": EMPTY, "handler": print, **settings})


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Place(BaseModel):
    """A place."""

    city: str = Field(description="Its city.")
    days: list[int] = []


@dataclasses.dataclass
class Box:
    width: float
    label: str | None = None


@tool
def report(
    place: Place,
    box: Box,
    unit: Unit = Unit.CELSIUS,
    kind: Literal["long", "short"] = "short",
    on: date | None = None,
    into: Path = Path("out.txt"),
    weights: dict[str, int] | None = None,
    model_config: int | str = 3,
) -> dict[str, Any]:
    """Report the weather.

    Takes a while.

    Args:
        place: Where.
        box: What it comes in.
        unit: The unit
            of temperatures.
        kind: How much.
        on: The day.
        into: The file.
        weights: Free keys.
        model_config: A name that pydantic's models have too.
    """
    return {name: repr(value) for name, value in locals().items()}


def test_function_becomes_schema() -> None:
    assert (report.name, report.description) == ("report", "Report the weather.\nTakes a while.")
    assert report.parameters["required"] == ["place", "box"]
    assert "title" not in json.dumps(report.parameters)
    sent = report.spec["function"]
    assert sent["strict"] is True
    properties = sent["parameters"]["properties"]
    assert list(properties) == sent["parameters"]["required"]
    assert properties["kind"] == {
        "enum": ["long", "short", None],
        "type": ["string", "null"],
        "description": 'How much. (null for "short")',
    }
    assert properties["unit"]["description"] == 'The unit of temperatures. (null for "celsius")'.replace(
        "unit of", "unit\nof"
    )


async def test_function_gets_python_objects() -> None:
    text = """{"place": {"city": "Seoul", "days": ["1"]}, "box": {"width": 2}, "unit": "KELVIN",
        "on": "2025-01-31", "into": null, "kind": null, "weights": {"a": 1}, "model_config": "x"}"""
    result = json.loads(await report.run(parse_arguments(report.parameters, text)))
    assert result == {
        "place": "Place(city='Seoul', days=[1])",
        "box": "Box(width=2.0, label=None)",
        "unit": "<Unit.KELVIN: 'kelvin'>",
        "kind": "'short'",
        "on": "datetime.date(2025, 1, 31)",
        "into": repr(Path("out.txt")),
        "weights": "{'a': 1}",
        "model_config": "'x'",
    }


async def test_what_only_pydantic_knows_is_an_argument_error() -> None:
    with pytest.raises(ArgumentError, match=r'on: .*date.*got "soon"'):
        await report.run({"place": {"city": "x"}, "box": {"width": 1}, "on": "soon"})


def undescribed(a: int) -> None:
    """Do it."""


def unhinted(a) -> None:  # type: ignore[no-untyped-def]
    """Do it.

    Args:
        a: A.
    """


def stale(a: int) -> None:
    """Do it.

    Args:
        a: A.
        b: Gone.
    """


def positional(a: int, /) -> None:
    """Do it.

    Args:
        a: A.
    """


def variadic(*a: int) -> None:
    """Do it."""


def silent() -> None:
    pass


def odd(a: threading.Lock) -> None:  # type: ignore[valid-type]
    """Do it.

    Args:
        a: A.
    """


def unread(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Do it.

    Args:
        a: A.
    """


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (undescribed, "parameter 'a': has no description"),
        (unhinted, "parameter 'a': has no type hint"),
        (stale, "parameter 'b': is described in the docstring and is no parameter"),
        (positional, "parameter 'a': must be passable by name"),
        (variadic, "parameter 'a': must be passable by name"),
        (silent, "has no docstring"),
        (odd, "type that pydantic does not know"),
        (unread, "type hints that cannot be read"),
    ],
)
def test_what_the_model_would_miss_is_an_error_with_its_place(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function)
    line = function.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{__file__}:{line}: function {function.__name__}")
    assert said in str(caught.value)


def test_tool_with_settings_and_methods() -> None:
    class Counter:
        def count(self, by: int) -> int:
            """Count.

            Args:
                by: How far.
            """
            return by

    counting = tool(name="count_up", timeout=3)(Counter().count)
    assert (counting.name, counting.timeout, list(counting.parameters["properties"])) == (
        "count_up",
        3,
        ["by"],
    )
    with pytest.raises(ToolDefinitionError, match="made of a function"):
        tool(Counter)


# --- running -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int
    y: float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        (None, "(no output)"),
        ("", "(no output)"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Point(1, float("nan")), '{"x":1,"y":NaN}'),
        (Place(city="é"), '{"city":"é","days":[]}'),
        (True, "true"),
        (3, "3"),
        (Unit.KELVIN, "kelvin"),
        ({"d": date(2025, 1, 31), "o": Path("x")}, '{"d":"2025-01-31","o":"x"}'),
        (Path("a/b"), "a/b"),
        ("\ud800", "\ufffd"),
        ({"a": "\ud800"}, "{'a': '\\ud800'}"),
    ],
)
async def test_results_as_text(value: Any, text: str) -> None:
    assert await made(lambda: value).run({}) == text


async def test_sync_bodies_run_side_by_side_and_see_the_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("seen")

    def body() -> str:
        time.sleep(0.2)
        return variable.get() + threading.current_thread().name

    started = time.monotonic()
    results = await asyncio.gather(*(made(body).run({}) for _ in range(40)))
    assert results == ["seentool"] * 40
    assert time.monotonic() - started < 4


async def test_async_partial_and_returned_awaitables() -> None:
    async def body(a: int) -> int:
        await asyncio.sleep(0)
        return a + 1

    for handler in (body, functools.partial(body), lambda a: body(a)):
        assert await made(handler, a={"type": "integer"}).run({"a": 1}) == "2"


def raises(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


def araises(error: BaseException) -> Callable[[], Any]:
    async def body() -> Any:
        raise error

    return body


@pytest.mark.parametrize("make", [raises, araises])
async def test_errors_of_the_body(make: Callable[[BaseException], Callable[[], Any]]) -> None:
    with pytest.raises(ToolError, match=r"^f failed: KeyError: 'x'$"):
        await made(make(KeyError("x"))).run({})
    with pytest.raises(ToolError, match=r"^f failed: TimeoutError$"):
        await made(make(TimeoutError())).run({})
    with pytest.raises(ToolError, match=r"^f failed: SystemExit: 3$"):
        await made(make(SystemExit(3))).run({})
    with pytest.raises(ToolError, match=r"^f failed: RuntimeError"):
        await made(make(StopIteration(1))).run({})
    with pytest.raises(ToolError, match=r"^try again$"):
        await made(make(ToolError("try again"))).run({})
    with pytest.raises(SandboxError, match="gone"):
        await made(make(SandboxError("gone"))).run({})


async def test_wrong_keyword_is_a_tool_error() -> None:
    with pytest.raises(ToolError, match="TypeError"):
        await made(lambda: 1).run({"a": 1})


async def test_timeouts() -> None:
    release = threading.Event()
    for handler in (lambda: release.wait(10), lambda: asyncio.sleep(10)):
        started = time.monotonic()
        with pytest.raises(ToolError, match=r"^f was stopped after 0\.1 seconds"):
            await made(handler, timeout=0.1).run({})
        assert time.monotonic() - started < 2
    release.set()
    assert await made(lambda: asyncio.sleep(0.01, "done"), timeout=None).run({}) == "done"


async def test_a_hung_body_does_not_keep_the_process() -> None:
    code = (
        "import asyncio, time; from fastslow.tools import Tool, ToolError\n"
        "f = Tool.from_schema('f', 'x', {'type': 'object'}, lambda: time.sleep(60), timeout=0.1)\n"
        "try: asyncio.run(f.run({}))\nexcept ToolError as e: print(e)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert b"stopped after" in output


async def test_a_thread_that_has_ended_takes_the_next_body() -> None:
    threads = set[threading.Thread]()
    for _ in range(50):
        await made(lambda: threads.add(threading.current_thread())).run({})
    assert len(threads) < 10


async def test_a_process_that_was_forked_starts_threads_of_its_own() -> None:
    code = (
        "import asyncio, os; from fastslow.tools import Tool\n"
        "f = Tool.from_schema('f', 'x', {'type': 'object'}, lambda: 'ran', timeout=5)\n"
        "asyncio.run(f.run({}))\n"
        "child = os.fork()\n"
        "print(asyncio.run(f.run({})), flush=True)\n"
        "if child: os.waitpid(child, 0)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output.count(b"ran") == 2


async def test_cancelling_goes_through() -> None:
    task = asyncio.create_task(made(lambda: asyncio.sleep(10)).run({}))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_output_reaches_whoever_runs_the_tool() -> None:
    def body() -> None:
        callback = caller.get().on_output
        assert callback
        callback("stdout", "hi")

    heard: list[tuple[str, str]] = []
    caller.set(Caller(on_output=lambda stream, text: heard.append((stream, text))))
    await made(body).run({})
    assert heard == [("stdout", "hi")]


# --- clip and toolbox --------------------------------------------------------------------------------


@given(st.text(max_size=300), st.integers(0, 250))
def test_clip(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    if len(text) <= limit:
        assert clipped == text
    else:
        head, note, tail = clipped.partition("\n[... ")
        cut = int(note and tail.split()[0])
        kept = len(text) - cut
        assert head == text[: len(head)]
        assert clipped.endswith(text[len(text) - (kept - len(head)) :])
        assert len(clipped) <= max(limit, 50)


def test_toolbox() -> None:
    a, b = made(print), Tool.from_schema("get_weather", "x", EMPTY, print)
    box = Toolbox([a, report, b])
    assert box.tools == (a, report, b)
    assert [t.name for t in box] == ["f", "report", "get_weather"]
    assert len(box) == 3
    assert "f" in box
    assert box.get("get_weather") is b
    with pytest.raises(
        ArgumentError, match=r"no tool named 'weather'. Did you mean get_weather\? The tools are: f, report"
    ):
        box.get("weather")
    with pytest.raises(ArgumentError, match=r"\(none\)"):
        Toolbox().get("x" * 1000)
    with pytest.raises(ToolDefinitionError, match="two tools are named 'f'"):
        Toolbox([a, made(print)])
    with pytest.raises(ToolDefinitionError, match="has no docstring"):
        Toolbox([silent])
