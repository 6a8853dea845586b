"""What the documents say is so: their code runs, their commands parse, the map of the house is whole."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from fastslow import Approval, Exit, Kind, Result, ScriptedModel
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CallFinished, TurnStarted
from fastslow.agent.modes import Evidence, ModePolicy
from fastslow.agent.strategy import Done, Next, State
from fastslow.agent.surfaces.cli.main import app
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import DummySandbox, Execution, Limits
from fastslow.sandbox.execution import AT_ONCE, VALUE
from fastslow.tools import Tool

ROOT = Path(__file__).parent.parent
PAGES = {path.name: path.read_text("utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}
README = PAGES["README.md"]


def _blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def _calls(name: str, **arguments: Any) -> Reply:
    return Reply(calls=(ToolCall(f"call-{name}", name, json.dumps(arguments)),))


_REVENUE = [
    _calls("exchange_rate", currency="USD"),
    _calls("python", code="orders.revenue.sum() * 1.08"),
    Reply("The total revenue is 108 USD."),
]
_REFUND = [_calls("look_up", order=1207), _calls("answer", order=1207, refund=True, why="It was lost.")]
_CHECKED = [_calls("python", code="orders.revenue.sum()"), Reply("About 100."), Reply("The total revenue is 108.")]
# Each block of Python on these pages, and what the model says to it.
BLOCKS = [
    *zip(_blocks("README.md"), [_REVENUE], strict=True),
    *zip(_blocks("python.md"), [_REVENUE, _REFUND], strict=True),
    *zip(_blocks("strategies.md"), [_CHECKED], strict=True),
]


@pytest.mark.parametrize(("block", "replies"), BLOCKS, ids=("front page", "agent", "output", "strategy"))
def test_python_of_the_pages_runs(block: str, replies: list[Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    def sandbox(limits: Limits = Limits()) -> DummySandbox:  # noqa: B008 - it is frozen
        return DummySandbox([Execution("ok", value="108.0")], limits)

    model = ScriptedModel(replies)
    monkeypatch.setattr("fastslow.VLLM", lambda: model)
    monkeypatch.setattr("fastslow.DockerSandbox", sandbox)
    monkeypatch.setattr("fastslow.agent.agent.DockerSandbox", sandbox)  # where none is passed
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, "page", "exec"), names)
    result: Result = names["result"]
    assert result.exit is Exit.ANSWERED, result.reason
    model.assert_complete()
    finished = [event for event in result.events if isinstance(event, CallFinished)]
    assert finished
    assert all(event.ok for event in finished), finished
    if "output=" in block:
        assert result.output == names["Verdict"](order=1207, refund=True, why="It was lost.")
    if "strategy=" in block:
        kinds = [event.kind for event in result.events if isinstance(event, TurnStarted)]
        assert kinds == [Kind.CALL, Kind.CALL, Kind.REVIEW]
        assert "You would answer: About 100." in model.requests[-1].messages[-1].content


@pytest.mark.parametrize(
    ("told", "also"), [(State, ["failures", "surprised"]), (Next, []), (Done, [])], ids=("State", "Next", "Done")
)
def test_the_page_of_strategies_has_each_field(told: type, also: list[str]) -> None:
    part = PAGES["strategies.md"].split(f"## `{told.__name__}`")[1].split("\n## ")[0]
    rows = " ".join(re.findall(r"^\| (`[^|]+`) \|", part, re.MULTILINE))
    assert sorted(re.findall(r"`(\w+)`", rows)) == sorted([field.name for field in fields(told)] + also)


def _commands(page: str) -> Iterator[list[str]]:
    """The words of each `fastslow …` of a page, in the text and in its blocks of shell."""
    for inline in re.findall(r"(?<!`)`fastslow ([^`]+)`", PAGES[page]):
        yield shlex.split(inline)
    for block in _blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("fastslow "):
                yield shlex.split(line, comments=True)[1:]


def _leaves(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _leaves(command, (*path, name))
        if not isinstance(command, TyperGroup) or command.invoke_without_command:
            yield (*path, name)


def _parsed(words: list[str]) -> tuple[str, ...]:
    """The command that the words call, which must know all of them."""
    top = typer.main.get_command(app)
    assert isinstance(top, TyperGroup)
    path, command = tuple(words[:1]), top.commands[words[0]]
    if isinstance(command, TyperGroup) and words[1:2] and words[1] in command.commands:
        path, command = tuple(words[:2]), command.commands[words[1]]
    left = words[len(path) :]
    if "<" in left:
        left = left[: left.index("<")]
    if path == ("run",) and left[:1] in ([], ["--json"], ["--approval"]):
        left = ["a task", *left]  # spoken of, not shown
    if path == ("map",) and not left:
        left = ["a task", "--input", "rows.csv"]
    command.make_context(" ".join(path), list(left))  # a usage error for what it does not know
    return path


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the pages' commands read already when their arguments are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "urgency.json").write_text('{"type": "object"}')


@pytest.mark.usefixtures("examples")
def test_every_command_is_in_the_table_of_commands() -> None:
    top = typer.main.get_command(app)
    assert isinstance(top, TyperGroup)
    rows = re.findall(r"^\| `([a-z ]+)` \|[^|]+\| `fastslow ([^`]+)` \|$", PAGES["cli.md"], re.MULTILINE)
    assert [" ".join(_parsed(shlex.split(example))) for _, example in rows] == [name for name, _ in rows]
    assert {tuple(name.split()) for name, _ in rows} == set(_leaves(top))


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("page", [page for page in PAGES if list(_commands(page))])
def test_every_command_of_the_pages_parses(page: str) -> None:
    assert all(_parsed(words) for words in _commands(page)), "each leads to a command"


def test_pages_that_show_commands_are_read() -> None:
    shown = [page for page in PAGES if list(_commands(page))]
    assert {"README.md", "cli.md", "modes.md", "python.md", "runs.md", "sandbox.md", "server.md"} <= set(shown)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {page: set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) for page, text in PAGES.items()}
    assert {"run", "test-fast", "test", "check"} <= named["README.md"]
    assert set().union(*named.values()) <= targets


def test_the_first_command_is_make_run() -> None:
    first = re.search(r"^```\w*\n(.*)$", README, re.MULTILINE)
    assert first is not None
    assert first[1].startswith("make run")


def test_the_front_page_is_short() -> None:
    assert len(README.splitlines()) <= 120
    assert len(re.findall(r"^!\[", README, re.MULTILINE)) == 2  # a run, and a change


@pytest.mark.parametrize(
    ("told", "page"),
    [
        ("32 of 40", "modes.md"),
        ("21 without thinking", "performance.md"),
        ("0.1 % by", "modes.md"),
        ("9 of 12", "modes.md"),
        ("2 of 12", "modes.md"),
        ("20 of 30", "modes.md"),
        ("122 attempts from inside fail", "sandbox.md"),
        ("ixty hostile programs", "sandbox.md"),
        ("2.8", "sandbox-benchmarks.md"),
        ("201", "sandbox-benchmarks.md"),
        ("292", "sandbox-benchmarks.md"),
        ("1487", "sandbox-benchmarks.md"),
        ("79 faults", "faults.md"),
    ],
)
def test_what_the_front_page_counts_stands_in_the_page_that_measured_it(told: str, page: str) -> None:
    assert told in README
    assert told.replace("20 of 30", "| fastslow | 20 ") in " ".join(PAGES[page].split())


def test_the_front_page_counts_the_goals_that_are_not_met() -> None:
    sandbox = re.findall(r"\| no \|$", PAGES["sandbox-benchmarks.md"], re.MULTILINE)
    loop = re.findall(r"\*\*no\*\* \|$", PAGES["loop-benchmarks.md"], re.MULTILINE)  # with a journal, as by default
    assert (len(sandbox), len(loop)) == (4, 3)
    assert "Four goals of speed and memory of the sandbox are not met, and three of the loop" in README


def test_the_rules_of_the_modes_are_as_told() -> None:
    rows = re.findall(r"^\| (\w+) \|[^|]+\| (\d+) \| (\d+) \|$", PAGES["modes.md"], re.MULTILINE)
    assert {Kind(kind): int(budget) for kind, budget, _ in rows} == _budgets(ModePolicy())
    assert {Kind(kind): int(budget) for kind, _, budget in rows} == _budgets(ModePolicy(INSTRUCT.rules))


def _budgets(policy: ModePolicy) -> dict[Kind, int]:
    return {kind: policy.mode(kind)[0].budget for kind in Kind}


def test_the_limits_of_the_sandbox_are_as_told() -> None:
    limits = Limits()
    told = " ".join(PAGES["sandbox.md"].split("## What code gets")[1].split("## ")[0].split())
    for row in (
        f"| memory, without swap | {limits.memory >> 30} GiB |",
        f"| processors | {limits.cpus:g} |",
        f"| processes | {limits.pids} |",
        f"| time of a call | {limits.seconds:g} s |",
        f"| each output stream of a call | {limits.output:,} bytes;",
        f"| a file in or out | {limits.upload >> 20} MiB |",
        f"| `/work` | {limits.disk >> 20} MiB |",
        f"`/work` ({limits.disk >> 20} MiB)",
        f"| files of `/work` that are looked at, the shallow first | {limits.files:,} |",
        f"as much again at its end | {limits.out >> 20} MiB |",
        f"| calls of your functions in one call | {limits.calls}; {AT_ONCE} are answered at once |",
        f"displays, in one session | {limits.traffic >> 20} MiB of our memory (the JSON, and {VALUE} bytes a value) |",
    ):
        assert row in told, row
    runs = " ".join(PAGES["runs.md"].split())
    assert f"{limits.out >> 20} MiB of contents in one run (`Limits(out=…)`)" in runs
    assert f"made and changed have {limits.traffic >> 20} MiB (`Limits(traffic=…)`)" in runs
    assert f"{limits.upload >> 20} MiB each" in PAGES["cli.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    folder = ROOT if (ROOT / page).is_file() else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert target.startswith("https://") or (folder / target).is_file(), target


def test_every_page_is_linked_from_the_front_page() -> None:
    linked = {Path(target).name for target in re.findall(r"\]\(([^)#]+\.md)\)", README)}
    assert linked == set(PAGES) - {"README.md"}


def test_every_module_has_its_line_in_the_architecture() -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for room in ("agent", "tools", "sandbox")
        for path in ROOT.glob(f"{room}/**/*.py")
        if path.name != "__init__.py"
    }
    assert set(re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", PAGES["architecture.md"], re.MULTILINE)) == modules


@pytest.mark.parametrize(("name", "least"), [("modes.md", 2), ("runs.md", 10), ("sandbox.md", 26)])
def test_every_promise_names_a_test_that_exists(name: str, least: int) -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", PAGES[name])
    assert len(named) >= least
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), f"{path}::{test}"


@pytest.mark.docker
def test_python_of_the_sandbox_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = _blocks("sandbox.md")
    exec(compile(block, "sandbox.md", "exec"), {"__name__": "page"})
    said = capsys.readouterr().out
    assert "['text/html', 'text/plain']" in said
    assert said.splitlines()[-2:] == ["['6', '3']", "7.5"]


def test_python_of_the_modes_page_does_what_it_says() -> None:
    [block] = _blocks("modes.md")
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, "modes.md", "exec"), names)
    policy: ModePolicy = names["policy"]
    known = [Evidence(), Evidence(failures=1), Evidence(risk=True), Evidence(prompt=24_000), Evidence(confidence=0.5)]
    assert [policy.mode(Kind.CALL, each)[0].budget for each in known] == [0, 256, 512, 64, 32]
    assert policy.mode(Kind.CALL, Evidence(surprise=True))[0].budget == 64
    assert policy.mode(Kind.PLAN)[0].budget == 1024
    assert [policy.mode(Kind.ANSWER, Evidence(exhausted=each))[0].budget for each in (False, True)] == [0, 128]


def test_the_rules_of_the_approval_page_do_what_it_says(tmp_path: Path) -> None:
    [block] = _blocks("approval.md", "toml")
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
