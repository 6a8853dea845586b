"""The pages of flows: each block of Python is a flow that runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastslow import DummySandbox
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import Exit
from fastslow.agent.transcript import ToolCall
from tests.flow.flows import Flows

DOCS = Path(__file__).parents[2] / "docs"
PATTERNS = re.findall(
    r"^## (.+?)\n.*?^```python\n(.*?)^```", (DOCS / "workflows.md").read_text(), re.DOTALL | re.MULTILINE
)
SAID = {
    "Outline a text": "one\ntwo\nthree",
    "Which kind": "refund",
    "True or not": True,
    "Split into": ["first", "second"],
    "Read this invoice": {"supplier": "A", "total": 3.5},
}


def model(request: Request) -> Reply:
    """Answers by how the task begins; the judge is content with the second draft."""
    asked = next(
        message.content
        for message in request.messages
        if message.content and "system" not in str(type(message)).lower()
    )
    value = next((value for begin, value in SAID.items() if asked.startswith(begin)), None)
    if any(tool.name == "answer" for tool in request.tools):
        arguments = value if isinstance(value, dict) else {"value": value}
        return Reply(calls=(ToolCall("c", "answer", json.dumps(arguments)),))
    if asked.startswith("Reply OK"):
        return Reply("OK" if "shorter" in asked else "make it shorter")
    return Reply(str(value or f"<{asked}>"))


@pytest.mark.parametrize(
    ("number", "words", "value"),
    [
        (0, ("--topic", "bees"), "<Write a paragraph for each heading:\none\ntwo\nthree>"),
        (1, ("--ticket", "Money back"), "<Answer kindly, and name the deadline.\n\nMoney back>"),
        (2, ("--claim", "It rains"), "True by 3 votes"),
        (3, ("--goal", "a house"), "<Put these together:\n<Do this part: first>\n<Do this part: second>>"),
        (4, ("--text", "Haus"), "<Translate: Haus\nMind: make it shorter>"),
    ],
)
async def test_the_five_patterns_run(tmp_path: Path, number: int, words: tuple[str, ...], value: str) -> None:
    name, code = PATTERNS[number]
    assert len([line for line in code.splitlines() if line.strip()]) < 10, name
    flows = Flows(tmp_path, model)
    flows.script.write_text(code)
    end = await flows.run(*words)
    assert (end.exit, end.value) == (Exit.ANSWERED, value), end.reason


def test_there_are_five() -> None:
    assert len(PATTERNS) == 5


async def test_the_page_of_flows_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", (DOCS / "flow.md").read_text(), re.DOTALL | re.MULTILINE)
    flows = Flows(tmp_path, model)
    flows.script.write_text(code)
    for name in ("a.pdf", "b.pdf"):
        (tmp_path / name).write_text(name)
    words = ("--month", "2026-10", "--invoices", "*.pdf")
    end = await flows.run(*words, sandbox=DummySandbox())
    assert [one.question for one in end.asked] == ["Send the report of 2026-10?"], end.reason
    flows.answer("yes")
    end = await flows.run(*words, sandbox=DummySandbox())
    assert (end.exit, end.value, flows.asked) == (Exit.ANSWERED, {"A": 3.5}, 0), end.reason
    assert (tmp_path / "out" / "2026-10.txt").read_text() == "A 3.5"
