"""`edit_file` over the public sandbox double, as models call it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastslow.sandbox import Execution
from fastslow.tools import ArgumentError, ToolError, parse_arguments
from fastslow.tools.builtin import builtin_tools
from tests.tools.test_files import calling, with_files

[EDIT] = [tool for tool in builtin_tools() if tool.name == "edit_file"]
CALC = b"def add(a, b):\n    return a - b\n"
MEANT = {"path": "calc.txt", "edits": [{"old_text": "a - b", "new_text": "a + b"}]}


@pytest.mark.parametrize(
    "sent",
    [
        MEANT,
        {"file_path": "calc.txt", "old_string": "a - b", "new_string": "a + b", "replace_all": False},
        {"filePath": "calc.txt", "oldString": "a - b", "newString": "a + b", "replaceAll": None},
        {"command": "str_replace", "path": "calc.txt", "old_str": "a - b", "new_str": "a + b"},
        {"path": "calc.txt", "edits": [{"oldText": "a - b", "newText": "a + b"}]},
        {"path": "calc.txt", "edits": {"search": "a - b", "replace": "a + b"}},
        {"path": "calc.txt", "edits": json.dumps([{"old_text": "a - b", "new_text": "a + b"}])},
        {"path": "calc.txt", "edits": json.dumps({"old_string": "a - b", "new_string": "a + b"})},
        {"name": "edit_file", "arguments": {"file_path": "calc.txt", "old_str": "a - b", "new_str": "a + b"}},
    ],
)
def test_spellings_of_other_tools_are_ours(sent: dict[str, Any]) -> None:
    assert parse_arguments(EDIT.parameters, json.dumps(sent), EDIT.rewrite) == MEANT


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"path": "a"}, "expected the property 'edits'"),
        ({"path": "a", "edits": []}, "at least 1 items"),
        ({"path": "a", "old_string": "x", "new_string": "y", "replace_all": True}, "no property 'replace_all'"),
        ({"path": "a", "edits": [{"old_text": "x", "old_str": "y", "new_text": "z"}]}, "no property 'old_str'"),
        ({"path": "a", "edits": [{"old_text": "x"}]}, "expected the property 'new_text'"),
        ({"path": "a", "edits": "[{"}, "expected an array"),
    ],
)
def test_what_is_no_edit_is_refused_with_an_example(sent: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as error:
        parse_arguments(EDIT.parameters, json.dumps(sent), EDIT.rewrite)
    assert said in str(error.value)
    assert '"edits": [{"old_text": "' in str(error.value).split("A valid example: ")[1]


def test_the_model_is_told_of_one_way_only() -> None:
    told = json.dumps(EDIT.spec)
    assert not any(name in told for name in ("old_string", "oldText", "file_path", "replace_all"))
    assert EDIT.receive(MEANT)["edits"][0].old_text == "a - b"  # what rules judge


async def test_a_change_is_shown_with_what_is_around() -> None:
    session = await with_files({"a/calc.txt": b"import os\n\n" + CALC + b"\n\nprint(add(1, 2))\n"})
    done = await calling(session)("edit_file", path="a/calc.txt", edits=MEANT["edits"])
    assert done.text == "Changed a/calc.txt, 1 place:\n2\t\n3\tdef add(a, b):\n4\t    return a + b\n5\t\n6\t"
    assert done.written == ("a/calc.txt",)
    assert await session.get("a/calc.txt") == b"import os\n\n" + CALC.replace(b"-", b"+") + b"\n\nprint(add(1, 2))\n"


async def test_what_is_shown_is_bounded() -> None:
    lines = [f"line {number} {'x' * 500}" for number in range(1000)]
    session = await with_files({"a.txt": "\n".join(lines).encode()})
    edits = [{"old_text": f"line {number} ", "new_text": "row\n" * 300} for number in range(0, 800, 100)]
    text = (await calling(session)("edit_file", path="a.txt", edits=edits)).text
    assert text.startswith("Changed a.txt, 8 places:\n")
    assert text.endswith("(and 3 more places)")
    assert len(text) < 8000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one\r\ntwo\r\n", b"1\r\n2\r\ntwo\r\n"),
        (b"one\ntwo", b"1\n2\ntwo"),
        (b"\xef\xbb\xbfone\n", b"\xef\xbb\xbf1\n2\n"),
        (b"one\n\xe9\xff\r\n", b"1\n2\n\xe9\xff\r\n"),
        (b"one\n\x01\x02\x0c\n", b"1\n2\n\x01\x02\x0c\n"),
    ],
)
async def test_all_other_bytes_stay_what_they_were(before: bytes, after: bytes) -> None:
    session = await with_files({"a.txt": before})
    await calling(session)("edit_file", path="a.txt", edits=[{"old_text": "one", "new_text": "1\n2"}])
    assert await session.get("a.txt") == after


async def test_latin_1_is_edited_as_it_was_shown() -> None:
    session = await with_files({"a.txt": "café\n".encode("latin-1")})
    call = calling(session)
    await call("edit_file", path="a.txt", edits=[{"old_text": "café", "new_text": "thé"}])
    assert await session.get("a.txt") == "thé\n".encode("latin-1")
    with pytest.raises(ToolError, match="was not changed: it is no UTF-8, and in Latin-1 there is no '→'"):
        await call("edit_file", path="a.txt", edits=[{"old_text": "thé", "new_text": "→"}])


async def test_what_cannot_be_edited_says_why() -> None:
    session = await with_files({"calc.txt": CALC, "x.bin": b"a - b\0"}, upload=20_000_000)
    call = calling(session)
    with pytest.raises(ToolError, match=r"no file 'calk\.txt'. There is: calc\.txt"):
        await call("edit_file", path="calk.txt", edits=MEANT["edits"])
    with pytest.raises(ToolError, match=r"x\.bin is no text"):
        await call("edit_file", path="x.bin", edits=MEANT["edits"])
    await session.put("long", b"a - b\n" * 2_000_000)
    with pytest.raises(ToolError, match="long has 12,000,000 bytes, and edit_file takes 10,000,000"):
        await call("edit_file", path="long", edits=MEANT["edits"])
    with pytest.raises(ToolError, match="leads out of the workspace"):
        await call("edit_file", path="/etc/passwd", edits=MEANT["edits"])


async def test_one_edit_that_fails_leaves_all_undone() -> None:
    session = await with_files({"calc.txt": CALC})
    edits = [*MEANT["edits"], {"old_text": "def mul(a, b):", "new_text": "def times(a, b):"}]  # type: ignore[misc]
    with pytest.raises(ToolError) as error:
        await calling(session)("edit_file", path="calc.txt", edits=edits)
    assert str(error.value).startswith(
        "calc.txt was not changed. None of the edits was made. The old_text of edit 2 is not in the file.\n"
        "What is most like it begins at line 1:\n1\tdef add(a, b):\n"
    )
    assert await session.get("calc.txt") == CALC


async def test_a_model_that_fails_twice_may_write_the_whole_file() -> None:
    """The loop that other harnesses' users complain of most: the same edit, again and again."""
    session = await with_files({"calc.txt": CALC, "other.txt": b"x"})
    call, wrong = calling(session), [{"old_text": "return a * b", "new_text": "return a + b"}]
    with pytest.raises(ToolError) as first:
        await call("edit_file", path="calc.txt", edits=wrong)
    assert "write_file" not in str(first.value)
    with pytest.raises(ToolError, match="not read since"):
        await call("write_file", path="calc.txt", content="")
    with pytest.raises(ToolError, match=r"have failed 2 times\. Do not try the same again: write the whole file"):
        await call("edit_file", path="calc.txt", edits=wrong)
    with pytest.raises(ToolError, match="not read since"):
        await call("write_file", path="other.txt", content="y")
    await call("write_file", path="calc.txt", content=CALC.replace(b"-", b"+").decode())
    with pytest.raises(ToolError) as again:
        await call("edit_file", path="calc.txt", edits=wrong)
    assert "its new_text is, at line 2: the change seems to be made already" in str(again.value).lower()
    assert "have failed" not in str(again.value)  # it counts from the last change on


async def test_a_new_syntax_error_comes_with_the_result() -> None:
    session = await with_files({"calc.py": CALC}, Execution("ok", "line 2: invalid syntax\n"), Execution("ok", ""))
    done = await calling(session)("edit_file", path="calc.py", edits=[{"old_text": "a - b", "new_text": "a -+"}])
    assert done.ok
    assert done.text.endswith("\t    return a -+\nNew syntax error in calc.py, line 2: invalid syntax. Mend it.")
