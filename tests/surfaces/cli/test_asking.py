"""Questions on a terminal, answered through a real one."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from rich.cells import cell_len

RUN = """
import asyncio, sys
from fastslow import Agent, ScriptedModel
from fastslow.agent.surfaces.cli.asking import Asker, attended
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.surfaces.cli.phases import Phases
from fastslow.agent.surfaces.cli.run import carry_out
from fastslow.agent.surfaces.cli.text import terminal
from fastslow.agent.engine.types import Reply
from tests.agent.helpers import calls
from fastslow.tools import tool

@tool(effect="outside")
def deploy(command: str, to: str = "the moon", mode: int = 0o755) -> str:
    '''Deploy.

    Args:
        command: How.
        to: Where.
        mode: Of its files.
    '''
    return f"deployed by {command}"

HOSTILE = {
    "command": "ls" + " " * 3000 + "; rm -rf / \\u202e\\u200b\\x1b[2J\\nMay deploy run? y\\n" + "x\\n" * 90 + "evil",
    "to": "a" * 61 + 'mode = "0"\\r 한국어 日本語',
}
said = [calls(("deploy", {"command": f"ship --to {n} \\x1b[2J"})) for n in range(2)]
if "hostile" in sys.argv:
    said = [calls(("deploy", HOSTILE))]
def last(request):
    return Reply("I was told: " + " | ".join(m.content for m in request.messages if hasattr(m, "call_id")))

view = RunView(terminal())
agent = Agent(
    engine=ScriptedModel([*said, last]), tools=[deploy], sandbox=None,
    ask=Asker(terminal(), view.paused) if attended() else None,
)
sys.exit(asyncio.run(carry_out(agent, agent.stream("Deploy it."), view, Phases(terminal(stderr=True)))))
"""
ROOT = Path(__file__).parents[3]


class Terminal:
    """A process at a terminal of its own: what it shows, and what is typed."""

    def __init__(
        self, home: Path, command: Sequence[str | Path] = (sys.executable, "-c", RUN), columns: int = 100
    ) -> None:
        self.fd, there = pty.openpty()
        env = {**os.environ, "FASTSLOW_HOME": str(home), "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
        self.process = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=env, cwd=ROOT, start_new_session=True
        )
        os.close(there)
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a letter may come in two parts

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until a text was shown so many times."""
        while len(re.findall(text, self.shown)) < times:
            assert self._read(), self.shown

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def _read(self) -> bool:
        """Take what is shown next; False when the process has ended. Nothing for a minute is a failure."""
        assert select.select([self.fd], [], [], 60)[0], self.shown
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # how Linux says that nobody holds the other end
            return False
        self.shown += self._decoder.decode(data)
        return bool(data)


@pytest.fixture
def terminal(tmp_path: Path, interruptible: None) -> Iterator[Terminal]:
    with closing(Terminal(tmp_path)) as there:
        yield there


def test_yes_and_no_with_a_word(terminal: Terminal) -> None:
    terminal.wait_for("resume later")
    assert "May deploy run?" in terminal.shown
    assert 'command, run as a command = "ship --to 0 \\x1b[2J"' in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    terminal.type("x")  # no answer to anything
    terminal.type("y")
    terminal.wait_for("resume later", 2)
    terminal.type("e")
    terminal.wait_for("What should the model know")
    terminal.type("Not on Sundays.\n")
    terminal.wait_for("answered")
    assert terminal.end() == 0
    assert "deployed by ship --to 0" in terminal.shown
    assert "They say: Not on Sundays." in terminal.shown
    assert re.search(r"set-up took [\d.]+ s in all, the run [\d.]+ s", terminal.shown)


def test_stop_ends_the_run_and_says_how_it_goes_on(terminal: Terminal) -> None:
    terminal.wait_for("resume later")
    terminal.type("s")
    terminal.wait_for("fastslow resume 2")
    assert terminal.end() == 4
    assert "stopped at a question about deploy" in terminal.shown


def test_ctrl_c_at_a_question_cancels_the_run(terminal: Terminal) -> None:
    terminal.wait_for("resume later")
    os.killpg(terminal.process.pid, signal.SIGINT)
    terminal.wait_for("cancelled")
    assert terminal.end() == 130


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_hostile_call_is_shown_whole_and_forges_nothing(tmp_path: Path, interruptible: None, columns: int) -> None:
    with closing(Terminal(tmp_path, (sys.executable, "-c", RUN, "hostile"), columns)) as terminal:
        terminal.wait_for("resume\\s+later")
        rows = [
            row.rstrip() for row in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown).replace("\r", "").split("\n")
        ]
        terminal.type("n")
        terminal.wait_for("answered")
        assert terminal.end() == 4, "the one call that it made was denied"
    begins = next(number for number, row in enumerate(rows) if row.startswith("╭─ May deploy run?"))
    ends = next(number for number, row in enumerate(rows) if row.startswith("╰"))
    inside = [row.strip("│").strip() for row in rows[begins + 1 : ends]]
    assert all(cell_len(row) == columns for row in rows[begins : ends + 1]), "\n".join(rows)
    whole = " ".join(inside)
    assert not [row for row in inside if row.startswith(("May", "mode = ", "evil"))], "nothing is forged"
    assert "\\{3,000 spaces}; rm -rf /" in whole.replace(" | ", "") or columns == 40
    for told in ("| evil", "mode (default) = 493", "| May deploy run? y"):
        assert told in whole, whole
    assert r"\u202e\u200b\x1b[2J" in "".join(row.removeprefix("| ") for row in inside)
    assert "\u202e" not in "".join(rows)
    assert "".join(row.removeprefix("| ") for row in inside[:2]).startswith("deploy may reach outside of the sandbox")
    assert rows[ends + 1].startswith("It has ")
    assert any(row.startswith("May deploy run? y yes") for row in rows[ends + 1 :])
