"""`list_files` over the public sandbox double."""

from __future__ import annotations

import pytest

from fastslow.tools import ToolError
from tests.tools.test_files import calling, with_files


async def test_files_are_listed() -> None:
    assert (await calling(await with_files({}))("list_files")).text == "(no files)"
    files = (
        "README.md",
        "src/a.py",
        "src/lib/b.py",
        "src/lib/c.txt",
        "tests/test_a.py",
        ".git/config",
        ".github/x.yml",
    )
    call = calling(await with_files(dict.fromkeys(files, b"12")))

    async def listed(path: str = "", glob: str = "", depth: int = 0) -> list[str]:
        text = (await call("list_files", path=path, glob=glob, depth=depth)).text
        return [line.removesuffix(" (2 bytes)") for line in text.split("\n")]

    assert await listed() == [".github/x.yml", "README.md", *files[1:5]]
    assert await listed(depth=1) == [".github/ (1 file)", "README.md", "src/ (3 files)", "tests/ (1 file)"]
    assert await listed("src", depth=1) == await listed("/work/src/", depth=1) == ["src/a.py", "src/lib/ (2 files)"]
    assert await listed(glob="*.py") == await listed(glob="**/*.py") == ["src/a.py", "src/lib/b.py", "tests/test_a.py"]
    assert await listed(glob="src/**/*.py") == await listed("src", "*.py") == ["src/a.py", "src/lib/b.py"]
    assert await listed(glob="*.rs") == ["(no files like *.rs)"]
    assert await listed("src/a.py") == ["src/a.py"]
    with pytest.raises(ToolError, match=r"no file in scr. There is:\n\.github/ .1 file.\nREADME"):
        await listed("scr")
    with pytest.raises(ToolError, match="leads out of the workspace"):
        await listed("/etc")


async def test_what_is_too_much_is_summed_up() -> None:
    many = {f"src/part{part}/{number}.py": b"" for part in range(3) for number in range(100)}
    text = (await calling(await with_files({"a": b"", **many}))("list_files")).text
    parts = [f"src/part{part}/ (100 files)" for part in range(3)]
    assert text.split("\n") == ["a (0 bytes)", *parts]
    flat = {f"{number}.py": b"" for number in range(300)}
    shown = (await calling(await with_files(flat))("list_files")).text.split("\n")
    assert (len(shown), shown[-1]) == (201, "(and 100 more)")
