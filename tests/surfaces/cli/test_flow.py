"""`fastslow flow` in processes of its own, beside a server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from fastslow import Journal
from fastslow.agent.events import Exit
from fastslow.agent.record.jobs import Jobs, StepResult
from tests.surfaces.cli.test_chat import FASTSLOW, Model
from tests.surfaces.cli.test_chat import model as model
from tests.surfaces.cli.test_unattended import home as home

SCRIPT = '''
from pathlib import Path

def post(text: str) -> None:
    with open(Path(__file__).with_name("effects"), "a") as file:
        file.write(text + "\\n")

async def main(wf, texts: list[str], send: bool = False) -> dict[str, str]:
    """Say texts.

    Args:
        texts: What to say.
    """
    wf.log(f"{len(texts)} texts")
    said = await wf.map(lambda text: wf.agent(text, builtin=(), name="say"), texts)
    wf.save("said.txt", "\\n".join(map(str, said)))
    if send and await wf.ask("Send [them]?", ["yes", "no"]) == "yes":
        await wf.step(post, "sent")
    return dict(zip(texts, map(str, said)))
'''


def flow(*words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """With nobody at the terminal; without a URL nothing could be asked of any model."""
    command = [*FASTSLOW, "flow", *words, "--base-url", url or "http://127.0.0.1:1/v1"]
    if words[0] == "show":
        command = command[:-2]
    return subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)


@pytest.fixture
def script(home: Path) -> Path:
    path = home / "say.py"
    path.write_text(SCRIPT)
    return path


def kept(folder: Path) -> Journal:
    return Journal(folder / "home" / "state" / "runs.db")


def test_what_it_returns_is_printed_and_told_again_without_a_server(model: Model, script: Path) -> None:
    done = flow("run", "say.py", "--texts", "a", "b", "--out", "made", url=model.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"a": "I heard 'a'", "b": "I heard 'b'"}
    assert "· 2 texts" in done.stderr
    assert done.stderr.count("✓ say") == 2
    assert "made made/said.txt" in done.stderr
    assert (script.parent / "made" / "said.txt").read_text() == "I heard 'a'\nI heard 'b'"
    asked = len(model.chats)
    again = flow("run", "say.py", "--texts", "a", "b", url=model.url)
    assert (again.returncode, again.stdout, len(model.chats)) == (0, done.stdout, asked)
    assert "nothing has changed since" in again.stderr
    fresh = flow("run", "say.py", "--texts", "a", "b", "--fresh", url=model.url)
    assert (fresh.returncode, len(model.chats)) == (0, asked + 2)


def test_it_waits_and_another_process_answers(model: Model, script: Path) -> None:
    done = flow("run", "say.py", "--texts", "a", "--send", url=model.url)
    assert (done.returncode, done.stdout) == (75, "")
    assert "? Send [them]?" in done.stderr
    command = next(line.split() for line in done.stderr.splitlines() if line.endswith(" yes"))
    assert command[:3] == ["fastslow", "flow", "answer"]
    wrong = flow("answer", command[3], "maybe", url=model.url)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "expected one of yes, no, got 'maybe'" in wrong.stderr
    asked = len(model.chats)
    done = flow("answer", f"{command[3]}:1", "yes", url=model.url)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"a": "I heard 'a'"}), done.stderr
    assert (script.parent / "effects").read_text() == "sent\n"
    assert len(model.chats) == asked
    twice = flow("answer", "last", "no")
    assert (twice.returncode, "it was answered 'yes' before" in twice.stderr) == (2, True)


def test_for_programs(model: Model, script: Path) -> None:
    done = flow("run", "say.py", "--texts", "a", "--send", "--json", url=model.url)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in told] == ["log", "step", "step", "question", "result"]
    assert (told[-1]["exit"], told[-1]["status"]) == ("waiting", 75)
    assert told[-1]["questions"][0]["answer"] == f"fastslow flow answer {told[-1]['flow']}"


def test_show_and_runs_and_their_removal(model: Model, script: Path) -> None:
    flow("run", "say.py", "--texts", "a", "b", "--send", url=model.url)
    shown = flow("show").stdout.splitlines()
    assert "waiting" in shown[0]
    assert shown[0].endswith("say.py --texts a b --send true")
    assert shown[1] == "✓ map ×2"  # noqa: RUF001
    assert shown[2].startswith("  ✓ say  ")
    assert "20 tokens, 0 % think, 100 % fast" in shown[2]
    assert shown[4] == "? Send [them]?"
    told = json.loads(flow("show", "last", "--json").stdout)
    assert [step["name"] for step in told["steps"]] == ["map", "say", "say", "Send [them]?"]
    assert told["questions"][0]["choices"] == ["yes", "no"]
    env = {"COLUMNS": "200"}
    runs = subprocess.run([*FASTSLOW, "runs"], text=True, capture_output=True, env={**os.environ, **env})
    [row] = runs.stdout.splitlines()[1:]
    assert "flow: say.py --texts a b --send true (2 runs)" in row
    job = told["flow"]
    removed = subprocess.run([*FASTSLOW, "runs", "rm", job, "--yes"], text=True, capture_output=True)
    assert (removed.returncode, "3 runs removed" in removed.stderr) == (0, True), removed.stderr
    assert flow("show", job).returncode == 1
    assert Jobs(kept(script.parent)).all() == ()
    assert kept(script.parent).runs() == ()


def test_what_a_flow_shows_cannot_move_a_cursor(home: Path) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07evil\r\nline [red]"
    with Jobs(kept(home)).open("flow", hostile, "k", {}) as job:
        job.begin("a", hostile)
        job.end(StepResult("a", hostile, Exit.FAILED, reason=hostile))
        question = {"question": hostile, "choices": [hostile], "number": 1}
        job.end(StepResult("b", hostile, Exit.WAITING, question, failure="question"))
    shown = flow("show")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    assert "\x07" not in shown.stdout
    assert "✗ evil line [red]" in shown.stdout
    assert len(shown.stdout.splitlines()) == 4


def test_a_dry_run_does_and_writes_nothing(script: Path) -> None:
    done = flow("run", "say.py", "--texts", "a", "b", "--send", "--dry-run")
    assert done.stdout.splitlines() == [
        "map ×2",  # noqa: RUF001
        "  agent say ×2",  # noqa: RUF001
        "ask Send [them]?",
        "step post",
        "writes said.txt",
    ]
    assert done.returncode == 0
    assert sorted(path.name for path in script.parent.iterdir()) == ["say.py"]


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("x = 1\n", [], "there is no main"),
        (SCRIPT, [], "--texts must be given"),
        (SCRIPT, ["--texts", "a", "--tests", "b"], "'--tests' is no parameter of this flow"),
        ("async def main(wf, budget: int):\n    pass\n", ["--budget", "turns=3"], "has the name of an option"),
    ],
)
def test_wrong_usage(script: Path, text: str, words: list[str], said: str) -> None:
    script.write_text(text)
    done = flow("run", "say.py", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_comes_first(home: Path) -> None:
    done = flow("run", "--texts", "a")
    assert (done.returncode, "the script comes first" in done.stderr) == (2, True)


def test_help_of_a_script(script: Path) -> None:
    done = flow("run", "say.py", "--help")
    assert done.returncode == 0
    assert "Say texts." in done.stdout
    assert "--texts STR …  What to say. [required]" in done.stdout


def test_an_error_of_the_users_code_is_told_by_its_line(model: Model, script: Path) -> None:
    script.write_text(SCRIPT.replace("    return dict(", "    texts[5]\n    return dict("))
    done = flow("run", "say.py", "--texts", "a", url=model.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "✗ failed: say.py, line 19, in main: IndexError: list index out of range" in done.stderr
    asked = len(model.chats)
    script.write_text(SCRIPT)
    assert flow("resume", "last", url=model.url).returncode == 0
    assert len(model.chats) == asked, "what was done is not done again"


def test_a_script_that_is_gone(model: Model, script: Path) -> None:
    flow("run", "say.py", "--texts", "a", "--send", url=model.url)
    script.rename(script.with_name("other.py"))
    done = flow("answer", "last", "yes", url=model.url)
    assert (done.returncode, "which is not there any more" in done.stderr) == (2, True)


def test_a_server_that_is_not_there(script: Path) -> None:
    script.write_text("async def main(wf):\n    return await wf.agent('a', builtin=())\n")
    done = flow("run", "say.py")
    assert (done.returncode, done.stdout) == (5, "")
    script.write_text(SCRIPT)
    done = flow("run", "say.py", "--texts", "a")
    assert done.returncode == 5, "main took the failure for a value"
    assert "EngineUnreachable" in json.loads(done.stdout)["a"]


def test_the_budget_is_one_for_all(model: Model, script: Path) -> None:
    words = ("run", "say.py", "--texts", "a", "b", "c", "--budget")
    done = flow(*words, "turns=2", "--at-once", "1", url=model.url)
    assert done.returncode == 3
    assert "the budget of 2 turns is spent" in json.loads(done.stdout)["c"]
    assert flow(*words, "turns=3", url=model.url).returncode == 0


def test_ctrl_c_ends_it_and_the_same_command_goes_on(model: Model, script: Path) -> None:
    script.write_text(
        textwrap.dedent(
            """
            async def main(wf):
                first = await wf.agent("first", builtin=())
                return [first, await wf.agent("wait", builtin=())]
            """
        )
    )
    command = [*FASTSLOW, "flow", "run", "say.py", "--base-url", model.url]
    going = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not any(chat["messages"][-1]["content"] == "wait" for chat in model.chats):
        assert going.poll() is None
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=60)
    assert (going.returncode, out) == (130, ""), err
    assert "cancelled by the user" in err
    asked = len(model.chats)
    script.write_text(script.read_text().replace('"wait"', '"on"'))
    done = flow("run", "say.py", url=model.url)
    assert (done.returncode, json.loads(done.stdout)) == (0, ["I heard 'first'", "I heard 'on'"]), done.stderr
    assert len(model.chats) == asked + 1


@pytest.mark.docker
def test_a_call_that_needs_consent_ends_an_unattended_flow_with_4(model: Model, script: Path) -> None:
    (script.parent / "ask.toml").write_text('[[rule]]\ndecide = "ask"\ntool = "shell"\n')
    script.write_text("async def main(wf):\n    return await wf.agent('run: echo 1')\n")
    done = flow("run", "say.py", "--approval", "ask.toml", url=model.url)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "shell needs somebody's consent" in done.stderr
    (script.parent / "ask.toml").write_text('[[rule]]\ndecide = "allow"\ntool = "shell"\n')
    done = flow("resume", "last", url=model.url)
    assert (done.returncode, json.loads(done.stdout)) == (0, "It is done."), done.stderr


@pytest.mark.parametrize("where", ["sys.exit(0)", "await asyncio.gather(leave())", "await wf.map(leave, [1])"])
def test_code_that_leaves_answers_nothing(home: Path, where: str) -> None:
    body = f"import asyncio, sys\nasync def leave(*_):\n    sys.exit(0)\nasync def main(wf):\n    {where}\n"
    (home / "leave.py").write_text(body)
    done = flow("run", "leave.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SystemExit: 0" in done.stderr
    assert Jobs(kept(home)).all()[0].exit is Exit.FAILED


def test_a_step_that_was_cut_off_while_it_wrote_to_its_file_is_asked_about(home: Path) -> None:
    body = """
    import os, signal
    from pathlib import Path

    def add(file: Path, text: str) -> None:
        with file.open("a") as opened:
            print(text, file=opened, flush=True)
            if text == "two":
                os.kill(os.getpid(), signal.SIGKILL)

    async def main(wf):
        await wf.step(add, Path("ledger"), "one")
        await wf.step(add, Path("ledger"), "two")
    """
    (home / "add.py").write_text(textwrap.dedent(body))
    assert flow("run", "add.py").returncode == -signal.SIGKILL
    done = flow("run", "add.py")
    assert (done.returncode, (home / "ledger").read_text()) == (75, "one\ntwo\n"), done.stderr
    done = flow("answer", "last", "done")
    assert (done.returncode, (home / "ledger").read_text()) == (0, "one\ntwo\n"), done.stderr
    assert "+" not in flow("show", "last").stdout


def test_a_choice_is_told_as_a_shell_takes_it(home: Path) -> None:
    (home / "ask.py").write_text("async def main(wf):\n    return await wf.ask('Go?', ['not yet', '--now'])\n")
    done = flow("run", "ask.py")
    assert " 'not yet'\n" in done.stderr
    assert " -- --now\n" in done.stderr
    command = [*FASTSLOW, "flow", "answer", "last", "--", "--now"]
    answered = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert answered.stdout == '"--now"\n'


def test_what_steps_print_is_no_part_of_the_result(home: Path) -> None:
    body = "print('at import')\ndef tell():\n    print('by the way')\n"
    body += "async def main(wf):\n    print('first')\n    await wf.step(tell)\n"
    (home / "tell.py").write_text(body)
    for options in ((), ("--json", "--fresh")):
        done = flow("run", "tell.py", *options)
        assert [json.loads(line) for line in done.stdout.splitlines()]
        assert "first" in done.stderr
        assert "by the way" in done.stderr
