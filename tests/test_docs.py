"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

import agent
import sandbox
from agent.cli.main import app
from agent.engine.types import Reply
from agent.transcript import ToolCall

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PRICE = ToolCall("1", "answer", '{"product": "tea", "dollars": 4.5}')
REPLIES = [[Reply("25 dollars.")], [Reply("Tea costs 4.50 dollars."), Reply(calls=(PRICE,))]]
SAID = ["25 dollars. answered () {'think'", "product='tea' dollars=4.5"]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_readmes_examples_run(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agent, "VLLM", lambda: agent.ScriptedModel(REPLIES[number]))
    monkeypatch.setattr(sandbox, "DockerSandbox", sandbox.DummySandbox)
    names: dict[str, Any] = {"__name__": "example"}
    code = compile(EXAMPLES[number], f"README example {number + 1}", "exec", dont_inherit=True)
    exec(code, names)
    assert capsys.readouterr().out.startswith(SAID[number])


def test_the_readmes_commands_exist() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    told = set(re.findall(r"fastslow ([a-z]+)", README))
    assert {"run", "doctor", "up", "models", "sandbox"} <= told
    assert told - {"proves"} <= set(root.commands)
    group = root.commands["sandbox"]
    assert isinstance(group, typer.core.TyperGroup)
    assert set(re.findall(r"fastslow sandbox ([a-z]+)", README)) <= set(group.commands)


def test_every_module_has_its_place_in_the_picture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z0-9_]+\.py)`", text))
    built = {path.name for room in ("agent", "tools", "sandbox") for path in (ROOT / room).rglob("*.py")}
    assert built - named - {"__init__.py"} == set()
    assert named - built - {"tests/test_imports.py", "pool.py"} == set()
