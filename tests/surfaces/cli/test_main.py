"""The console command in a process of its own, where neither engine nor Docker is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from fastslow.agent.surfaces.cli.main import GROUPS, app, sentence

FASTSLOW = Path(sys.executable).with_name("fastslow")


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a group and of each command below it."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


TOP = typer.main.get_command(app)
assert isinstance(TOP, TyperGroup)


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment with no Docker daemon, no model server, and empty folders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTSLOW_")}
    home = {"FASTSLOW_HOME": str(tmp_path / "home"), "DOCKER_HOST": "tcp://127.0.0.1:1"}
    return {**kept, **home, "COLUMNS": "80", "NO_COLOR": "1"}


def fastslow(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FASTSLOW, *arguments],
        env=env,
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([b"run", b"caf\xe9 task"], "fastslow: the task is no Unicode: character 3"),
        ([b"run", b"task", b"--out", b"caf\xe9"], "fastslow: the folder out is no Unicode"),
        ([b"run", b"task", b"--file", b"caf\xe9.csv"], "cannot go into the sandbox"),
        ([b"run", b"task", b"--file", b"two\nlines.csv"], "cannot go into the sandbox"),
        ([b"show", b"caf\xe9"], "no run"),
    ],
)
def test_what_is_no_unicode_is_refused_before_anything_is_set_up(
    nowhere: dict[str, str], tmp_path: Path, arguments: list[bytes], said: str
) -> None:
    for name in (b"caf\xe9.csv", b"two\nlines.csv"):
        with open(os.fsencode(tmp_path) + b"/" + name, "w") as file:
            file.write("x")
    before = sorted(os.listdir(os.fsencode(tmp_path)))
    for encoding in ("utf-8", "ascii"):
        env = {**nowhere, "PYTHONIOENCODING": encoding}
        done = subprocess.run([FASTSLOW, *arguments], env=env, cwd=tmp_path, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, b"", 1), done.stderr.decode()
        assert said in done.stderr.decode()
    assert [name for name in sorted(os.listdir(os.fsencode(tmp_path))) if name != b"home"] == before


def test_version(nowhere: dict[str, str]) -> None:
    done = fastslow("--version", env=nowhere)
    assert (done.returncode, done.stdout.strip()) == (0, f"fastslow {version('fastslow')}")


@pytest.mark.parametrize("command", list(commands(TOP)), ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    [example] = [line for line in done.stdout.splitlines() if "Example: " in line]
    assert example.strip().startswith(f"Example: fastslow {' '.join(command)}".strip())
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_the_help_lists_each_command_once_whole_and_in_a_group(width: int, nowhere: dict[str, str]) -> None:
    lines = fastslow("--help", env={**nowhere, "COLUMNS": str(width)}).stdout.splitlines()
    assert [line[:-1] for line in lines if line[:1].isalpha() and line.endswith(":")] == ["Options", *GROUPS]
    listed = [line.split()[0] for line in lines[lines.index("Do a job:") :] if line.startswith("  ")]
    assert sorted(listed) == sorted(TOP.commands)
    assert not [line for line in lines if line.endswith("...") and "Usage" not in line], "nothing is cut off"


def test_alone_it_says_what_to_try_first(nowhere: dict[str, str]) -> None:
    done = fastslow(env=nowhere)
    assert (done.returncode, done.stderr) == (0, "")
    tried = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  fastslow ")]
    assert tried == ["doctor", "run", "show"]
    assert "fastslow --help" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "TASK"),
        (["run", " "], "expected a task in words"),
        (["run", "x", "--think", "0"], "expected auto, never, always or a number"),
        (["run", "x", "--think", "-3"], "expected auto, never, always or a number"),
        (["run", "x", "--think", "hard"], "got 'hard'"),
        (["run", "x", "--out", __file__], "is a file"),
        (["run", "x", "--nonsense"], "--nonsense"),
        (["up", "--port", "70000"], "65535"),
        (["up", "--accept-licence"], "name the model whose licence"),
        (["sandbox", "exec", "--timeout", "0"], "--timeout"),
        (["nonsense"], "nonsense"),
        (["run", "x", "--budget", "turn=3"], "expected turns=N, tokens=N, thinking_tokens=N"),
        (["run", "x", "--budget", "step.turn=3"], "or step.turns=N and so on for each step, got 'step.turn=3'"),
        (["resume", "--budget", "step.cost=3"], "got 'step.cost=3'"),
        (["run", "x", "--budget", "turns=0"], "expected a whole number above 0 for turns, got 'turns=0'"),
        (["run", "x", "--budget", "step.turns=1.5"], "expected a whole number above 0 for step.turns"),
        (["run", "x", "--budget", "seconds=inf"], "expected a number above 0 for seconds"),
        (["run", "x", "--budget", "turns"], "got 'turns'"),
        (["run", "x", "--budget", ""], "got none"),
        (["run", "x", "--seconds", "nan"], "expected seconds from 0.1 to 86400 (a day), got 'nan'"),
        (["sandbox", "exec", "--timeout", "1e9"], "expected seconds from 0.1"),
        (["run", "x", "--memory", "much"], "expected a size such as 512M or 4G, got 'much'"),
        (["run", "x", "--memory", "64M"], "expected at least 128M"),
        (["runs", "rm"], "one of the three"),
        (["runs", "rm", "x", "--all"], "one of the three"),
        (["runs", "rm", "--all", "--older-than", "3d"], "one of the three"),
        (["runs", "rm", "--older-than", "0d"], "expected an age such as 12h, 30d or 8w"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, nowhere: dict[str, str]) -> None:
    done = fastslow(*arguments, env=nowhere)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_more_memory_than_the_machine_has(nowhere: dict[str, str]) -> None:
    here = {name: value for name, value in nowhere.items() if name != "DOCKER_HOST"}
    done = fastslow("run", "x", "--memory", "900T", env=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert "of this machine, got '900T'" in done.stderr


def one_sentence(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The last line of stderr, of a command that failed as it should."""
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fastslow: ")
    return last


def test_bad_files_are_refused_before_anything_starts(tmp_path: Path, nowhere: dict[str, str]) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(2 << 30)
    for path, said in (
        (tmp_path / "missing.csv", "no file"),
        (tmp_path, "not a regular file"),
        (huge, "at most"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        for command in (["run", "x"], ["sandbox", "exec"]):
            done = fastslow(*command, "--file", str(path), env=nowhere)
            assert said in one_sentence(done)
            assert len(done.stderr.splitlines()) == 1
            assert done.stdout == ""


def test_a_file_that_cannot_be_read(tmp_path: Path, nowhere: dict[str, str]) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a")
    secret.chmod(0)
    command: list[str | Path] = [FASTSLOW, "run", "x", "--file", secret]
    if os.geteuid() == 0:  # root may read everything: give that up
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    done = subprocess.run(command, env=nowhere, text=True, capture_output=True, timeout=60)
    assert "Permission denied" in one_sentence(done)


@pytest.mark.parametrize("command", [["run", "x"], ["run", "x", "--json"], ["sandbox", "build"], ["sandbox", "exec"]])
def test_no_docker_daemon(command: list[str], nowhere: dict[str, str]) -> None:
    done = fastslow(*command, env=nowhere)
    assert "DOCKER_HOST='tcp://127.0.0.1:1'" in one_sentence(done, 6)
    assert done.stdout == ""


def test_debug_shows_the_traceback(nowhere: dict[str, str]) -> None:
    for arguments in (["run", "x", "--file", "nope", "--debug"], ["--debug", "run", "x", "--file", "nope"]):
        done = fastslow(*arguments, env=nowhere)
        assert done.returncode == 1
        assert "Traceback" in done.stderr


def test_an_unknown_model(nowhere: dict[str, str]) -> None:
    assert "no model 'gpt-17'" in one_sentence(fastslow("up", "--model", "gpt-17", env=nowhere))


def test_a_licence_that_nobody_accepted(nowhere: dict[str, str]) -> None:
    done = fastslow("up", "--model", "exaone-4.0-1.2b", env=nowhere)
    said = one_sentence(done)
    assert "Engine" not in done.stderr, "nothing is installed for it"
    assert "--accept-licence" in said
    assert "EXAONE AI Model License" in said


def test_doctor_without_anything(nowhere: dict[str, str]) -> None:
    done = fastslow("doctor", "--json", env=nowhere)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["works"] is False
    rows = {row["name"]: row for row in told["rows"]}
    assert list(rows)[:2] == ["Python", "Docker"]
    assert {"Sandbox image", "Engine", "Weights", "Server", "Mode switch", "Disk", "Memory"} <= set(rows)
    assert rows["Python"]["state"] == "ok"
    for name in ("Docker", "Sandbox image", "Engine", "Weights", "Server", "Mode switch"):
        assert rows[name]["state"] == "failed"
        assert "fastslow " in rows[name]["remedy"]
    table = fastslow("doctor", env={**nowhere, "COLUMNS": "40"})
    assert table.returncode == 1
    assert all(len(line) <= 40 for line in table.stdout.splitlines())
    assert "→ fastslow up" in table.stdout


def test_doctor_with_a_server_that_is_not_there(nowhere: dict[str, str]) -> None:
    done = fastslow("doctor", "--json", "--base-url", "http://127.0.0.1:1/v1", env=nowhere)
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert done.returncode == 1
    assert rows["Server"]["state"] == "failed"
    assert "127.0.0.1:1" in rows["Server"]["found"]
    assert "Engine" not in rows, "nothing of ours is needed beside a server of the user's"


@pytest.mark.parametrize("by", ["option", "environment"])
def test_several_servers_that_are_not_there(nowhere: dict[str, str], by: str) -> None:
    urls = ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
    options = [word for url in urls for word in ("--base-url", url)] if by == "option" else []
    env = nowhere | ({} if options else {"FASTSLOW_BASE_URL": ",".join(urls)})
    done = fastslow("doctor", "--json", *options, env=env)
    found = [row["found"] for row in json.loads(done.stdout)["rows"] if row["name"] == "Server"]
    assert [url in text for url, text in zip(urls, found, strict=True)] == [True, True]


def test_status_and_down_without_a_server(nowhere: dict[str, str]) -> None:
    told = fastslow("status", "--json", env=nowhere)
    assert told.returncode == 1
    assert json.loads(told.stdout) == {"server": None, "healthy": False, "memory": 0, "uptime": 0.0}
    assert "fastslow up" in fastslow("status", env=nowhere).stdout
    assert fastslow("down", env=nowhere).returncode == 0


def test_models(nowhere: dict[str, str]) -> None:
    rows = json.loads(fastslow("models", "--json", env=nowhere).stdout)
    assert {"exaone-4.0-32b", "qwen2.5-coder-1.5b"} <= {row["id"] for row in rows}
    assert {"licence", "download", "context", "modes", "fits", "state", "usable"} <= set(rows[0])
    assert sum(row["default"] for row in rows) == 1
    for width in (40, 80):
        table = fastslow("models", env={**nowhere, "COLUMNS": str(width)}).stdout
        assert "qwen2.5-coder-1.5b" in table
        assert max(map(len, table.splitlines())) <= width


def test_a_reader_that_goes_away_is_no_error(nowhere: dict[str, str]) -> None:
    script = f'"{FASTSLOW}" models --json | head -c 1'
    done = subprocess.run(["bash", "-c", script], env=nowhere, text=True, capture_output=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(28, "No space left on device", "out.png"),
            "No space left on device: 'out.png'; free some space",
        ),
        (PermissionError(13, "Permission denied", "a.csv"), "Permission denied: 'a.csv'"),
        (FileNotFoundError("no file 'a.csv'; check the name"), "no file 'a.csv'; check the name"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_sentence_for_every_error(error: Exception, said: str) -> None:
    assert sentence(error).startswith(said)


SLOW_RUN = '''
import asyncio, sys
from pathlib import Path
from fastslow import Agent, ScriptedModel
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.run import JsonLines, carry_out
from fastslow.agent.surfaces.cli.text import terminal
from fastslow.agent.engine.types import Reply
from fastslow.agent.transcript import ToolCall

class Closed(ScriptedModel):
    async def aclose(self):
        print("closed", file=sys.stderr, flush=True)
        if sys.argv[1] == "stuck":
            await asyncio.sleep(60)

async def forever(request):
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.sleep(60)

def wait(minutes: int) -> str:
    """Wait.

    Args:
        minutes: How long.
    """
    return "waited"

plan = ToolCall("p", "plan", '{"goal": "Wait", "steps": [{"do": "Wait."}, {"do": "Wait more."}]}')
model = Closed([Reply(calls=(plan,)), Reply("The first step gave 42."), forever])
agent = Agent(engine=model, sandbox=None, tools=[wait])
view = JsonLines() if sys.argv[1] == "json" else RunView(terminal())
sys.exit(asyncio.run(carry_out(agent, agent.stream("Wait."), view, Phases(terminal(stderr=True)))))
'''


def start(how: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """A run that waits for its second turn's model until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, how],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while "waiting" not in process.stderr.readline():
        assert process.poll() is None
    return process


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_prints_the_partial_result(nowhere: dict[str, str]) -> None:
    process = start("live", nowhere)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    partial = stdout.partition("Partial answer")[2]
    assert "Step 1:" in partial
    assert "The first step gave 42." in partial
    assert "✗ cancelled: cancelled by the user" in stdout
    assert "press Ctrl-C again" in stderr
    assert "closed" in stderr
    assert "Traceback" not in stderr


def test_ctrl_c_ends_json_lines_with_the_result(nowhere: dict[str, str]) -> None:
    process = start("json", nowhere)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    told = [json.loads(line) for line in stdout.splitlines()]
    assert told[0]["event"] == "run_started"
    assert told[-1]["event"] == "run_finished"
    assert told[-1]["result"]["exit"] == "cancelled"


def test_what_runs_in_the_background_does_not_hear_the_terminals_ctrl_c(nowhere: dict[str, str]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts with &
    try:
        process = start("live", nowhere)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "✗ cancelled" in stdout


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_ends_at_once(nowhere: dict[str, str]) -> None:
    process = start("stuck", nowhere)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "closed" not in process.stderr.readline():
        assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert "The first step gave 42." in stdout
