"""A question that nobody answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError

from fastslow import Agent, Question, ScriptedModel
from fastslow.agent.surfaces.acp import session as sessions
from fastslow.agent.surfaces.acp.session import Session
from tests.surfaces.acp.helpers import Editor

QUESTION = Question("", "send_mail", {"to": "them"}, (), "it reaches outside")


class Silent(Editor):
    async def request_permission(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


class Unable(Editor):
    async def request_permission(self, *_: Any, **__: Any) -> Any:
        raise RequestError.method_not_found("session/request_permission")


@pytest.mark.parametrize(
    ("kind", "note"), [(Silent, "Nobody answered in the editor"), (Unable, "could not put the question")]
)
async def test_it_is_a_no_that_says_whose(
    kind: type[Editor], note: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    editor = kind()
    monkeypatch.setattr(sessions, "ANSWER_SECONDS", 0.05)
    agent = Agent(engine=ScriptedModel(()), sandbox=None, journal=None)
    session = Session("s", str(tmp_path), agent, editor)  # type: ignore[arg-type]
    sending = asyncio.create_task(session._send())
    answer = await session._ask(QUESTION)
    session._waiting.put_nowait(None)
    await sending
    assert answer.decide == "deny"
    assert note in answer.note
    [call] = editor.calls().values()  # the editor was told of it first, and that it is over
    assert (call["status"], call["title"]) == ("failed", "send_mail")
