"""The built-in tools over the public sandbox double."""

from __future__ import annotations

import pytest

from fastslow.sandbox import DummySandbox, Execution, Session
from fastslow.tools import Caller, Tool, ToolError, caller, parse_arguments, tool
from fastslow.tools.builtin import sandbox_tools


class Box:
    """Tools over one session that is opened when first asked for."""

    def __init__(self, *script: Execution) -> None:
        self.sandbox = DummySandbox(script)
        self.session: Session | None = None
        self.tools: dict[str, Tool] = {tool.name: tool for tool in sandbox_tools(self.open)}

    async def open(self) -> Session:
        if self.session is None:
            self.session = await self.sandbox.session()
        return self.session

    async def call(self, name: str, text: str) -> str:
        tool = self.tools[name]
        return await tool.run(parse_arguments(tool.parameters, text))


def test_names_and_laziness() -> None:
    box = Box()
    assert list(box.tools) == ["python", "shell", "read_file", "write_file", "list_files"]
    assert all(tool.spec["function"]["strict"] for tool in box.tools.values())
    assert box.session is None


async def test_effects_name_what_a_call_can_reach() -> None:
    @tool(effect="read")
    def look() -> str:
        """Look."""
        return ""

    def effects(*functions: Tool, networked: bool = False) -> list[str | None]:
        return [tool.effect for tool in sandbox_tools(Box().open, functions, networked=networked)]

    assert effects() == ["sandbox", "sandbox", "read", "sandbox", "read"]
    assert effects(look) == [None, "sandbox", "read", "sandbox", "read"]
    assert effects(networked=True) == [None, None, "read", "sandbox", "read"]


async def test_code_says_output_then_value_then_stderr() -> None:
    box = Box(
        Execution("ok", stdout="a\n", stderr="careful\n", value="42"),
        Execution("ok"),
        Execution("ok", truncated=True),
    )
    heard: list[tuple[str, str]] = []
    caller.set(Caller(on_output=lambda stream, text: heard.append((stream, text))))
    assert await box.call("python", '{"code": "print(1)\\n42"}') == "a\n42\n[stderr]\ncareful"
    assert heard == [("stdout", "a\n"), ("stderr", "careful\n")]
    assert await box.call("python", '{"code": "x = 1"}') == "(no output: print what you need)"
    assert "middle was cut" in await box.call("shell", '{"command": "ls -l"}')
    assert box.sandbox.ran == ["print(1)\n42", "x = 1", "ls -l"]


@pytest.mark.parametrize(
    ("execution", "text"),
    [
        (Execution("error", stdout="a\n", error="ValueError: x", exit_code=1), "a\nValueError: x"),
        (Execution("error", stderr="no such file", exit_code=2), "[stderr]\nno such file\nExit code 2."),
        (Execution("error", exit_code=1), "It failed."),
        (
            Execution("timeout", stdout="a", seconds=60.2, exit_code=124),
            "a\nStopped after 60 seconds: it took too long. Do less at once.",
        ),
        (
            Execution("died", state="lost", exit_code=137),
            "The interpreter died, most likely of too little memory. Use less of it. "
            "All variables are gone: load and define again what you need.",
        ),
    ],
)
async def test_failures_are_tool_errors(execution: Execution, text: str) -> None:
    for name, argument in (("python", "code"), ("shell", "command")):
        with pytest.raises(ToolError) as caught:
            await Box(execution).call(name, f'{{"{argument}": "x"}}')
        assert str(caught.value) == text


async def test_files() -> None:
    box = Box()
    assert await box.call("list_files", "") == "(no files)"
    assert await box.call("write_file", '{"path": "notes/a.txt", "content": "one\\ntwo\\r\\nthrée\\n"}') == (
        "Wrote notes/a.txt (16 bytes)."
    )
    assert await box.call("list_files", "{}") == "notes/a.txt (16 bytes)"
    assert await box.call("read_file", '{"path": "notes/a.txt"}') == "one\ntwo\nthrée"
    assert (
        await box.call("read_file", '{"path": "notes/a.txt", "start_line": 2, "lines": 1}')
        == "two\n(lines 2 to 2 of 3)"
    )


async def test_file_errors_say_what_to_do() -> None:
    box = Box()
    session = await box.open()
    await session.put("orders.csv", b"a,b\n")
    await session.put("plot.png", b"\x89PNG\0\0")
    await session.put("empty", b"")
    with pytest.raises(ToolError, match=r"no file 'order\.csv'\. There is: orders\.csv"):
        await box.call("read_file", '{"path": "order.csv"}')
    with pytest.raises(ToolError, match=r"is no text .6 bytes.. Open it with Python"):
        await box.call("read_file", '{"path": "plot.png"}')
    with pytest.raises(ToolError, match="has 1 lines, so there is no line 9"):
        await box.call("read_file", '{"path": "orders.csv", "start_line": 9}')
    assert await box.call("read_file", '{"path": "empty"}') == "(empty is empty)"
    for name, text in (
        ("read_file", '{"path": "../x"}'),
        ("write_file", '{"path": "/etc/passwd", "content": ""}'),
    ):
        with pytest.raises(ToolError, match=r"cannot be read|was not written"):
            await box.call(name, text)
