"""A script of the user's: what it may look like, and how its mistakes are told."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fastslow.agent.flow.parameters import WrongParameter, about, usage, values_of, words_of
from fastslow.agent.flow.script import ScriptFailed, loaded


def script(folder: Path, text: str) -> Path:
    path = folder / "flow.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", r"flow.py: expected `async def main\(wf, …\)`, and there is no main"),
        ("main = 3\n", "and main is a int"),
        ("\ndef main(wf):\n    pass\n", "flow.py, line 2: .* it is not async; write `async` before"),
        ("async def main():\n    pass\n", "it takes nothing; its first parameter is wf"),
        ("x = (\n", r"flow.py, line 1: '\(' was never closed: x = \("),
        ("async def main(wf, month):\n    pass\n", "flow.py, line 1: .*'month' has no type; write one, such as month"),
        ("async def main(wf, *rest: str):\n    pass\n", "has no name of its own; write each parameter out"),
        ("async def main(wf, to: 'Nobody'):\n    pass\n", "annotations of main cannot be read: name 'Nobody'"),
        ("class A: pass\nasync def main(wf, to: A):\n    pass\n", "'to' cannot come from a command line"),
        ("\n1 / 0\n", "flow.py, line 2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "flow.py, line 2: SystemExit: 3"),
        ("import nothing_of_that_name\n", "flow.py, line 1: ModuleNotFoundError"),
        ("x = '\0'\n", "flow.py"),
    ],
)
def test_what_is_no_flow(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScriptFailed, match=said), loaded(script(tmp_path, text)):
        pass


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match=r"no file .*name the Python file that holds"), loaded(tmp_path / "gone.py"):
        pass


def test_it_imports_what_lies_beside_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "helper_of_flow.py").write_text("WORD = 'beside'\n")
    path = script(tmp_path, "from helper_of_flow import WORD\nasync def main(wf):\n    return WORD\n")
    before = list(sys.path)
    with loaded(path):
        assert str(tmp_path) in sys.path
    assert sys.path == before


PARAMETERS = '''
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Optional
from pydantic import BaseModel, Field

class Colour(Enum):
    RED = "red"

class Box(BaseModel):
    size: int

async def main(
    wf, invoices: list[Path], month: str, day: date = date(2026, 1, 2), send: bool = False, colour: Colour = Colour.RED,
    kind: Literal["a", "b"] = "a", shift: Annotated[int, Field(ge=-5)] = 0, box: Optional[Box] = None,
    names: tuple[str, ...] = (), one: Path | None = None,
):
    """Do it.

    At length.

    Args:
        invoices: The files
            to read.
        send: Whether to.
    """
'''


def read(folder: Path, *words: str) -> dict[str, Any]:
    with loaded(script(folder, PARAMETERS)) as there:
        values = values_of(there.parameters, words_of(there.parameters, words), folder)
    return {name: value for name, value in values.items() if name != "invoices"} | {
        "invoices": [path.name for path in values["invoices"]]
    }


def test_parameters_are_read_as_their_types_say(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf", "c.txt"):
        (tmp_path / name).touch()
    needed = ("--month", "2026-10")
    assert read(tmp_path, "--invoices", "*.pdf", *needed) == {"invoices": ["a.pdf", "b.pdf"], "month": "2026-10"}
    assert read(tmp_path, *needed, "--invoices", "a.pdf", "c.txt", "--invoices", "new.pdf")["invoices"] == [
        "a.pdf",
        "c.txt",
        "new.pdf",
    ]
    got = read(tmp_path, "--invoices=a.pdf", "--month=0", "--day", "2026-10-31", "--send", "--kind", "b")
    assert (got["month"], got["day"], got["send"], got["kind"]) == ("0", date(2026, 10, 31), True, "b")
    got = read(tmp_path, "--invoices=a.pdf", *needed, "--no-send", "--colour", "red", "--shift", "-3")
    assert (got["send"], got["colour"].value, got["shift"]) == (False, "red", -3)
    got = read(tmp_path, "--invoices=a.pdf", *needed, "--box", '{"size": 3}', "--names", "x", "y", "--one", "z")
    assert (got["box"].size, got["names"], got["one"]) == (3, ("x", "y"), tmp_path / "z")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--invoices, --month must be given"),
        (("--month", "1", "--invoices", "*.png"), r"--invoices '\*.png' matches no file in"),
        (("--months", "1"), "'--months' is no parameter of this flow; it has --invoices, --month"),
        (("stray",), "'stray' is no parameter"),
        (("--month",), "--month needs a value: --month STR"),
        (("--month", "1", "--month", "2"), "--month is given twice"),
        (("--month", "1", "--invoices", "a", "--day", "x"), "--day 'x': Input should be a valid date"),
        (("--month", "1", "--invoices", "a", "--kind", "c"), "--kind 'c': Input should be 'a' or 'b'"),
        (("--month", "1", "--invoices", "a", "--colour", "blue"), "--colour 'blue': Input should be 'red'"),
        (("--month", "1", "--invoices", "a", "--shift", "-9"), "greater than or equal to -5"),
        (("--month", "1", "--invoices", "a", "--box", "{}"), "--box '{}'"),
        (("--month", "1", "--invoices", "a", "--no-month"), "'--no-month' is no parameter"),
    ],
)
def test_wrong_parameters(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(WrongParameter, match=said):
        read(tmp_path, *words)


def test_help_comes_from_the_docstring(tmp_path: Path) -> None:
    with loaded(script(tmp_path, PARAMETERS)) as there:
        rows = dict(usage(there.parameters))
        assert about(there.main) == "Do it.\n\nAt length."
    assert rows["--invoices PATH …"] == "The files to read. [required]"
    assert rows["--send"] == "Whether to."
    assert rows["--kind a|b"] == "[default: a]"
    assert "--colour red" in rows
