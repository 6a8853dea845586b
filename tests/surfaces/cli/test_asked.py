"""Plans and task files on the command line: real processes and a sandbox, and a server that plays a model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fastslow.agent.surfaces.cli.main import app
from tests.engine.fake_server import CHAT, Answer, Seen, call, delta, usage
from tests.surfaces.cli.test_chat import Model
from tests.surfaces.cli.test_chat import model as model
from tests.surfaces.cli.test_unattended import home as home
from tests.surfaces.cli.test_unattended import run

TRIAGE = """\
---
description: Says how urgent a ticket is.
inputs:
  text:
    description: The ticket.
  urgent:
    type: boolean
  team:
    type: choice
    choices: [sales, support]
    default: support
output: {type: object, properties: {urgency: {enum: [low, high]}}, required: [urgency], additionalProperties: false}
files: ["*.csv"]
check: test -f prices.csv
budget: turns=6
think: never
---
Classify for {team} (urgent: {urgent}), as {{this}}: {text}
"""
PLAN = {"goal": "A {report} of prices", "steps": [{"do": "run: wc prices.csv"}, {"do": "say it", "after": [1]}]}
ANSWER = Model.answer


def started(*command: str) -> Result:
    """What is refused before anything is started, in this process."""
    return CliRunner().invoke(app, ["run", *command])


def answering(value: dict[str, object], model: Model, seen: Seen) -> Answer:
    """An answer of a form where one is asked for, else what the model says."""
    tools = [tool["function"]["name"] for tool in seen.json.get("tools", ())] if seen.path == CHAT else []
    if "answer" not in tools:
        return ANSWER(model, seen)
    made = call(0, f"c{len(model.seen)}", "answer", json.dumps(value))
    return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), usage(10, 5)])


# --- plans -------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_plan_is_saved_edited_and_carried_out(model: Model, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "answer", lambda model, seen: answering(PLAN, model, seen))
    (home / "prices.csv").write_text("a\n1\n")
    made = run(model, "plan", "Report {it}", "--file", "prices.csv")
    assert made.returncode == 0, made.stderr
    assert "answered" in made.stderr
    assert [line for line in made.stdout.splitlines() if not line.startswith("#")] == [
        "task: Report {{it}}",
        "files:",
        "- prices.csv",
        "goal: A {{report}} of prices",
        "steps:",
        "- do: 'run: wc prices.csv'",
        "- do: say it",
        "  after: [1]",
    ]
    monkeypatch.setattr(Model, "answer", ANSWER)
    (home / "plan.yaml").write_text(made.stdout.replace("run: wc", "run: {how} wc"))
    model.seen.clear()
    done = run(model, "run", "--plan", "plan.yaml", "--set", "how=cat prices.csv; wc -l", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["task"] == "Report {it}"
    assert events[0]["files"] == ["prices.csv"]
    steps = [event["do"] for event in events if event["event"] == "step_started"]
    assert steps == ["run: cat prices.csv; wc -l wc prices.csv", "say it"]
    turns = [event for event in events if event["event"] == "turn_started"]
    assert turns[0]["reason"] == "the plan is given"
    assert not any(event["mode"]["budget"] for event in turns if event["kind"] == "plan"), "no turn planned"
    plans = [event for event in events if event["event"] == "plan_made"]
    assert [event["plan"]["goal"] for event in plans] == ["A {report} of prices"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plan", "plan.yaml"], "parameter region: it has no value"),
        (["--plan", "plan.yaml", "--set", "region=x", "--set", "monht=y"], "parameter monht: the plan has no such"),
        (["--plan", "plan.yaml", "--set", "region"], "expected NAME=VALUE"),
        (["--plan", "plan.yaml", "--set", "region=x"], "there is no file 'gone.csv' in the folder '.'"),
        (["--plan", "wrong.yaml"], "wrong.yaml, line 2, gaol: there is no such field"),
        (["--plan", "nowhere.yaml"], "No such file"),
        (["task", "--plan", "plan.yaml"], "got both"),
        (["task", "--set", "a=b"], "name that with --plan"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_wrong_usage(home: Path, words: list[str], told: str) -> None:
    (home / "plan.yaml").write_text("task: t\nfiles: [gone.csv]\ngoal: Of {region}\nsteps: [Load]\n")
    (home / "wrong.yaml").write_text("task: t\ngaol: g\nsteps: [Load]\n")
    done = started(*words)
    assert (done.exit_code, told in " ".join(done.stderr.split())) == (2, True), done.stderr


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.csv", ".env", "sub/.env", "link.csv", "sub/link.csv"])
def test_a_plan_reaches_its_own_folder_only(home: Path, name: str) -> None:
    (home / "sub" / "sub").mkdir(parents=True)
    for secret in (home / ".env", home / "sub" / ".env", home / "secret.csv"):
        secret.write_text("key")
    (home / "sub" / "link.csv").symlink_to(home / "secret.csv")
    (home / "sub" / "sub" / "link.csv").symlink_to("../.env")
    (home / "sub" / "plan.yaml").write_text(f"task: t\nfiles: [{name}]\ngoal: g\nsteps: [Load]\n")
    done = started("--plan", "sub/plan.yaml")
    assert (done.exit_code, "--file" in done.stderr) == (2, True), done.stderr


# --- task files --------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_task_file_is_run_with_its_inputs(model: Model, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "answer", lambda model, seen: answering({"urgency": "high"}, model, seen))
    (home / "tasks").mkdir()
    (home / "tasks" / "triage.md").write_text(TRIAGE)
    (home / "tasks" / "prices.csv").write_text("a\n1\n")
    done = run(model, "run", "@tasks/triage.md", "--text", "It burns, {team}!", "--urgent")
    assert (done.returncode, done.stdout) == (0, '{"urgency": "high"}\n'), done.stdout + done.stderr
    asked = "".join(message["content"] or "" for message in model.chats[0]["messages"])
    assert "Classify for support (urgent: yes), as {this}: It burns, {team}!" in asked
    assert "prices.csv" in asked
    assert not any(chat["chat_template_kwargs"]["enable_thinking"] for chat in model.chats)
    (home / "tasks" / "triage.md").write_text(TRIAGE.replace("test -f", "test ! -f"))
    done = run(model, "run", "@tasks/triage.md", "--text", "x", "--budget", "turns=2")
    assert (done.returncode, done.stdout) == (3, ""), "the check of the file is red"


def test_the_help_of_a_task_file_shows_its_inputs(home: Path) -> None:
    (home / "triage.md").write_text(TRIAGE)
    (home / "prices.csv").write_text("a\n1\n")
    told = " ".join(started("@triage.md", "--help").stdout.split())
    assert "Says how urgent a ticket is." in told
    assert re.search(r"--text TEXT +The ticket. \[required\]", told)
    assert "--urgent / --no-urgent" in told
    assert re.search(r"--team sales\|support +\[default: support\]", told)
    assert "--text" not in CliRunner().invoke(app, ["run", "--help"]).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["@triage.md"], "Missing option '--text'"),
        (["@triage.md", "--text", "x", "--team", "it"], "expected sales, support, got 'it'"),
        (["@triage.md", "--text", "x", "--txet", "y"], "--txet"),
        (["--json", "@triage.md"], "put @triage.md first"),
        (["@triage.md", "--plan", "plan.yaml", "--text", "x"], "got both"),
        (["@nowhere.md"], "No such file"),
    ],
)
def test_what_does_not_fit_a_task_file_is_wrong_usage(home: Path, words: list[str], told: str) -> None:
    (home / "triage.md").write_text(TRIAGE)
    (home / "prices.csv").write_text("a\n1\n")
    done = started(*words)
    assert (done.exit_code, told in " ".join(done.stderr.split())) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("number", "1.50", "much"),
        ("number", "1e3", "inf"),
        ("integer", "-7", "1.5"),
        ("date", "2026-10-31", "31.10.2026"),
        ("file", "prices.csv", "nowhere.csv"),
    ],
)
def test_inputs_have_types(home: Path, kind: str, good: str, bad: str) -> None:
    (home / "prices.csv").write_text("a\n1\n")
    head = f"---\ninputs:\n  it: {{type: {kind}}}\nallow: [index.example:443]\n---\nTake {{it}}.\n"
    (home / "task.md").write_text(head)
    assert "only you can allow: --allow index.example:443" in " ".join(started("@task.md", "--it", good).stderr.split())
    done = started("@task.md", "--it", bad)
    assert (done.exit_code, "Invalid value for '--it'" in done.stderr) == (2, True), done.stderr
    (home / "task.md").write_text(head.replace(f"type: {kind}", f"type: {kind}, default: {bad}"))
    assert "line 3, inputs.it.default: " in " ".join(started("@task.md").stderr.split())


def test_a_file_grants_no_rights(home: Path) -> None:
    head = "---\nallow: [index.example:443]\nbudget: turns=1000\n---\nDo it.\n"
    (home / "task.md").write_text(head)
    done = started("@task.md")
    assert (done.exit_code, "--allow index.example:443" in done.stderr) == (2, True)
    done = started("@task.md", "--allow", "index.example:443")
    assert (done.exit_code, "that takes --budget turns=1000" in " ".join(done.stderr.split())) == (2, True), done.stderr
    granted = ("--allow", "index.example:443", "--budget", "turns=1000")
    done = started("@task.md", *granted, "--file", "nowhere.csv")
    assert "no file 'nowhere.csv'" in str(done.exception), "the next thing that is wrong"
    for key in ("mount: /", "approval: all.toml", "packages: [x]", "model: m", "base_url: http://elsewhere"):
        (home / "task.md").write_text(f"---\n{key}\n---\nDo it.\n")
        done = started("@task.md")
        assert (done.exit_code, "line 2, " in done.stderr, "no such field" in done.stderr) == (2, True, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("---\ndesc", "desc", "line 1: expected a head"),
        ("{text}\n", "{txet}\n", "line 4, inputs: the task has {txet}, which is no input"),
        ("  urgent:\n", "  unused: {}\n  urgent:\n", "inputs.unused: the task does not use it"),
        ("  urgent:\n", "  model: {}\n  urgent:\n", "an option of that name"),
        ("  urgent:\n", "  Loud: {}\n  urgent:\n", "line 6, inputs.Loud: expected a name of small letters"),
        ("boolean", "bool", "line 7, inputs.urgent.type: "),
        ("type: choice", "type: string", "belongs to `type: choice`"),
        ("default: support", "default: it", "line 11, inputs.team.default: expected sales, support"),
        ("type: object,", "type: objekt,", "line 12, output: "),
        ("output: {", "output: schema.json\nx: {", "line 13, x: there is no such field"),
        ('"*.csv"', '"*.xlsx"', "line 13, files.1: there is no file '*.xlsx'"),
        ('"*.csv"', '"/etc/*"', "line 13, files.1: expected files of this folder"),
        ("turns=6", "turn=6", "line 15, budget: expected turns=N"),
        ("think: never", "think: hard", "line 16, think: expected auto"),
        ("think: never", "think: never\nthink: auto", "line 17: 'think' stands twice"),
        ("Classify for {team} (urgent: {urgent}), as {{this}}: {text}\n", "", "expected the task in words"),
    ],
)
def test_what_is_wrong_in_a_task_file_is_told_with_its_line(home: Path, old: str, new: str, told: str) -> None:
    assert old in TRIAGE
    (home / "triage.md").write_text(TRIAGE.replace(old, new))
    (home / "prices.csv").write_text("a\n1\n")
    done = started("@triage.md", "--text", "x")
    assert (done.exit_code, told in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_the_schema_may_be_a_file_beside_it(home: Path) -> None:
    (home / "task.md").write_text("---\noutput: form.json\nallow: [index.example:443]\n---\nDo it.\n")
    assert "line 2, output: there is no file 'form.json'" in " ".join(started("@task.md").stderr.split())
    (home / "form.json").write_text('{"type": "objekt"}')
    assert "line 2, output: " in started("@task.md").stderr
    (home / "form.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    assert "only you can allow" in started("@task.md").stderr
