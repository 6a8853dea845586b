"""An editor and a process of ours that carries prompts out, in real sandboxes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError
from acp.schema import AgentMessageChunk, McpServerStdio, ResourceContentBlock, UserMessageChunk

from tests.engine.fake_server import Answer, FakeServer, delta, said, serving
from tests.surfaces.acp.helpers import COMMAND, Editor, calls_tool, editing, environment, thinks

pytestmark = pytest.mark.docker
APPEND = {"command": "echo two >> a.txt; cat a.txt"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("one\n")
    return tmp_path / "project"


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with serving(FakeServer()) as server:
        yield server


def told(fake: FakeServer, number: int = -1) -> str:
    """What a request told the model."""
    return str(fake.chats[number]["messages"])


async def test_a_prompt_is_a_run_and_its_changes_are_asked_about(root: Path, tmp_path: Path, fake: FakeServer) -> None:
    fake.answers += [calls_tool("shell", **APPEND), thinks("All is well.", "Added a line.")]
    async with editing(root, tmp_path, fake.url, Editor("reject_once")) as opened:
        await opened.new(McpServerStdio(name="docs", command="x", args=[], env=[]))
        assert (await opened.prompt("Add a line")).stop_reason == "end_turn"
        editor = opened.editor
        assert editor.said().startswith("(The editor names MCP servers: docs. They are not used yet.)")
        run, apply = editor.calls().values()
        assert (run["kind"], run["status"], run["title"]) == ("execute", "completed", f"Run {APPEND['command']}")
        assert "one\ntwo" in run["content"][0]["content"]["text"]
        assert (apply["kind"], apply["status"], apply["title"]) == ("edit", "failed", "Apply 1 file")
        assert apply["content"] == [
            {"type": "diff", "path": f"{root}/a.txt", "oldText": "one\n", "newText": "one\ntwo\n"}
        ]
        assert [asked.title for asked in editor.asked] == ["Apply 1 file"]
        assert "Added a line." in editor.said()
        assert "Nothing was written" in editor.said()
        assert "All is well." in editor.thoughts
        fake.answers.append(said("It is one line more."))
        await opened.prompt("What did you do?")
        assert len(editor.asked) == 1  # what was refused is not asked about again
    assert (root / "a.txt").read_text() == "one\n"


async def test_what_a_check_does_not_prove_is_not_offered(root: Path, tmp_path: Path, fake: FakeServer) -> None:
    fake.answers += [calls_tool("shell", **APPEND), *[said(f"Done {number}.") for number in range(9)]]
    async with editing(root, tmp_path, fake.url, Editor(), "--test", "grep three a.txt") as opened:
        await opened.new()
        await opened.prompt("Add a line")
        first, *_, last = [call for key, call in opened.editor.calls().items() if "check" in key]
        assert (first["title"], last["status"]) == ("Check: grep three a.txt (red)", "failed")
        assert opened.editor.asked == []
        assert "It is not proven to be right." in opened.editor.said()
        assert "Not done (failed)" in opened.editor.said()


async def test_what_is_allowed_is_applied_and_a_conflict_is_told(root: Path, tmp_path: Path, fake: FakeServer) -> None:
    fake.answers += [calls_tool("shell", **APPEND), said("Done.")]
    fake.answers += [calls_tool("shell", command="echo 1 > a.txt"), said("Done.")]
    async with editing(root, tmp_path, fake.url, Editor("allow_always")) as opened:
        await opened.new()
        await opened.prompt("Add a line")
        assert (root / "a.txt").read_text() == "one\ntwo\n"
        opened.editor.on_update = lambda update: (root / "a.txt").write_text("of the user\n")
        await opened.prompt("Only a number")
        assert len(opened.editor.asked) == 1
        assert "Nothing was written" in opened.editor.said()
        assert [call["status"] for call in opened.editor.calls().values()][1::2] == ["completed", "failed"]
    assert (root / "a.txt").read_text() == "of the user\n"


async def test_a_question_about_a_call_is_the_editors_and_a_no_reaches_the_model(
    root: Path, tmp_path: Path, fake: FakeServer
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\ndecide = "ask"\ntool = "shell"\nreason = "commands are looked at"\n')
    fake.answers += [calls_tool("shell", **APPEND), said("As you like.")]
    fake.answers += [calls_tool("shell", command="cat a.txt"), said("Seen.")]
    async with editing(root, tmp_path, fake.url, Editor(None), "--approval", str(rules)) as opened:
        await opened.new()
        await opened.prompt("Add a line")
        [asked], [(key, call)] = opened.editor.asked, opened.editor.calls().items()
        assert (asked.tool_call_id, call["status"]) == (key, "failed")  # the call that the editor knew already
        question = str(asked.content)
        assert "commands are looked at" in question
        assert "echo two" in question
        assert "The user did not allow this call" in told(fake)
        assert "closed in the editor" in told(fake)
        opened.editor.choice = "allow_once"
        await opened.prompt("Look at it")
        assert [call["status"] for call in opened.editor.calls().values()] == ["failed", "completed"]
        assert "one" in told(fake)


async def test_a_cancelled_prompt_is_answered_and_the_conversation_goes_on(
    root: Path, tmp_path: Path, fake: FakeServer
) -> None:
    waits = Answer([delta(role="assistant", content=""), delta([1], content="Well, ")], hold=True)
    fake.answers += [calls_tool("shell", **APPEND), waits, calls_tool("shell", command="cat a.txt"), said("Two lines.")]
    async with editing(root, tmp_path, fake.url, Editor("reject_once")) as opened:
        await opened.new()
        begun = asyncio.Event()
        opened.editor.on_update = lambda update: isinstance(update, AgentMessageChunk) and begun.set()
        prompt = asyncio.create_task(opened.prompt("Add a line"))
        await asyncio.wait_for(begun.wait(), 120)
        with pytest.raises(RequestError, match="being carried out"):
            await opened.prompt("And another")
        await opened.agent.cancel(session_id=opened.session)
        goes_on = asyncio.create_task(opened.prompt("What is in it?"))  # editors do not wait for the first answer
        assert (await asyncio.wait_for(prompt, 60)).stop_reason == "cancelled"
        assert all(call["status"] in ("completed", "failed") for call in opened.editor.calls().values())
        assert (await asyncio.wait_for(goes_on, 120)).stop_reason == "end_turn"
        assert fake.client_closed.is_set()
        shown = told(fake)
        for part in ("Add a line", "I did not finish this", "What is in it?", "one\\ntwo"):
            assert part in shown
        assert [one.title for one in (await opened.agent.list_sessions(cwd=str(root))).sessions] == ["Add a line"]


async def test_a_conversation_is_listed_loaded_and_gone_on_with(root: Path, tmp_path: Path, fake: FakeServer) -> None:
    fake.answers += [calls_tool("shell", command="cat a.txt"), thinks("Easy.", "It says one.")]
    fake.answers += [said("I said so: one."), said("Still one.")]
    async with editing(root, tmp_path, fake.url) as opened:
        session = (await opened.new()).session_id
        await opened.prompt("What does a.txt say?")
        await opened.prompt("Sure?")
    async with editing(root, tmp_path, fake.url) as opened:
        assert [one.session_id for one in (await opened.agent.list_sessions(cwd=str(root))).sessions] == [session]
        assert (await opened.agent.list_sessions(cwd=str(tmp_path))).sessions == []
        response = await opened.agent.load_session(cwd=str(root), session_id=session, mcp_servers=[])
        editor, opened.session = opened.editor, session
        assert response.config_options[0].id == "speed"
        assert editor.said(UserMessageChunk) == "What does a.txt say?Sure?"
        assert editor.said() == "It says one.I said so: one."
        assert editor.thoughts.endswith("Easy.") or "Easy." in editor.thoughts
        [call] = editor.calls().values()
        assert (call["status"], call["kind"]) == ("completed", "execute")
        assert await opened.prompt("And now?")
        assert [part in told(fake) for part in ("What does a.txt say?", "It says one.", "Sure?")] == [True] * 3
        [listed] = (await opened.agent.list_sessions()).sessions
        assert (listed.session_id, listed.cwd) == (session, str(root))
        resumed = await opened.agent.resume_session(cwd=str(root), session_id=session, mcp_servers=[])
        assert resumed.config_options[0].id == "speed"
        with pytest.raises(RequestError, match="is about"):
            await opened.agent.load_session(cwd=str(tmp_path), session_id=session, mcp_servers=[])


async def test_a_process_that_was_killed_loses_no_conversation(root: Path, tmp_path: Path, fake: FakeServer) -> None:
    fake.answers += [calls_tool("shell", command="sleep 600"), said("A line.")]
    async with editing(root, tmp_path, fake.url) as opened:
        session = (await opened.new()).session_id
        runs = asyncio.Event()
        opened.editor.on_update = lambda update: getattr(update, "status", "") == "in_progress" and runs.set()
        prompt = asyncio.create_task(opened.prompt("Add a line"))
        await asyncio.wait_for(runs.wait(), 120)
        opened.process.kill()
        with pytest.raises((ConnectionError, RequestError)):
            await asyncio.wait_for(prompt, 60)
    async with editing(root, tmp_path, fake.url) as opened:
        await opened.agent.load_session(cwd=str(root), session_id=session, mcp_servers=[])
        assert opened.editor.said(UserMessageChunk) == "Add a line"
        assert [call["status"] for call in opened.editor.calls().values()] == ["failed"]
        opened.session = session
        await opened.prompt("What did you add?")
        assert "What did you add?" in fake.chats[-1]["messages"][-1]["content"]
        assert [one.session_id for one in (await opened.agent.list_sessions()).sessions] == [session]


async def test_stdout_carries_lines_of_json_alone_while_a_prompt_is_carried_out(
    root: Path, tmp_path: Path, fake: FakeServer
) -> None:
    fake.answers += [
        calls_tool("shell", command="echo '{' >> a.txt; printf '\\r\\n\\000' ; cat a.txt"),
        said("a\nb\u2028c\r\n"),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*COMMAND, "acp", "--base-url", fake.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
        limit=50 << 20,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def say(**message: Any) -> None:
        process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")  # type: ignore[union-attr]

    say(id=0, method="initialize", params={"protocolVersion": 1})
    say(id=1, method="session/new", params={"cwd": str(root), "mcpServers": []})
    lines = []
    while not lines or "stopReason" not in lines[-1].get("result", {}):
        lines.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 120)))
        if "sessionId" in lines[-1].get("result", {}):
            task = [{"type": "text", "text": "Add"}]
            say(id=2, method="session/prompt", params={"sessionId": lines[-1]["result"]["sessionId"], "prompt": task})
        if lines[-1].get("method") == "session/request_permission":
            say(id=lines[-1]["id"], result={"outcome": {"outcome": "cancelled"}})
    process.stdin.close()
    assert await process.stdout.read() == b""
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert {line["jsonrpc"] for line in lines} == {"2.0"}


async def test_files_that_a_prompt_mentions_come_as_the_editor_holds_them(
    root: Path, tmp_path: Path, fake: FakeServer
) -> None:
    fake.answers += [said("Seen."), said("Seen.")]
    link = ResourceContentBlock(type="resource_link", name="a.txt", uri=(root / "a.txt").as_uri())
    editor = Editor(buffers={str(root / "a.txt"): "one and a half\n"})
    async with editing(root, tmp_path, fake.url, editor, can_read=True) as opened:
        await opened.new()
        await opened.prompt("Look at ", link)
        assert "Look at a.txt" in told(fake)
        assert "one and a half" in told(fake)
        editor.buffers[str(root / "a.txt")] = "one\n"  # as it is on the disk
        await opened.prompt("Look at ", link)
        assert "not saved" not in fake.chats[-1]["messages"][-1]["content"]


async def test_the_speed_that_is_chosen_counts_from_the_next_prompt_on(
    root: Path, tmp_path: Path, fake: FakeServer
) -> None:
    fake.answers += [said("One."), said("Two.")]
    async with editing(root, tmp_path, fake.url) as opened:
        await opened.new()
        for value in ("think", "fast"):
            await opened.agent.set_config_option(config_id="speed", session_id=opened.session, value=value)
            await opened.prompt("Count on")
    assert [chat["chat_template_kwargs"]["enable_thinking"] for chat in fake.chats] == [True, False]
