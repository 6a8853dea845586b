"""The first answer, which needs nothing of fastslow, and a stdout that carries the protocol alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acp.schema import InitializeResponse

from fastslow.agent.surfaces.acp.greeting import can_read, capabilities
from tests.surfaces.acp.helpers import COMMAND, environment

HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": 1, "clientCapabilities": {"fs": {"readTextFile": True}}},
}
HEAVY = ("acp.schema", "fastslow.agent.agent", "httpx", "typer", "rich")


def greeted(said: bytes, code: str, home: Path) -> subprocess.CompletedProcess[bytes]:
    program = f"from fastslow.agent.surfaces.acp.greeting import greet\ngreeting = greet()\n{code}"
    command = (sys.executable, "-c", program)
    return subprocess.run(command, input=said, env=environment(home), capture_output=True, timeout=60, check=True)


def line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_it_is_what_the_schema_says() -> None:
    told = InitializeResponse.model_validate(capabilities())
    assert told.model_dump(mode="json", by_alias=True, exclude_unset=True) == capabilities()
    assert told.protocol_version == 1


def test_an_editor_is_answered_before_anything_large_is_imported(tmp_path: Path) -> None:
    done = greeted(line(HELLO), f"import sys; print([name for name in {HEAVY} if name in sys.modules])", tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["result"]["protocolVersion"]) == (0, 1)
    assert done.stderr.strip() == b"[]"


def test_what_prints_prints_to_stderr(tmp_path: Path) -> None:
    done = greeted(line(HELLO), "print('one', flush=True); import os; os.system('echo two')", tmp_path)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr.split() == [b"one", b"two"]


def test_what_comes_behind_is_left_to_whoever_reads_on(tmp_path: Path) -> None:
    done = greeted(line(HELLO) + b"next\n", "import sys; print(sys.stdin.read())", tmp_path)
    assert done.stderr.strip() == b"next"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"no json\n",
        b"[]\n",
        line(HELLO | {"method": "session/new"}),
        line(HELLO | {"params": {}}),
        line({name: value for name, value in HELLO.items() if name != "id"}),
        b"{" * 2_000_000,
    ],
    ids=["nothing", "text", "list", "another", "no version", "no id", "endless"],
)
def test_what_is_no_greeting_is_left_to_the_package(said: bytes, tmp_path: Path) -> None:
    done = greeted(said, "print(len(greeting.line))", tmp_path)
    assert done.stdout == b""
    assert int(done.stderr) == min(len(said), 1 << 20)


@pytest.mark.parametrize("told", [None, [], {}, {"fs": None}, {"fs": {"readTextFile": "yes"}}])
def test_only_an_editor_that_says_so_gives_texts(told: Any) -> None:
    assert not can_read(told)


def test_help_is_printed_and_nothing_is_read(tmp_path: Path) -> None:
    command = (sys.executable, *COMMAND, "acp", "--help")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=environment(tmp_path), capture_output=True, timeout=60, check=True
    )
    assert b"Agent Client Protocol" in done.stdout


def test_without_the_package_the_command_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'acp' else find(name, package)\n"
    )
    known = environment(tmp_path)
    known["PYTHONPATH"] += f":{tmp_path}"
    command = (sys.executable, *COMMAND, "acp")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=known, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b'pip install "fastslow[acp]"' in done.stderr
    assert done.stdout == b""
