"""What the documents say is so: their code runs, their commands parse, the map of the house is whole."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from fastslow import Approval, Exit, Kind, Result, ScriptedModel
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished
from fastslow.agent.modes import Evidence, ModePolicy
from fastslow.agent.surfaces.cli.main import app
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import DummySandbox, Execution, Limits
from fastslow.tools import Tool

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def _calls(name: str, **arguments: Any) -> Reply:
    return Reply(calls=(ToolCall(f"call-{name}", name, json.dumps(arguments)),))


# What the model says to each block of the README, in their order.
REPLIES = [
    [
        _calls("exchange_rate", currency="USD"),
        _calls("python", code="orders.revenue.sum() * 1.08"),
        Reply("The total revenue is 108 USD."),
    ],
    [_calls("look_up", order=1207), _calls("answer", order=1207, refund=True, why="It was lost.")],
]


@pytest.mark.parametrize(("block", "replies"), list(zip(BLOCKS, REPLIES, strict=True)), ids=("agent", "output"))
def test_python_of_the_readme_runs(block: str, replies: list[Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel(replies)
    monkeypatch.setattr("fastslow.VLLM", lambda: model)
    monkeypatch.setattr("fastslow.DockerSandbox", lambda limits: DummySandbox([Execution("ok", value="108.0")], limits))
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    result: Result = names["result"]
    assert result.exit is Exit.ANSWERED, result.reason
    model.assert_complete()
    finished = [event for event in result.events if isinstance(event, CallFinished)]
    assert finished
    assert all(event.ok for event in finished), finished
    if "output=" in block:
        assert result.output == names["Verdict"](order=1207, refund=True, why="It was lost.")


def _commands() -> Iterator[list[str]]:
    """The words of each `fastslow …` of the README, in the text and in its blocks of shell."""
    for inline in re.findall(r"(?<!`)`fastslow ([^`]+)`", README):
        yield shlex.split(inline)
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("fastslow "):
                yield shlex.split(line, comments=True)[1:]


def _leaves(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _leaves(command, (*path, name))
        if not isinstance(command, TyperGroup) or command.invoke_without_command:
            yield (*path, name)


def test_every_command_of_the_readme_parses_and_none_is_missing() -> None:
    top = typer.main.get_command(app)
    assert isinstance(top, TyperGroup)
    shown: set[tuple[str, ...]] = set()
    for words in _commands():
        path, command = tuple(words[:1]), top.commands[words[0]]
        if isinstance(command, TyperGroup) and words[1:2] and words[1] in command.commands:
            path, command = tuple(words[:2]), command.commands[words[1]]
        left = words[len(path) :]
        if "<" in left:
            left = left[: left.index("<")]
        if path == ("run",) and left[:1] in ([], ["--json"]):
            left = ["a task", *left]  # spoken of, not shown
        command.make_context(" ".join(path), list(left))  # a usage error for what it does not know
        shown.add(path)
    assert shown == set(_leaves(top))


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test", "check"} <= named <= targets


def test_the_first_command_is_make_run() -> None:
    first = re.search(r"^```\w*\n(.*)$", README, re.MULTILINE)
    assert first is not None
    assert first[1].startswith("make run")


def test_the_rules_of_the_modes_are_as_told() -> None:
    rows = re.findall(r"^\| (\w+) \|[^|]+\| (\d+) \| (\d+) \|$", README, re.MULTILINE)
    assert {Kind(kind): int(budget) for kind, budget, _ in rows} == _budgets(ModePolicy())
    assert {Kind(kind): int(budget) for kind, _, budget in rows} == _budgets(ModePolicy(INSTRUCT.rules))


def _budgets(policy: ModePolicy) -> dict[Kind, int]:
    return {kind: policy.mode(kind)[0].budget for kind in Kind}


def test_the_limits_of_the_sandbox_are_as_told() -> None:
    limits = Limits()
    safety = " ".join(README.split("## Safety")[1].split("## ")[0].split())
    for told in (
        f"`/work` ({limits.disk >> 20} MiB)",
        f"{limits.memory >> 30} GiB of memory",
        f"{limits.cpus:g} CPU",
        f"{limits.pids} processes",
        f"{limits.seconds:g} s and {limits.output:,} bytes",
        f"{limits.upload >> 20} MiB a file",
    ):
        assert told in safety


@pytest.mark.parametrize(
    "name", ["README.md", *(f"docs/{name}.md" for name in ("approval", "architecture", "modes", "runs", "sandbox"))]
)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


def test_every_module_has_its_line_in_the_architecture() -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for room in ("agent", "tools", "sandbox")
        for path in ROOT.glob(f"{room}/**/*.py")
        if path.name != "__init__.py"
    }
    assert set(re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", ARCHITECTURE, re.MULTILINE)) == modules


@pytest.mark.parametrize(("name", "least"), [("modes.md", 2), ("runs.md", 7), ("sandbox.md", 26)])
def test_every_promise_names_a_test_that_exists(name: str, least: int) -> None:
    page = (ROOT / "docs" / name).read_text("utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", page)
    assert len(named) >= least
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), f"{path}::{test}"


@pytest.mark.docker
def test_python_of_the_sandbox_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(block, "sandbox.md", "exec"), {"__name__": "page"})
    said = capsys.readouterr().out
    assert "['text/html', 'text/plain']" in said
    assert said.splitlines()[-2:] == ["['6', '3']", "7.5"]


def test_python_of_the_modes_page_does_what_it_says() -> None:
    page = (ROOT / "docs" / "modes.md").read_text("utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, "modes.md", "exec"), names)
    policy: ModePolicy = names["policy"]
    known = [Evidence(), Evidence(failures=1), Evidence(risk=True), Evidence(prompt=24_000), Evidence(confidence=0.5)]
    assert [policy.mode(Kind.CALL, each)[0].budget for each in known] == [0, 256, 512, 64, 32]
    assert policy.mode(Kind.CALL, Evidence(surprise=True))[0].budget == 64
    assert policy.mode(Kind.PLAN)[0].budget == 1024
    assert [policy.mode(Kind.ANSWER, Evidence(exhausted=each))[0].budget for each in (False, True)] == [0, 128]


def test_the_rules_of_the_approval_page_do_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "approval.md").read_text("utf-8")
    [block] = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "rules.toml").write_text(block)
    approval = Approval.load(tmp_path / "rules.toml")
    assert len(approval.rules) == 5
    reaching = Tool.from_schema("send_mail", "Send.", {"type": "object"}, print, effect="outside")

    def judged(attended: bool = True, **arguments: str) -> str:
        return approval.judge(reaching, arguments, attended=attended).decide

    assert judged(to="a@example.org") == "deny"
    assert judged(to="a@example.com") == "ask"
    assert judged(command="git status") == "allow"
    assert judged(command="git status; rm x") == "deny"
    assert judged(path="/srv/reports/a.txt") == "allow"
    assert judged(path="/srv/reports/../a.txt") == "ask"
    assert judged(attended=False, path="/srv/reports/a.txt") == "deny"
