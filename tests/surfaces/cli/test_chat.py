"""A conversation in the terminal: a real process, a real terminal and sandbox, and a server that plays a model."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.engine.fake_server import CHAT, Answer, FakeServer, Seen, call, delta, serving, usage
from tests.surfaces.cli.test_asking import Terminal

pytestmark = pytest.mark.docker

FASTSLOW = (sys.executable, "-m", "fastslow.agent.surfaces.cli.main")
PLAN = {"goal": "It is two", "steps": [{"do": "run: echo 'two = 2' >> source/calculator.py"}]}
ALT_ENTER, CTRL_C, CTRL_D, TAB = "\x1b\r", "\x03", "\x04", "\t"


class Model(FakeServer):
    """A model that does what a task says: `run: COMMAND` in the shell, `wait` until nobody waits any more, else `say`
    something. Asked for a plan, it plans one step. The product's first questions of a server get sound answers."""

    def answer(self, seen: Seen) -> Answer:
        if seen.path != CHAT:
            return super().answer(seen)
        messages = seen.json["messages"]
        if messages[0]["content"].startswith("You take readings"):
            del self.seen[-1]
            return probed(seen.json)
        counted = usage(1000, 20, prompt_tokens_details={"cached_tokens": 900 if len(messages) > 2 else 0})
        asked = messages[-1]["content"].partition("\n")[0]
        if "answer" in [tool["function"]["name"] for tool in seen.json.get("tools", ())]:
            made = call(0, f"c{len(self.seen)}", "answer", json.dumps(PLAN))
            return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), counted])
        if messages[-1]["role"] == "user" and asked.startswith("run: "):
            made = call(0, f"c{len(self.seen)}", "shell", json.dumps({"command": asked.removeprefix("run: ")}))
            return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), counted])
        if messages[-1]["role"] == "user" and asked == "wait":
            return Answer([delta(content="I wait")], hold=True)
        if messages[-1]["role"] == "user" and asked == "fail":
            return Answer(body={"error": {"message": "no such luck"}}, status=400)
        text = f"I heard {asked!r}" if messages[-1]["role"] == "user" else "It is done."
        return Answer([delta(content=text), delta(finish="stop"), counted])


class Screen(Terminal):
    """A terminal that has a size, and says where its cursor is."""

    def __init__(self, home: Path, command: Sequence[str]) -> None:
        super().__init__(home, command)
        termios.tcsetwinsize(self.fd, (40, 100))
        self._answered = 0

    def type(self, text: str) -> None:
        """Once the prompt is there: before, Ctrl-C and Ctrl-D mean something else."""
        while self.shown.rfind("\x1b[?2004h") <= self.shown.rfind("\x1b[?2004l"):
            assert self._read(), self.shown
        super().type(text)

    def _read(self) -> bool:
        more = super()._read()
        asked = self.shown.count("\x1b[6n")
        if asked > self._answered:
            super().type("\x1b[1;1R" * (asked - self._answered))
            self._answered = asked
        return more


def probed(body: dict[str, Any]) -> Answer:
    constraint = body.get("structured_outputs") or {}
    if "choice" in constraint:
        return Answer([delta([1], content=constraint["choice"][0]), delta(finish="stop"), usage()])
    if isinstance(body.get("tool_choice"), dict):
        made = call(0, "c", "report", '{"level": "high", "count": 3}')
        return Answer([delta([1], tool_calls=[made]), delta(finish="tool_calls"), usage()])
    return Answer([delta([1], content="Instrument 3 shows 1 unit."), delta(finish="stop"), usage()])


@pytest.fixture
def model() -> Iterator[Model]:
    """A server beside us, in a thread."""
    served, stop = threading.Event(), asyncio.Event()
    fake, loop = Model(), asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(fake):
            served.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    served.wait(10)
    yield fake
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    root = tmp_path / "project"
    (root / "source").mkdir(parents=True)
    (root / "source" / "calculator.py").write_text("one = 1\n")
    return root


@pytest.fixture
def chat(model: Model, project: Path, tmp_path: Path, interruptible: None) -> Iterator[Terminal]:
    command = (*FASTSLOW, "chat", "--base-url", model.url, "--dir", str(project), "--test", "")
    with closing(Screen(tmp_path / "home", command)) as there:
        there.wait_for("Ctrl-D leaves")
        there.wait_for("think auto")
        yield there


def piped(model: Model, *options: str, typed: str) -> subprocess.CompletedProcess[str]:
    command = [*FASTSLOW, "chat", "--base-url", model.url, *options]
    return subprocess.run(command, input=typed, text=True, capture_output=True, timeout=120)


def last_asked(model: Model) -> str:
    return str(model.chats[-1]["messages"][-1]["content"])


def leave(chat: Terminal) -> str:
    """The rest of what is shown, and the run that one may go on with."""
    chat.type(CTRL_D)
    assert chat.end() == 0, chat.shown
    found = re.search(r"fastslow chat --after ([\w-]+)", chat.shown)
    return found[1] if found else ""


def test_tasks_follow_each_other_in_one_sandbox_and_ctrl_c_stops_only_one(chat: Terminal, model: Model) -> None:
    chat.type("run: echo $$ > kept; sleep 0\r")
    chat.wait_for("It is done")
    chat.wait_for("Prefix cache: 0% of the first")
    chat.type("wait\r")
    chat.wait_for("I wait")
    os.killpg(chat.process.pid, signal.SIGINT)
    chat.wait_for("the conversation stays")
    chat.wait_for("cancelled by the user")
    chat.type("run: cat kept\r")
    chat.wait_for("It is done", 2)
    chat.wait_for("Prefix cache: 90% of the first")
    told = [message["content"] for message in model.chats[-1]["messages"] if message["role"] == "assistant"]
    assert "(I did not finish this: cancelled by the user.)" in told
    assert re.search(r"\d+", last_asked(model))
    assert leave(chat)


def test_a_task_that_fails_keeps_the_conversation(chat: Terminal) -> None:
    chat.type("fail\r")
    chat.wait_for("no such luck")
    chat.type("hello\r")
    chat.wait_for("I heard 'hello")
    assert leave(chat), "there is a run to go on with"


def test_what_is_pasted_keeps_its_lines_and_alt_enter_adds_one(chat: Terminal, model: Model) -> None:
    chat.type("\x1b[200~first\nsecond\n\x1b[201~third" + ALT_ENTER + "fourth\r")
    chat.wait_for("I heard")
    assert last_asked(model).startswith("first\nsecond\nthird\nfourth")
    leave(chat)


def test_ctrl_c_clears_the_line_and_twice_leaves(chat: Terminal, model: Model) -> None:
    chat.type("never sent" + CTRL_C)
    chat.wait_for("Press Ctrl-C again to leave")
    chat.type("sent\r")
    chat.wait_for("I heard 'sent")
    chat.wait_for("cached 0%")
    chat.type(CTRL_C)
    chat.wait_for("Press Ctrl-C again to leave", 2)
    chat.type(CTRL_C)
    assert chat.end() == 0
    assert "fastslow chat --after 2" in chat.shown
    assert len(model.chats) == 1


def test_commands_and_paths_are_completed(chat: Terminal, model: Model) -> None:
    chat.type("/thi")
    chat.wait_for("How the next tasks think")
    chat.type(TAB + " nev")
    chat.wait_for("never")
    chat.type(TAB + "\r")
    chat.wait_for("think never")
    chat.type("look at @calc")
    chat.wait_for("source/calculator.py")
    chat.type(TAB + " please\r")
    chat.wait_for("I heard")
    assert last_asked(model).startswith("look at source/calculator.py please")
    before = chat.shown.count("ce/calculator.py")
    chat.type("look at sour" + TAB)
    chat.wait_for("ce/calculator.py", before + 1)
    chat.type(" again\r")
    chat.wait_for("I heard", 2)
    assert last_asked(model).startswith("look at source/calculator.py again")
    leave(chat)


def test_an_unknown_command_gets_a_near_name(chat: Terminal) -> None:
    chat.type("/aply\r")
    chat.wait_for("did you mean /apply")
    chat.type("/xyzzy\r")
    chat.wait_for("/help lists them")
    chat.type("/help\r")
    chat.wait_for("Take back what was applied last")
    assert leave(chat) == "", "no command is a task"


def test_a_diff_is_shown_cleaned_and_outlives_a_task_that_only_answers(chat: Terminal, project: Path) -> None:
    chat.type("run: printf 'two = 2\\n\\033[2J' >> source/calculator.py\r")
    chat.wait_for("It is done")
    chat.type("explain\r")
    chat.wait_for("I heard")
    chat.type("/diff source\r")
    chat.wait_for("two = 2", 2)
    chat.type("/files\r")
    chat.wait_for("modified +source/calculator.py", 3)
    run = leave(chat)
    assert "\x1b[2J+" not in chat.shown
    assert f"fastslow apply {run}" in chat.shown
    assert (project / "source" / "calculator.py").read_text() == "one = 1\n"


def test_a_persons_command_runs_in_the_sandbox_and_the_model_is_told(chat: Terminal, model: Model) -> None:
    chat.type("!ls\r")
    chat.wait_for("starts with the first task")
    chat.type("hello\r")
    chat.wait_for("I heard")
    chat.type("!echo made > new.txt; ls new.*\r")
    chat.wait_for("new.txt\r\n")
    chat.type("run: cat new.txt\r")
    chat.wait_for("It is done")
    first = next(m["content"] for m in reversed(model.chats[-1]["messages"]) if m["role"] == "user")
    assert "$ echo made > new.txt; ls new.*\nnew.txt" in first
    assert last_asked(model) == "made"
    leave(chat)


def test_a_conversation_is_gone_on_with(chat: Terminal, model: Model, tmp_path: Path) -> None:
    chat.type("run: echo 'two = 2' >> source/calculator.py\r")
    chat.wait_for("It is done")
    run = leave(chat)
    done = piped(model, "--after", run, typed="run: cat source/calculator.py\n/status\n")
    assert done.returncode == 0, done.stderr
    assert last_asked(model).startswith("one = 1\ntwo = 2\n")
    assert "limits of a task" in done.stdout
    history = next((tmp_path / "home").rglob("chat-history"))
    assert history.stat().st_mode & 0o777 == 0o600
    assert "+run: echo 'two = 2'" in history.read_text()


def test_lines_of_a_pipe_are_tasks_and_the_first_failure_is_the_status(model: Model, project: Path) -> None:
    done = piped(model, "--no-dir", typed="hello\n\n/think 64\n/think much\nfail\ngood bye")
    assert done.returncode == 1, done.stderr
    assert "I heard 'hello" in done.stdout
    assert "I heard 'good bye" in done.stdout
    assert "expected auto, never, always or a number" in done.stdout
    assert "\x1b" not in done.stdout
    assert "fastslow chat --after" in done.stderr


def test_a_file_is_brought_with_the_next_task(model: Model, project: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk")
    typed = f"/file {tmp_path}/notes.txt\nrun: cat notes.txt\n/files\n/compact\nhello\n/model\n/exit\nnever\n"
    done = piped(model, "--dir", str(project), "--test", "", typed=typed)
    assert done.returncode == 0, done.stderr
    assert "remember the milk" in [m["content"] for m in model.chats[1]["messages"]]
    assert "given" in done.stdout
    assert last_asked(model).startswith("hello")


def test_changes_are_applied_and_taken_back(chat: Terminal, project: Path) -> None:
    file = project / "source" / "calculator.py"
    chat.type("/apply\r")
    chat.wait_for("no task yet")
    chat.type("run: echo 'two = 2' >> source/calculator.py\r")
    chat.wait_for("It is done")
    chat.type("/apply source\r")
    chat.wait_for("1 file written")
    assert file.read_text() == "one = 1\ntwo = 2\n"
    chat.type("/undo\r")
    chat.wait_for("1 file taken back")
    assert file.read_text() == "one = 1\n"
    chat.type("/apply\r")
    chat.wait_for("1 file written", 2)
    run = leave(chat)
    assert f"fastslow apply {run}" not in chat.shown.partition("Go on with it")[2]


def test_a_plan_is_looked_at_edited_and_carried_out(
    model: Model, project: Path, tmp_path: Path, interruptible: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/two = 2/three = 3/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    command = (*FASTSLOW, "chat", "--base-url", model.url, "--dir", str(project), "--test", "")
    with closing(Screen(tmp_path / "home", command)) as chat:
        chat.wait_for("think auto")
        chat.type("/plan\r")
        chat.wait_for("expected a task to plan")
        chat.type("/plan Make it two\r")
        chat.wait_for("Carry it out")
        tools = {tool["function"]["name"] for tool in model.chats[0]["tools"]}
        assert tools == {"read_file", "search", "list_files", "give_up", "answer"}
        os.killpg(chat.process.pid, signal.SIGINT)
        chat.wait_for("not carried out; the conversation stays")
        chat.type("/plan Make it two\r")
        chat.wait_for("Carry it out", 2)
        Terminal.type(chat, "n\r")
        chat.wait_for("not carried out; the conversation stays", 2)
        assert len(model.chats) == 2
        chat.type("/plan Make it two\r")
        chat.wait_for("Carry it out", 3)
        Terminal.type(chat, "e\r")
        chat.wait_for("Carry it out", 4)
        Terminal.type(chat, "y\r")
        chat.wait_for("step 1 done")
        leave(chat)
    assert "three = 3" in json.dumps(model.chats[-1]["messages"])


def test_another_model_is_taken_where_it_is_served(model: Model, project: Path) -> None:
    model.models.append({"id": "other", "root": "m", "max_model_len": 8192})
    typed = "hello\n/model none\n/model other\nhello again\n/model\n"
    done = piped(model, "--model", "m", "--dir", str(project), "--test", "", typed=typed)
    assert done.returncode != 0
    assert "the model 'none' is not served" in done.stdout
    assert "pass one of: m, other" in done.stdout
    assert "8,192 tokens of context" in done.stdout
    assert "Served as well: m;" in done.stdout
    assert [chat["model"] for chat in model.chats] == ["m", "other"]
    assert len(model.chats[1]["messages"]) > len(model.chats[0]["messages"])


@pytest.mark.parametrize("trust", [False, True])
def test_what_the_project_tells_agents_is_told_where_it_is_trusted(model: Model, project: Path, trust: bool) -> None:
    (project / "AGENTS.md").write_text("Speak like a pirate.\n")
    done = piped(model, "--dir", str(project), "--test", "", *(["--trust"] if trust else []), typed="hello\n")
    assert done.returncode == 0, done.stderr
    assert ("like a pirate" in json.dumps(model.chats[-1]["messages"])) is trust
    assert ("--trust does" in done.stdout) is not trust


def test_a_person_is_asked_whether_the_model_may_be_told(model: Model, project: Path, tmp_path: Path) -> None:
    (project / "AGENTS.md").write_text("Speak like a pirate.\n")
    command = (*FASTSLOW, "chat", "--base-url", model.url, "--dir", str(project), "--test", "")
    with closing(Terminal(tmp_path / "home", command)) as there:
        there.wait_for("May the model be told?")
        there.type("y\r")
        there.wait_for("Ctrl-D leaves")
    assert "trust.json" in {file.name for file in (tmp_path / "home").rglob("*")}
