"""`search` over the public sandbox double: what is run, and what the model is told of its outcome."""

from __future__ import annotations

import shlex

import pytest

from fastslow.sandbox import Execution
from fastslow.tools import ToolError
from tests.tools.test_files import calling, with_files


async def told(execution: Execution, pattern: str = "foo", **arguments: str) -> str:
    return (await calling(await with_files({}, execution))("search", pattern=pattern, **arguments)).text


@pytest.mark.parametrize("pattern", ["foo", "-x", 'it\'s "q"', "a\nb", "$(rm -rf .)`x`", "'; ls #", "é\\d+"])
async def test_nothing_of_the_call_is_the_shells(pattern: str) -> None:
    session = await with_files({}, Execution("error", exit_code=1))
    await calling(session)("search", pattern=pattern, path="a dir/$x", glob="*.{py,'}")
    [command] = session._sandbox.ran
    words = shlex.split(command)
    end = words.index("--")
    assert words[end:] == ["--", pattern, "./a dir/$x", "|", "sed", "-n", "-e", "1,100p", "-e", "$="]
    assert words[end - 4 : end] == ["--glob", "*.{py,'}", "--glob", "!.git"]
    assert ("--multiline" in words) == ("\n" in pattern)


async def test_matches_are_told() -> None:
    assert await told(Execution("ok", "./a.py\x003:x = foo\r\n./d/b:1:c\x0012:foo: 1\n2\n")) == (
        "a.py:3: x = foo\nd/b:1:c:12: foo: 1"
    )
    many = "".join(f"./a.py\0{number}:foo\n" for number in range(1, 101))
    text = await told(Execution("ok", f"{many}1234\n"))
    assert text.split("\n")[-2:] == ["a.py:100: foo", "(and 1,134 more: narrow the pattern, path or glob)"]
    wide = "".join(f"./{'d' * 200}\0{number}:{'x' * 300}\n" for number in range(100))
    text = await told(Execution("ok", f"{wide}100\n"))
    assert len(text) < 21_000
    assert text.endswith("more: narrow the pattern, path or glob)")


async def test_no_match_is_no_error() -> None:
    none = Execution("error", exit_code=1)
    assert await told(none) == "No match for 'foo' in the working folder."
    assert await told(none, path="src/", glob="*.py") == "No match for 'foo' in src in files like *.py."


@pytest.mark.parametrize(
    ("execution", "said"),
    [
        (Execution("error", exit_code=127, stderr="bash: rg: command not found"), "Use the shell tool: grep -rnE"),
        (
            Execution("error", exit_code=2, stderr="regex parse error:\n    foo(\n       ^\nerror: unclosed group\n"),
            r"^The search was refused: unclosed group\. Mend the pattern or the glob\.$",
        ),
        (Execution("error", exit_code=2), "nope cannot be searched: there is no such file or folder"),
        (Execution("timeout", exit_code=124), "took too long"),
    ],
)
async def test_why_it_could_not_be_searched(execution: Execution, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        await told(execution, path="nope")


async def test_what_cannot_be_searched_for_is_refused() -> None:
    for pattern in ("", "a\0b", "x" * 10_001):
        with pytest.raises(ToolError, match="A pattern has 1 to 10,000 characters"):
            await told(Execution("ok"), pattern)
    with pytest.raises(ToolError, match="leads out of the workspace"):
        await told(Execution("ok"), path="../x")
