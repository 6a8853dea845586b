"""The history shows the model what was run: each call with the arguments that its tool got, in the model's order."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fastslow import VLLM, Agent, Approval, ApprovalRule, Exit, Journal, ScriptedModel
from fastslow.agent.child import parent
from fastslow.agent.compaction import compact
from fastslow.agent.engine.mend import mend
from fastslow.agent.engine.profiles import PROFILES, find_profile
from fastslow.agent.engine.received import Received
from fastslow.agent.engine.types import Engine, Reply, Request
from fastslow.agent.engine.wire import encode_history, is_object
from fastslow.agent.errors import EngineUnreachable
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User
from fastslow.tools import Tool
from tests.agent.helpers import says
from tests.engine.fake_server import Answer, FakeServer, call, delta, said, serving
from tests.fuzz.__main__ import RENDERINGS, SCHEMA, damaged, some_call

REFUND = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "why": {"type": "string"}, "fast": {"type": ["boolean", "null"]}},
    "required": ["order"],
    "additionalProperties": False,
}


EXAONE = find_profile("exaone4")


class Desk:
    """Tools that keep what they got, by the call."""

    def __init__(self, schema: dict[str, Any] = REFUND, *names: str) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.tools = [Tool.from_schema(name, "Pay back.", schema, self._pay) for name in names or ("refund", "notify")]

    def _pay(self, **given: Any) -> str:
        up = parent.get()
        assert up
        self.got.append((up.call, given))
        return f"done: {given}"


def agent(engine: Engine, desk: Desk, journal: Journal | None = None) -> Agent:
    allow = Approval((ApprovalRule("allow"),))
    return Agent(engine=engine, tools=desk.tools, sandbox=None, journal=journal, approval=allow, think="never")


def shown(messages: tuple[Message, ...]) -> list[tuple[str, str, dict[str, Any]]]:
    """The id, name and arguments of each call in a history as it is sent, each followed by its result, in order."""
    calls, results = [], []
    for message in encode_history(messages, EXAONE):
        for each in message.get("tool_calls", ()):
            calls.append((each["id"], each["function"]["name"], json.loads(each["function"]["arguments"])))
        if message["role"] == "tool":
            results.append(message["tool_call_id"])
    assert [id_ for id_, _, _ in calls] == results
    return calls


@pytest.mark.parametrize(
    "written",
    [
        '{"order": 7, "why": "broken"',
        "{'order': 7, 'why': 'broken',}",
        '{"order": "7", "why": "broken", "fast": null}',
        '{"name": "refund", "arguments": {"order": 7, "why": "broken"}}',
        json.dumps('{"order": 7, "why": "broken"}'),
        '```json\n{"order": 7, "why": "broken"}\n```',
        '[{"order": 7.0, "why": "broken"}]',
    ],
)
async def test_a_mended_call_is_shown_as_it_ran(written: str) -> None:
    """The model made a payment twice: it was shown `{}` for the call, behind the one that it had made after it."""
    desk, notify = Desk(), '{"order": 8}'
    made = [call(0, "a", "refund", written), call(1, "b", "notify", notify)]
    async with serving(FakeServer()) as server:
        server.answers = [Answer([*(delta(tool_calls=[each]) for each in made), delta(finish="stop")]), said("Done.")]
        there = agent(VLLM(server.url, profile="exaone4", probe=False), desk)
        result = await there.run("Pay back.")
        await there.aclose()
    assert result.answer == "Done."
    (_, got), (_, other) = sorted(desk.got, key=lambda one: -len(one[1]))  # they run side by side
    assert (got, other) == ({"order": 7, "why": "broken"} | ({"fast": None} if "null" in written else {}), {"order": 8})
    _, _, turn, *results = server.chats[1]["messages"]
    assert [json.loads(each["function"]["arguments"]) for each in turn["tool_calls"]] == [got, other]
    assert [each["tool_call_id"] for each in results] == [each["id"] for each in turn["tool_calls"]] == ["a", "b"]
    assert [each["content"] for each in results] == [f"done: {got}", f"done: {other}"]


async def test_every_damaged_reply_is_shown_as_it_ran() -> None:
    assert sum([await _shown_as_it_ran(seed) for seed in range(200)]) > 100


async def _shown_as_it_ran(seed: int) -> int:
    """How many calls ran of a damaged reply."""
    desk, reply = Desk(SCHEMA, "f"), _damaged_reply(random.Random(seed))
    engine = ScriptedModel([reply] + [says("done")] * 3, profile=EXAONE)
    await agent(engine, desk).run("Do it.")
    if not reply.calls:
        return 0
    got = dict(desk.got)
    told = shown(engine.requests[1].messages)
    assert [one for one in told if one[0] in got] == [
        (each.id, "f", got[each.id]) for each in reply.calls if each.id in got
    ]
    assert [id_ for id_, _, _ in told] == [each.id for each in reply.calls]
    return len(got)


def _damaged_reply(rng: random.Random) -> Reply:
    made = [some_call(rng) for _ in range(rng.randint(1, 3))]
    received = Received()
    if rng.random() < 0.6:
        for index, (name, arguments) in enumerate(made):
            text = json.dumps(arguments)
            text = damaged(rng, text) if rng.random() < 0.7 else text
            received.feed(delta(tool_calls=[call(index, rng.choice(["a", ""]), name, text)]))
    else:
        rendering = rng.choice(RENDERINGS)
        received.feed(delta(content="\n".join(damaged(rng, rendering(each)) for each in made)))
    received.feed(delta(finish=rng.choice(["stop", "tool_calls", "length"])))
    return mend(received, Request((User("Do it."),), tuple(Desk(SCHEMA, "f").tools)), rng.choice(PROFILES))


# --- the same wherever a history comes from ----------------------------------------------------------

BROKEN = Reply(
    calls=(ToolCall("a", "refund", '{"order": "7", "why": "broken"'), ToolCall("b", "notify", '{"order": 8}'))
)
MADE = [("a", "refund", {"order": 7, "why": "broken"}), ("b", "notify", {"order": 8})]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "runs.db")


async def _cut_short(journal: Journal, desk: Desk) -> str:
    """A run that lost its engine behind the calls."""

    def lost(_: Request) -> Reply:
        raise EngineUnreachable("gone")

    result = await agent(ScriptedModel([BROKEN, lost], profile=EXAONE), desk, journal).run("Pay back.")
    assert result.exit is Exit.SERVER
    return result.run


@pytest.mark.parametrize("fork", [False, True])
async def test_in_a_run_that_goes_on(journal: Journal, fork: bool) -> None:
    desk = Desk()
    run = await _cut_short(journal, desk)
    if fork:
        journal.fork(run, 2, "fork")
    engine = ScriptedModel([says("Done.")], profile=EXAONE)
    result = await agent(engine, desk, journal).resume("fork" if fork else run)
    assert (result.answer, shown(engine.requests[0].messages)) == ("Done.", MADE)
    assert dict(desk.got) == {id_: arguments for id_, _, arguments in MADE}
    assert len(desk.got) == 2


async def test_in_a_run_that_follows(journal: Journal) -> None:
    desk = Desk()
    first = await agent(ScriptedModel([BROKEN, says("Done.")], profile=EXAONE), desk, journal).run("Pay back.")
    engine = ScriptedModel([says("Yes.")] * 2, profile=EXAONE)
    await agent(engine, desk, journal).run("Did you?", after=first.run)
    assert shown(engine.requests[0].messages) == MADE
    history = [message for message in engine.requests[0].messages if not isinstance(message, System)]
    await agent(engine, desk, journal).run("Did you?", history=history)
    assert shown(engine.requests[1].messages) == MADE
    assert len(desk.got) == 2


def test_in_a_history_made_shorter() -> None:
    """What is cut for the context's sake is shown as cut, never as a call without arguments."""
    long = {f"key {n}": "text " * n for n in range(300)}
    made = ToolCall("a", "refund", json.dumps(long))
    messages = (User("Do it."), Assistant("", (made,)), ToolResult("a", "refund", "done"))
    short = compact(messages, 0, 0)
    [(_, _, arguments)] = shown(short)
    assert len(json.dumps(arguments)) < 3000
    assert "key 1" in str(arguments)
    assert "characters cut" in str(arguments)


async def test_a_call_that_cannot_be_read_is_quoted_and_one_that_is_left_out_is_named() -> None:
    desk = Desk()
    quoted = Reply(
        calls=(ToolCall("a", "refund", '{"order": 7'), ToolCall("b", "notify", '{"order": 8}')), dropped=("clock",)
    )
    engine = ScriptedModel([quoted, says("Done.")], profile=EXAONE)
    await agent(engine, desk).run("Pay back.")
    *_, first, second = engine.requests[1].messages
    assert 'You sent: {"order": 7' in first.content
    assert "clock did not run" in second.content
    assert [call for call, _ in desk.got] == ["b"]


async def test_calls_beside_a_plan_are_named() -> None:
    desk = Desk()
    steps = json.dumps({"goal": "money", "steps": [{"do": "pay"}]})
    both = Reply(calls=(ToolCall("a", "refund", '{"order": 7}'), ToolCall("p", "plan", steps[:-1])))
    engine = ScriptedModel([both, says("paid"), says("Done.")], profile=EXAONE)
    await agent(engine, desk).run("Pay back.")
    [(id_, name, arguments)] = shown(engine.requests[1].messages)
    assert (id_, name, arguments) == ("p", "plan", json.loads(steps))
    assert "refund beside it did not run" in engine.requests[2].messages[-1].content
    assert not desk.got


def test_a_call_that_lost_its_name_is_told_of() -> None:
    received = Received()
    for index, name in enumerate(["refund", ""]):
        received.feed(delta(tool_calls=[call(index, f"c{index}", name, '{"order": 7}')]))
    received.feed(delta(finish="stop"))
    reply = mend(received, Request((User("Do it."),), tuple(Desk().tools)), EXAONE)
    assert ([each.name for each in reply.calls], reply.dropped) == (["refund"], ("a call without a name",))


def test_calls_stay_in_the_order_in_which_they_were_made() -> None:
    received = Received()
    for index, written in enumerate(['{"order": 1', '{"order": 2}', "{'order': 3}"]):
        received.feed(delta(tool_calls=[call(index, f"c{index}", "refund", written)]))
    received.feed(delta(finish="stop"))
    reply = mend(received, Request((User("Do it."),), tuple(Desk().tools)), EXAONE)
    assert [each.id for each in reply.calls] == ["c0", "c1", "c2"]
    good, lost = (
        f'<tool_call>{{"name": "refund", "arguments": {{"order": {order}}}}}</tool_call>' for order in ("1", "oops")
    )
    received = Received()
    received.feed({"choices": [{"message": {"content": "".join([lost, good, good, lost])}}]})
    reply = mend(received, Request((User("Do it."),), tuple(Desk().tools)), EXAONE)
    assert [is_object(each.arguments) for each in reply.calls] == [False, True, True, False]
