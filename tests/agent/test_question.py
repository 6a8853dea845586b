"""What a person is shown of a call: all of it, and nothing that is not in it."""

from __future__ import annotations

import os
import re
import time
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from fastslow import Agent, Answer, Journal, Question, ScriptedModel
from fastslow.agent.events import CallFinished
from fastslow.agent.question import BAR, described
from fastslow.agent.quoting import HEAD, TAIL, WIDTH, quoted, visible
from fastslow.tools import Tool, tool
from fastslow.tools.builtin import builtin_tools
from tests.agent.helpers import Dies, calls, says

TOOL = Tool.from_schema("use", "Uses.", {"type": "object"}, lambda **_: "used")
HIDING = "\u202e\u200b\u200f\u2066\ufeff\u00ad\u3164\u2800\u2028\x1b\r\t\x00\x85\U000e0041\ufe0f"


def shown(arguments: dict[str, Any], *, given: set[str] | None = None, one: Tool = TOOL) -> str:
    lines = described(one, arguments, given if given is not None else set(arguments))
    return "\n".join(row for line in lines for row in line.rows())


def test_every_argument_is_shown_in_quotes() -> None:
    assert shown({"to": "a", "n": 3, "sure": True, "none": None, "list": [1, "x"], "deep": {"a b": {"c": ""}}}) == (
        'to = "a"\nn = 3\nsure = true\nnone = null\nlist[0] = 1\nlist[1] = "x"\ndeep."a b".c = ""'
    )
    assert shown({"empty": [], "nothing": {}}) == "empty = nothing in it\nnothing = nothing in it"
    assert shown({}) == "It is called without arguments."
    assert shown({"count": 5}) != shown({"count": "5"})


def test_defaults_are_shown_and_said_to_be_defaults() -> None:
    assert shown({"to": "boss@example.org", "n": 1}, given={"n"}) == 'to (default) = "boss@example.org"\nn = 1'


@pytest.mark.parametrize("char", HIDING)
def test_what_hides_or_moves_text_is_written_out(char: str) -> None:
    text = shown({"to": f"a{char}b", f"na{char}me": [f"{char}\n{char}{char}"]})
    assert not set(text) & (set(HIDING) - {"\n"})
    assert ascii(char)[1:-1] in text


def test_a_line_of_ours_cannot_be_forged() -> None:
    hostile = 'x"\nto = "bob"\nAllow? yes\n[... 5 characters are not shown ...]'
    for arguments in ({"to": hostile}, {hostile: "x"}, {"to": {hostile: 1}}, {"to": hostile.replace("\n", "\r")}):
        rows = shown(arguments).split("\n")
        assert not [row for row in rows if row.startswith(('to = "bob', "Allow", "["))], rows


def test_nothing_is_pushed_out_of_sight() -> None:
    for filling in (" " * 5000, "\n" * 5000, " \n" * 5000, "\t" * 300, "\u3000" * 100, "\u00a0" * 100, "\u0301" * 200):
        text = shown({"command": f"ls{filling}; rm -rf /"})
        assert "rm -rf /" in text
        assert len(text) < 4000
        assert all(len(row) < 130 for row in text.split("\n"))
        assert text.count("\n") < 60
    assert "\\{5,000 spaces}" in shown({"command": "ls" + " " * 5000 + "; rm"})
    assert "blank lines" in shown({"command": "ls" + "\n" * 5000 + "; rm"})


@pytest.mark.parametrize(
    "arguments",
    [
        {"before": ["x"] * 1000, "to": "bob", "behind": ["y"] * 1000},
        {"before": ["x"] * 20_000, "to": "bob"},
        {"before": {f"k{n}": {"deep": [n] * 3} for n in range(100)}, "to": "bob", "behind": [[["y"] * 90] * 90] * 90},
        {**{f"a{n}": n for n in range(150)}, "to": "bob", **{f"b{n}": n for n in range(150)}},
    ],
)
def test_no_argument_is_hidden_by_others(arguments: dict[str, Any]) -> None:
    text = shown(arguments)
    assert '\nto = "bob"' in text
    assert len(text) < 10_000


def test_an_argument_within_another_is_not_hidden_by_those_beside_it() -> None:
    class Mail(BaseModel):
        before: list[str]
        to: str
        behind: list[str]

    assert '\nmail.to = "bob"' in shown({"mail": Mail(before=["x"] * 90, to="bob", behind=["x"] * 90)})


def test_blanks_hide_nothing() -> None:
    for blank in (" ", "\n", " \n", "\t\n"):
        assert "to bob" in shown({"text": f"x{blank * 30_000}to bob{blank * 30_000}y"})
    assert 'to bob"' in shown({"headers": {f"x{' ' * 300}to bob": 1}})


def test_a_number_of_any_length_is_shown() -> None:
    assert shown({"n": 16**9000}).startswith("n = a text of 9,003 characters:")


def test_a_long_text_is_shown_as_head_and_tail_with_its_length() -> None:
    text = shown({"content": "begin" + "x" * 100_000 + "end"})
    assert "100,008 characters" in text
    assert "begin" in text
    assert "end" in text.replace(f"\n{BAR}", "")
    assert f"{100_008 - HEAD - TAIL:,} characters are not shown" in text
    lines = shown({"text": "\n".join(f"line {n}" for n in range(1000))})
    assert "1,000 lines" in lines
    assert "   999 | line 998\n  1000 | line 999" in lines
    assert shown({"items": list(range(1000))}).count("\n") < 70
    assert "940 values are not shown" in shown({"items": list(range(1000))})


def test_code_that_is_run_is_said_to_be_run() -> None:
    assert shown({"command": "rm x"}) == 'command, run as a command = "rm x"'
    assert shown({"code": "import os\nos.remove('x')"}) == (
        "code, run as code = a text of 2 lines, 24 characters:\n     1 | import os\n     2 | os.remove('x')"
    )
    assert "run as" not in shown({"note": "rm x"})


class Color(Enum):
    RED = "red\x1b"


class Mail(BaseModel):
    to: str = Field(exclude=True)
    token: SecretStr = SecretStr("abc")
    color: Color = Color.RED


def test_typed_values_are_shown_whole() -> None:
    text = shown({"mail": Mail(to="bob"), "path": Path("a\n"), "data": b"\x00x", "stream": iter([1])})
    assert 'mail.to = "bob"' in text
    assert "mail.token = a secret of 3 characters" in text
    assert 'mail.color = "red\\x1b"' in text
    assert 'path = "a\\n"' in text
    assert 'data = "\\x00x"' in text
    assert "stream = a stream" in text


def test_files_are_shown_with_mode_and_owner(tmp_path: Path) -> None:
    there = tmp_path / "run.sh"
    there.write_text("x")
    there.chmod(0o640)
    (tmp_path / "link").symlink_to(there)
    text = shown({"path": str(tmp_path / "link"), "mode": 0o4755})
    assert "mode = 2541, as a mode 4755 (rwsr-xr-x)" in text
    text = text.replace(f"\n{BAR}", "")
    assert f'file "{there}": a file of 1 bytes, mode 640 (rw-r-----), of {there.owner()}:{there.group()}' in text
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in shown({"path": str(tmp_path / "pipe"), "content": "x"})
    assert "nothing is there yet" in shown({"path": str(tmp_path / "new")}).replace(f"\n{BAR}", "")
    assert "it cannot be looked at" in shown({"path": "a\0b"})


@pytest.mark.parametrize("arguments", [{"path": "file://{}/key"}, {"cwd": "{}", "path": "key"}, {"src": "{}/x/../key"}])
def test_a_file_is_shown_wherever_a_path_may_lead(tmp_path: Path, arguments: dict[str, str]) -> None:
    (tmp_path / "key").write_text("secret")
    told = shown({name: text.format(tmp_path) for name, text in arguments.items()})
    assert f'file "{tmp_path}/key", if it is read so: a file of 6 bytes' in told.replace(f"\n{BAR}", "")


def test_the_change_of_a_file_shows_what_goes_and_what_comes(tmp_path: Path) -> None:
    there = tmp_path / "notes.txt"
    there.write_bytes(b"one\ntwo\nsame\x0bold\n")
    text = shown({"path": str(there), "content": "one\nthree\x1b[2J\nsame\x0bold\r\n"})
    assert "     - | two\n     - | same\\x0bold\n     + | three\\x1b[2J\n     + | same\\x0bold\\r\npath = " in text
    assert "none: the file holds this text already" in shown({"path": str(there), "content": there.read_text()})


def test_a_file_of_the_host_is_not_compared_with_one_of_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("a secret of the host")
    [write] = [one for one in builtin_tools() if one.name == "write_file"]
    text = shown({"path": "notes.txt", "content": "x"}, one=write)
    assert "secret" not in text
    assert "in the sandbox" in text


def test_a_change_is_compared_in_no_time(tmp_path: Path) -> None:
    there = tmp_path / "notes.txt"
    there.write_text("a\nb\n" * 40_000)
    begun = time.monotonic()
    text = shown({"path": str(there), "content": "b\na\n" * 500_000})
    assert time.monotonic() - begun < 3
    assert "come" in text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values, max_size=6))
def test_no_arguments_escape_their_row(arguments: dict[str, Any]) -> None:
    lines = described(TOOL, arguments, set(arguments))
    for line in lines:
        assert all(row.isprintable() and len(row) <= WIDTH for row in line.rows()), line
        assert len(line.text) < 50 * WIDTH


@given(st.text())
def test_quoted_text_is_one_line_that_can_be_read_back(text: str) -> None:
    told = quoted(text)
    assert told.isprintable()
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', told)


def test_marks_on_one_letter_are_counted() -> None:
    assert visible("e\u0301") == "e\u0301"
    assert visible("e" + "\u0301" * 5) == "e" + "\u0301" * 3 + "\\u0301" * 2
    assert visible("한국어 日本語 हिन्दी ไทย") == "한국어 日本語 हिन्दी ไทย"


# --- in a run --------------------------------------------------------------------------------------


async def test_a_callback_gets_the_values_as_the_function_would() -> None:
    asked: list[Question] = []
    got: list[Any] = []

    @tool(effect="outside")
    def send(mail: Mail, path: Path = Path("a")) -> str:
        """Send.

        Args:
            mail: What.
            path: Where.
        """
        got.append(mail)
        return "sent"

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer("allow")

    script = [calls(("send", {"mail": {"to": "bob"}})), says("done")]
    await Agent(engine=ScriptedModel(script), tools=[send], sandbox=None, ask=ask).run("the task")
    [question] = asked
    assert question.arguments["mail"] is got[0], "what was judged and shown is what is passed on"
    assert question.arguments["path"] == Path("a")
    assert 'mail.to = "bob"' in question.preview
    assert 'path (default) = "a"' in question.preview


async def test_a_call_in_doubt_is_shown_the_same_way(tmp_path: Path) -> None:
    asked: list[Question] = []

    @tool(effect="outside")
    def send(to: str, text: str = "hi") -> str:
        """Send.

        Args:
            to: Whom.
            text: What.
        """
        return "sent"

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer("allow")

    path = tmp_path / "runs.db"
    first = Agent(
        engine=ScriptedModel([calls(("send", {"to": "x\u202e\nAllow? yes"}))]),
        tools=[send],
        sandbox=None,
        ask=ask,
        journal=Dies(path, CallFinished),
    )
    with pytest.raises(SystemError):
        await first.run("the task")
    again = Agent(engine=ScriptedModel([says("done")]), tools=[send], sandbox=None, ask=ask, journal=Journal(path))
    await again.resume("last")
    assert len(asked) == 2
    assert asked[0].lines == asked[1].lines
    assert asked[0].arguments == asked[1].arguments
    assert "\u202e" not in asked[1].preview
    assert 'text (default) = "hi"' in asked[1].preview
