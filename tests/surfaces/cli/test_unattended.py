"""Where nobody sits at the terminal: nothing waits, nothing is denied in silence, and one table of exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastslow.agent.events import Exit
from fastslow.agent.surfaces.cli.main import app
from fastslow.agent.surfaces.cli.status import CANCELLED, FAILED, STATUS
from tests.engine.fake_server import CHAT, Answer, Seen, call, delta, usage
from tests.surfaces.cli.test_chat import FASTSLOW, Model
from tests.surfaces.cli.test_chat import model as model
from tests.surfaces.cli.test_main import TOP, commands
from tests.surfaces.cli.test_main import nowhere as nowhere

ASK = '[[rule]]\ndecide = "ask"\ntool = "shell"\nreason = "it is a shell"\n'
DENY = '[[rule]]\ndecide = "deny"\ntool = "shell"\n'
ANSWER = Model.answer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(model: Model, *command: str) -> subprocess.CompletedProcess[str]:
    """With nobody at the terminal."""
    where = ("--base-url", model.url) if command[0] != "replay" else ()
    return subprocess.run(
        [*FASTSLOW, *command, *where], text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120
    )


# --- runs --------------------------------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.parametrize("as_json", [False, True])
def test_a_question_that_nobody_can_answer_ends_the_run_with_4(model: Model, home: Path, as_json: bool) -> None:
    (home / "ask.toml").write_text(ASK)
    (home / "allow.toml").write_text(ASK.replace('"ask"', '"allow"'))
    done = run(model, "run", "run: true", "--approval", "ask.toml", *["--json"] * as_json)
    assert done.returncode == 4, done.stdout + done.stderr
    reason = json.loads(done.stdout.splitlines()[-1])["result"]["reason"] if as_json else done.stdout
    assert "shell needs somebody's consent (it is a shell), and nobody is there to give it" in reason
    assert '--approval FILE with [[rule]] decide = "allow", tool = "shell"' in reason
    assert len(model.chats) == 1, "the model was not told that it was denied"
    again = run(model, "resume", "last", "--approval", "ask.toml")
    assert again.returncode == 4
    allowed = run(model, "resume", "last", "--approval", "allow.toml")
    assert (allowed.returncode, "It is done." in allowed.stdout) == (0, True)


@pytest.mark.docker
def test_code_and_chat_end_so_as_well(model: Model, home: Path) -> None:
    (home / "ask.toml").write_text(ASK)
    (home / "project").mkdir()
    project = ("--dir", "project", "--test", "", "--approval", "ask.toml")
    assert run(model, "code", "run: true", *project).returncode == 4
    command = [*FASTSLOW, "chat", "--base-url", model.url, *project]
    talk = subprocess.run(command, input="run: true\nhello\n", text=True, capture_output=True, timeout=120)
    assert talk.returncode == 4
    assert "I heard 'hello'" in talk.stdout


@pytest.mark.docker
def test_a_run_that_was_denied_its_tool_and_did_nothing_never_exits_0(model: Model, home: Path) -> None:
    (home / "deny.toml").write_text(DENY)
    done = run(model, "run", "run: true", "--approval", "deny.toml")
    assert done.returncode == 4
    assert "It did nothing: what it called was denied" in done.stdout
    assert run(model, "replay").returncode == 4
    assert run(model, "run", "say something", "--approval", "deny.toml").returncode == 0


@pytest.mark.docker
def test_a_check_proves_a_run(model: Model, home: Path) -> None:
    red = run(model, "run", "say something", "--check", "test -f result.txt", "--json")
    checks = [event for event in map(json.loads, red.stdout.splitlines()) if event["event"] == "check_finished"]
    assert (red.returncode, {check["verdict"] for check in checks}) == (1, {"red"})
    green = run(model, "run", "run: touch result.txt", "--check", "test -f result.txt", "--out", "made")
    assert (green.returncode, (home / "made" / "result.txt").exists()) == (0, True)


def formed(model: Model, seen: Seen) -> Answer:
    """An answer where one is asked for, else what the model says."""
    if seen.path != CHAT or "answer" not in [tool["function"]["name"] for tool in seen.json.get("tools", ())]:
        return ANSWER(model, seen)
    made = call(0, f"c{len(model.seen)}", "answer", '{"urgency": "high"}')
    return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), usage(10, 5)])


@pytest.mark.docker
def test_an_answer_by_a_schema_is_all_that_stands_on_stdout(
    model: Model, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "answer", formed)
    schema = {"type": "object", "properties": {"urgency": {"enum": ["low", "high"]}}, "required": ["urgency"]}
    (home / "urgency.json").write_text(json.dumps(schema))
    done = run(model, "run", "Classify it", "--schema", "urgency.json")
    assert (done.returncode, done.stdout) == (0, '{"urgency": "high"}\n')
    assert "✓ answered" in done.stderr
    told = run(model, "run", "Classify it", "--schema", "urgency.json", "--json").stdout.splitlines()
    assert json.loads(told[-1])["result"]["output"] == {"urgency": "high"}
    assert run(model, "resume", "last").stdout == '{"urgency": "high"}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "a JSON schema"),
        ('{"type": "objekt"}', "not valid"),
        ("[1]", "an object"),
        ("{}", "empty"),
        (None, "read"),
    ],
)
def test_a_schema_that_is_none_is_wrong_usage(
    tmp_path: Path, nowhere: dict[str, str], text: str | None, said: str
) -> None:
    file = tmp_path / "schema.json"
    if text is not None:
        file.write_text(text)
    command = [*FASTSLOW, "run", "x", "--schema", str(file)]
    done = subprocess.run(command, env=nowhere, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())


# --- nothing waits -----------------------------------------------------------------------------------

ENDS = {  # what could ask somebody, and how it ends where neither Docker nor a model's server nor a run is there
    "run x": (6, "no Docker daemon answers"),
    "run x --json": (6, "no Docker daemon answers"),
    "code x": (6, "no Docker daemon answers"),
    "code x --plan": (6, "no Docker daemon answers"),
    "chat --no-dir": (6, "no Docker daemon answers"),
    "resume": (1, "no run"),
    "replay": (1, "no run"),
    "diff": (1, "no run"),
    "apply": (1, "no run"),
    "undo": (1, "no run"),
    "runs rm last": (1, "no run"),
    "runs rm --all": (0, "no runs to remove"),
    "setup": (6, "no Docker daemon answers"),
    "setup --model exaone-4.0-1.2b": (6, "no Docker daemon answers"),
    "up --model exaone-4.0-1.2b": (1, "--accept-licence"),
    "sandbox build": (6, "no Docker daemon answers"),
    "doctor": (1, "Docker"),
}


@pytest.mark.parametrize("stdin", ["nothing", "never written", "closed"])
@pytest.mark.parametrize("command", ENDS)
def test_nothing_waits_for_an_answer_that_nobody_can_give(
    command: str, stdin: str, tmp_path: Path, nowhere: dict[str, str]
) -> None:
    status, said = ENDS[command]
    begun = time.monotonic()
    words = [*FASTSLOW, *command.split()]
    if stdin == "closed":
        words = ["sh", "-c", 'exec "$@" <&-', "sh", *words]
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=nowhere,
        text=True,
        stdin=subprocess.PIPE if stdin == "never written" else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        assert process.stdout
        try:
            assert process.wait(timeout=30) == status
        finally:
            process.kill()
        output = process.stdout.read()
    assert said in output
    assert "Traceback" not in output
    assert time.monotonic() - begun < 20


# --- one table ---------------------------------------------------------------------------------------

MEANS = {
    0: r"answered|done|removed|written|it answers|a run can start|HELD",
    1: r"no answer|red|failed|not|conflict|OPEN",
    2: r"wrong usage",
    3: r"out of budget",
    4: r"stopped at a question",
    5: r"model server failed",
    6: r"sandbox failed",
    75: r"waits for an answer",
    130: r"cancelled",
}
OF_ITS_CODE = {"sandbox exec"}  # passes on the status of the code that it runs


def told(command: tuple[str, ...]) -> str:
    """What the help of a command says of its exit statuses."""
    help_text = " ".join(CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "300"}).stdout.split())
    found = re.search(r"Exit status: (.*?)(?= Example:|$)", help_text)
    return found[1] if found else ""


def test_there_is_a_row_for_each_end_of_a_run() -> None:
    assert set(STATUS) == set(Exit)
    assert set(STATUS.values()) == {0, FAILED, 3, 4, 5, 6, 75, CANCELLED}
    assert set(MEANS) == {*STATUS.values(), 2}


@pytest.mark.parametrize("command", [one for one in commands(TOP) if " ".join(one) not in OF_ITS_CODE], ids=" ".join)
def test_no_command_has_statuses_of_its_own(command: tuple[str, ...]) -> None:
    for number, meaning in re.findall(r"(?<![\w.])(\d+)(?=[ ;:])([^0-9]*)", told(command)):
        assert int(number) in MEANS, f"{number} is in no table"
        assert re.search(MEANS[int(number)], meaning, re.IGNORECASE), f"{number} means something else: {meaning}"


def test_the_page_has_the_same_table() -> None:
    page = Path("docs/cli.md").read_text("utf-8").partition("## Exit statuses")[2]
    rows = {int(number): meaning for number, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)}
    assert set(rows) - {143} == set(MEANS)
    for number, meaning in MEANS.items():
        assert re.search(meaning, rows[number], re.IGNORECASE), number


def test_run_tells_all_that_can_become_of_it() -> None:
    numbers = {int(number) for number in re.findall(r"(?<!\w)(\d+) ", told(("run",)))}
    assert numbers == {0, 1, 2, 3, 4, 5, 6, 130}
