"""The tools for files in a real sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fastslow.sandbox import DockerSandbox, DockerSession, Limits
from fastslow.tools import ToolError
from tests.tools.test_files import Call, calling

pytestmark = pytest.mark.docker


@pytest.fixture
async def session() -> AsyncIterator[DockerSession]:
    sandbox = DockerSandbox(Limits(memory=256 << 20, disk=64 << 20))
    try:
        yield await sandbox.session()
    finally:
        await sandbox.aclose()


@pytest.fixture
def call(session: DockerSession) -> Call:
    return calling(session)


async def test_search(session: DockerSession, call: Call) -> None:
    files = {"a.py": b"x = 1\nfoo(\n", ".env": b"foo\n", ".git/config": b"foo\n", "d/b.bin": b"foo\n\0\1foo"}
    for path, data in {**files, "d/-x y": "foo é\n".encode() + b"foo \xff\nbar 'q'\n"}.items():
        await session.put(path, data)

    async def found(pattern: str, path: str = ".", glob: str = "") -> str:
        return (await call("search", pattern=pattern, path=path, glob=glob)).text

    assert await found("foo") == ".env:1: foo\na.py:2: foo(\nd/-x y:1: foo é\nd/-x y:2: foo �"
    assert await found("foo", glob="*.py") == await found(r"foo\(") == "a.py:2: foo("
    assert await found("'q'", "d/-x y") == "d/-x y:3: bar 'q'"
    assert await found("= 1\nfoo") == await found(r"= 1\nfoo", "/work") == "a.py:1: x = 1\na.py:2: foo("
    assert await found("-x") == "No match for '-x' in the working folder."
    for pattern, said in (("foo(", "unclosed group"), ("(?=a)", "look-around"), ("[", "unclosed character class")):
        with pytest.raises(ToolError, match=said):
            await found(pattern)
    with pytest.raises(ToolError, match="nope cannot be searched"):
        await found("foo", "nope")
    with pytest.raises(ToolError, match="error parsing glob"):
        await found("foo", glob="[")
    await session.put("many.txt", b"wide " * 200_000 + b"\n" + b"hit\n" * 5000)
    assert (await found("hit")).endswith("many.txt:101: hit\n(and 4,900 more: narrow the pattern, path or glob)")
    assert len(await found("wide")) < 400


@pytest.mark.parametrize(
    ("name", "good", "bad", "said"),
    [
        ("a'b c.py", "x = 1\n", "if x\n    y\n", "line 1: expected ':'"),
        ("-.json", '{"a": [1]}', '{"a": [1}', "line 1: "),
        ("é.toml", "a = 1\n", "a = \n", "Invalid value (at line 1"),
    ],
)
async def test_a_new_syntax_error_is_told(
    session: DockerSession, call: Call, name: str, good: str, bad: str, said: str
) -> None:
    new = await call("write_file", path=name, content=bad)
    assert f"New syntax error in {name}, {said}" in new.text
    assert "syntax" not in (await call("write_file", path=name, content=bad + " ")).text  # it was there before
    assert "syntax" not in (await call("write_file", path=name, content=good)).text
    broken = await call("edit_file", path=name, edits=[{"old_text": good, "new_text": bad}])
    assert f"New syntax error in {name}, {said}" in broken.text


async def test_what_hostile_content_does_to_the_parser_stays_in_the_sandbox(call: Call) -> None:
    await call("write_file", path="ast.py", content="raise SystemExit('imported')\n")
    for content in ("(" * 100_000, "x = 1\0", "-" * 90_000 + "1", "\ufeffx = 1", "# coding: nonsense\nx = 1"):
        assert (await call("write_file", path="a.py", content=content)).text.startswith("Wrote a.py")
    assert "syntax" not in (await call("write_file", path="a.json", content="[" * 100_000)).text  # nobody can tell
    assert (await call("write_file", path="a.yaml", content="a: [\n")).ok  # whether or not there is a YAML reader
    assert "imported" not in (await call("write_file", path="b.py", content="x = 1\n")).text


async def test_a_file_is_edited(session: DockerSession, call: Call) -> None:
    await session.put("src/a.py", b"def f():\r\n\treturn 1\r\n")
    await call(
        "edit_file",
        path="src/a.py",
        edits=[{"old_text": "def f():\n    return 1", "new_text": "def g():\n    return 2"}],
    )
    assert await session.get("src/a.py") == b"def g():\r\n\treturn 2\r\n"
    await session.shell("ln -s a.py src/link; echo x >> src/a.py")
    with pytest.raises(ToolError, match="was not read since"):
        await call("write_file", path="src/a.py", content="")
    for name in ("read_file", "edit_file"):
        with pytest.raises(ToolError, match="cannot be read"):
            await call(
                name, path="src/link", **({"edits": [{"old_text": "1", "new_text": "2"}]} if "edit" in name else {})
            )
