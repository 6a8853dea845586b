"""An editor and a process of ours: what is said before a prompt is carried out. No sandbox runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError
from acp.schema import EnvVariable, ImageContentBlock, McpServerStdio

from tests.surfaces.acp.helpers import COMMAND, Opened, editing, environment


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


async def refused(opened: Opened, method: str, **fields: Any) -> str:
    with pytest.raises(RequestError) as error:
        await getattr(opened.agent, method)(**fields)
    return str(error.value)


async def test_wrong_requests_are_answered_with_what_was_expected(root: Path, tmp_path: Path) -> None:
    image = ImageContentBlock(type="image", data="", mime_type="image/png")
    async with editing(root, tmp_path, "") as opened:
        for cwd in ("project", str(tmp_path / "nowhere")):
            assert "absolute path of a folder" in await refused(opened, "new_session", cwd=cwd, mcp_servers=[])
        assert "no session x" in await refused(opened, "prompt", session_id="x", prompt=[])
        for method in ("load_session", "resume_session"):
            told = await refused(opened, method, cwd=str(root), session_id="x", mcp_servers=[])
            assert "no session x in the journal" in told
        await opened.new()
        known = {"session_id": opened.session}
        assert "take the image out" in await refused(opened, "prompt", prompt=[image], **known)
        assert "got nothing" in await refused(opened, "prompt", prompt=[], **known)
        told = await refused(opened, "set_config_option", config_id="speed", value="faster", **known)
        assert "auto, think, fast" in told
        assert "setup" in await refused(opened, "prompt", prompt=[{"type": "text", "text": "Hello"}], **known)
        await opened.agent.cancel(**known)  # nothing is carried out: nothing happens
        await opened.agent.close_session(**known)
        assert "no session" in await refused(opened, "prompt", prompt=[], **known)


async def test_a_session_has_one_select_for_its_speed(root: Path, tmp_path: Path) -> None:
    async with editing(root, tmp_path, "") as opened:
        [option] = (await opened.new()).config_options
        assert (option.id, option.category, option.current_value) == ("speed", "thought_level", "auto")
        assert [each.value for each in option.options] == ["auto", "think", "fast"]
        told = await opened.agent.set_config_option(config_id="speed", session_id=opened.session, value="fast")
        assert told.config_options[0].current_value == "fast"


async def test_servers_of_tools_are_accepted(root: Path, tmp_path: Path) -> None:
    server = McpServerStdio(name="docs", command="x", args=[], env=[EnvVariable(name="A", value="b")])
    async with editing(root, tmp_path, "") as opened:
        assert (await opened.agent.new_session(cwd=str(root), mcp_servers=[server])).session_id
        assert (await opened.agent.list_sessions()).sessions == []


def test_stdout_carries_lines_of_json_alone(root: Path, tmp_path: Path) -> None:
    """Requests, notifications, unknown methods and lines that are none: each request has one answer."""
    said = [
        {"id": 0, "method": "initialize", "params": {"protocolVersion": 1}},
        {"id": 1, "method": "session/new", "params": {"cwd": str(root), "mcpServers": []}},
        {"id": 2, "method": "session/list", "params": {}},
        {"id": 3, "method": "session/fork", "params": {"sessionId": "x", "cwd": str(root), "mcpServers": []}},
        {"id": 4, "method": "no/such", "params": {}},
        {"id": 5, "method": "session/new", "params": {"cwd": 7}},
        {"id": 6, "method": "authenticate", "params": {"methodId": "none"}},
        {"method": "session/cancel", "params": {"sessionId": "x"}},
        {"id": 7, "method": "session/prompt", "params": {"sessionId": "x", "prompt": []}},
    ]
    lines = b"".join(json.dumps({"jsonrpc": "2.0"} | one).encode() + b"\n" for one in said)
    process = subprocess.Popen(
        (sys.executable, *COMMAND, "acp"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(lines[: lines.index(b"\n") + 1] + b"this is no JSON\n" + lines[lines.index(b"\n") + 1 :])
    process.stdin.flush()
    answers = {}
    while len(answers) < 8:
        told = json.loads(process.stdout.readline())
        assert told["jsonrpc"] == "2.0"
        answers[told["id"]] = told.get("error", {}).get("code", 0)
    rest, _ = process.communicate(timeout=60)
    assert rest == b""
    assert process.returncode == 0
    assert answers == {0: 0, 1: 0, 2: 0, 3: -32601, 4: -32601, 5: -32602, 6: 0, 7: -32602}
