"""The built-in tools over the public sandbox double."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fastslow.sandbox import DummySandbox, Execution, Limits
from fastslow.sandbox.dummy import DummySession
from fastslow.sandbox.sandbox import HostFunction, OnCall, OnDisplay, OnOutput
from fastslow.tools import Caller, Outcome, ToolError, caller, parse_arguments, tool
from fastslow.tools.builtin import BUILTIN, builtin_tools, host_functions

TOOLS = {tool.name: tool for tool in builtin_tools()}
RUNNERS = (("python", "code"), ("shell", "command"))


class TimedSession(DummySession):
    """Keeps the seconds that each execution was given, and writes `made` before it ends."""

    def __init__(self, sandbox: DummySandbox, made: dict[str, bytes]) -> None:
        super().__init__(sandbox)
        self.seconds: list[float | None] = []
        self.made = made

    async def run(
        self,
        code: str,
        *,
        seconds: float | None = None,
        on_output: OnOutput | None = None,
        on_display: OnDisplay | None = None,
        on_call: OnCall | None = None,
    ) -> Execution:
        self.seconds.append(seconds)
        for path, data in self.made.items():
            await self.put(path, data)
        return await super().run(code, on_output=on_output, on_display=on_display, on_call=on_call)


class Box:
    """The tools' caller, whose session is opened when first asked for. made: files that each execution writes."""

    def __init__(self, *script: Execution, seconds: float = 60.0, made: dict[str, bytes] | None = None) -> None:
        self.sandbox = DummySandbox(script, Limits(upload=1000))
        self.made = made or {}
        self.session: TimedSession | None = None
        self.heard: list[tuple[str, str]] = []
        caller.set(Caller(self.open, seconds, on_output=lambda stream, text: self.heard.append((stream, text))))

    async def open(self) -> TimedSession:
        if self.session is None:
            self.session = TimedSession(self.sandbox, self.made)
        return self.session


async def call(name: str, **arguments: Any) -> Outcome:
    return await TOOLS[name].call(parse_arguments(TOOLS[name].parameters, json.dumps(arguments)))


def test_names() -> None:
    assert tuple(TOOLS) == BUILTIN
    assert all(tool.spec["function"]["strict"] for tool in TOOLS.values())
    assert builtin_tools() == builtin_tools()
    assert {tool.place for tool in TOOLS.values()} == {"sandbox"}
    assert [tool.name for tool in builtin_tools(edit="whole")] == [name for name in BUILTIN if name != "edit_file"]
    assert all(one is other for one, other in zip(builtin_tools(), TOOLS.values(), strict=True))


async def test_the_session_is_the_callers() -> None:
    first, second = Box(Execution("ok", value="1")), Box(Execution("ok", value="2"), Execution("ok", value="3"))
    assert second.session is None  # until a tool wants it
    assert [(await call("python", code="x")).text, (await call("shell", command="y")).text] == ["2", "3"]
    assert (first.sandbox.ran, second.sandbox.ran) == ([], ["x", "y"])


async def test_code_and_commands_are_taken_out_of_a_fence() -> None:
    box = Box(Execution("ok"), Execution("ok"))
    await call("python", code="Here:\n```python\nprint(1)\n```")
    await call("shell", command="```bash\nls\n```")
    assert box.sandbox.ran == ["print(1)", "ls"]


async def test_without_a_session_there_are_neither_code_nor_files() -> None:
    caller.set(Caller())
    for name, arguments in (("python", {"code": "1"}), ("shell", {"command": "ls"}), ("list_files", {})):
        with pytest.raises(ToolError, match="There is no sandbox here"):
            await call(name, **arguments)


@tool(effect="read")
def look() -> str:
    """Look."""
    return ""


def test_what_may_be_repeated() -> None:
    """Code that reaches out of the sandbox may have done anything before a crash."""

    def repeatable(*functions: HostFunction, networked: bool = False) -> list[bool | None]:
        return [tool.repeatable for tool in builtin_tools(functions, networked=networked)]

    reading = [name for name, tool in TOOLS.items() if tool.effect == "read"]
    assert reading == ["read_file", "list_files", "search"]
    assert {tool.effect for tool in TOOLS.values()} == {"read", "sandbox"}
    assert repeatable() == [True] * 7
    assert repeatable(*host_functions([look])) == [False, *[True] * 6]
    assert repeatable(networked=True) == [False, False, *[True] * 5]


def test_the_model_is_told_of_functions() -> None:
    unspelled = replace(look, name="look-up")
    functions = host_functions([look, unspelled])
    assert [function.name for function in functions] == ["look"]
    python, *rest = builtin_tools(functions)
    assert "use what they return: tools.look(). " in python.description
    assert python.description.startswith(TOOLS["python"].description)
    assert rest == [tool for name, tool in TOOLS.items() if name != "python"]


async def test_code_says_output_then_value_then_stderr() -> None:
    box = Box(
        Execution("ok", stdout="a\n", value="42", stderr="careful\n"),
        Execution("ok", truncated=True),
    )
    assert (await call("python", code="print(1)\n42")).text == "a\n42\n[stderr]\ncareful"
    assert box.heard == [("stdout", "a\n"), ("stderr", "careful\n")]
    cut = await call("shell", command="ls -l")
    assert "middle was cut" in cut.text
    assert not cut.silent
    assert box.sandbox.ran == ["print(1)\n42", "ls -l"]


@pytest.mark.parametrize(
    ("execution", "text"),
    [(Execution("ok"), "(no output)"), (Execution("error", exit_code=1), "Exit code 1.")],
)
async def test_silence_is_a_value(execution: Execution, text: str) -> None:
    for name, argument in RUNNERS:
        Box(execution)
        assert await call(name, **{argument: "x"}) == Outcome(text, exit_code=execution.exit_code, silent=True)


@pytest.mark.parametrize(
    ("execution", "outcome"),
    [
        (
            Execution("error", stderr="no such file", exit_code=2),
            Outcome("[stderr]\nno such file\nExit code 2.", "ok", exit_code=2),
        ),
        (
            Execution("error", stderr="x: not found", exit_code=127),
            Outcome("[stderr]\nx: not found\nExit code 127.", "error", exit_code=127),
        ),
        (Execution("error", exit_code=126), Outcome("Exit code 126.", "error", exit_code=126, silent=True)),
        (
            Execution("error", stdout="a\n", error="ValueError: x", exit_code=1),
            Outcome("a\nValueError: x", "error", exit_code=1),
        ),
        (
            Execution("error", error="SystemExit: 3", exit_code=3),
            Outcome("SystemExit: 3\nExit code 3.", "error", exit_code=3),
        ),
        (
            Execution("timeout", stdout="a", seconds=60.2, exit_code=124),
            Outcome("a\nStopped after 60 seconds: it took too long. Do less at once.", "timeout", exit_code=124),
        ),
        (
            Execution("timeout", seconds=60.2, exit_code=124, state="restored"),
            Outcome(
                "Stopped after 60 seconds: it took too long. Do less at once. "
                "Variables are as they were before this code.",
                "timeout",
                exit_code=124,
                variables="restored",
            ),
        ),
        (
            Execution("died", state="lost", exit_code=137),
            Outcome(
                "The interpreter died, most likely of too little memory. Use less of it. "
                "All variables are gone: load and define again what you need.",
                "died",
                exit_code=137,
                variables="lost",
            ),
        ),
        (
            Execution("died", exit_code=139),
            Outcome("The interpreter died with exit code 139.", "died", exit_code=139),
        ),
    ],
)
async def test_how_it_ended(execution: Execution, outcome: Outcome) -> None:
    """What a command found is no failure; what raised, could not be run, was stopped or died, is."""
    for name, argument in RUNNERS:
        Box(execution)
        assert await call(name, **{argument: "x"}) == outcome


async def test_no_code_runs_that_was_not_asked_for() -> None:
    box = Box(Execution("error", error="KeyError: 'price'", exit_code=1), Execution("ok", stdout="columns"))
    assert (await call("python", code="x")).text == "KeyError: 'price'"
    assert box.sandbox.ran == ["x"]


async def test_seconds_are_at_most_the_callers() -> None:
    for name, argument in RUNNERS:
        box = Box(*[Execution("ok")] * 4, seconds=90)
        await call(name, **{argument: "x"})
        for wanted in (5, 1000, 0):
            await call(name, **{argument: "x", "seconds": wanted})
        assert box.session is not None
        assert box.session.seconds == [60, 5, 90, 90]


async def test_one_that_may_have_more_time_is_told_so() -> None:
    late = Execution("timeout", seconds=5.0, exit_code=124)
    Box(late, seconds=90)
    assert (await call("python", code="x", seconds=5)).text == (
        "Stopped after 5 seconds: it took too long. Give it more with `seconds` (at most 90), or do less at once."
    )


async def test_files_that_are_written_are_named() -> None:
    for name, argument in RUNNERS:
        box = Box(*[Execution("ok", stdout="a")] * 3, made={"plots/a.png": b"\x89PNG 1", "b.csv": b"1"})
        await (await box.open()).put("old", b"")
        first = await call(name, **{argument: "x"})
        assert first == Outcome("a\nFiles written: b.csv, plots/a.png", exit_code=0, written=("b.csv", "plots/a.png"))
        assert (await call(name, **{argument: "x"})).written == ()  # the same contents
        box.made["b.csv"] = b"2"
        assert (await call(name, **{argument: "x"})).written == ("b.csv",)


async def test_a_picture_that_is_none_does_not_count_as_written() -> None:
    for name, argument in RUNNERS:
        box = Box(Execution("ok", stdout="a"), made={"revenue.png": b"region,revenue", "b.csv": b"1"})
        await box.open()
        told = "a\nFiles written: b.csv\nrevenue.png is no .png: its content is something else."
        assert await call(name, **{argument: "x"}) == Outcome(told, exit_code=0, written=("b.csv",))
