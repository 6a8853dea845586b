"""A consent is for one call: same tool, same arguments, same place. What finished is not done twice, by code either."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fastslow import Agent, Answer, Approval, ApprovalRule, Exit, Journal, Question, Result, ScriptedModel
from fastslow.agent.calls import IN_DOUBT
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.events import CallFinished, CallStarted, Consent, Event
from fastslow.agent.gate import MAYBE_DONE, OTHER
from fastslow.agent.record.recorder import KEPT
from fastslow.agent.transcript import ToolCall, ToolResult
from fastslow.sandbox import CallFailed, DockerSandbox, DummySandbox, Execution, OnCall
from fastslow.sandbox.dummy import DummySession
from fastslow.tools import tool
from tests.agent.helpers import calls, says

ALLOW = Approval((ApprovalRule("allow"),))
YES, NO = Answer("allow"), Answer("deny")


class PowerLoss(Exception):
    """Behind it nothing is written any more."""


class Loses(Journal):
    """Loses power right before the write of an event that `at` knows."""

    def __init__(self, path: Path, at: Callable[[Event], bool]) -> None:
        super().__init__(path)
        self.at = at
        self.dead = False

    def writer(self, run: str, inputs: Sequence[Path] = ()) -> Callable[[Event], None]:
        write = super().writer(run, inputs)

        def written(event: Event) -> None:
            self.dead = self.dead or self.at(event)
            if self.dead:
                raise PowerLoss
            write(event)

        return written


def started(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, CallStarted) and event.call.name == name


def finished(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, CallFinished) and event.name == name


class CallingSession(DummySession):
    """Runs code that is a list of calls in JSON, each a name and arguments, one after the other."""

    async def run(self, code: str, *, on_call: OnCall | None = None, **_: Any) -> Execution:
        got = []
        assert on_call
        for name, arguments in json.loads(code):
            try:
                got.append(await on_call(name, arguments))
            except CallFailed as error:
                got.append(str(error))
        return Execution("ok", stdout=json.dumps(got))


class CallingSandbox(DummySandbox):
    async def session(self, **_: Any) -> CallingSession:
        return CallingSession(self)


class World:
    """A tool that sends money, one that reads a price, and a person."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent: list[Any] = []
        self.read = 0
        self.asked: list[Question] = []
        self.answers: list[Answer] = []

        @tool(effect="outside")
        def send(to: str, amount: int = 1) -> dict[str, Any]:
            """Send money.

            Args:
                to: To whom.
                amount: How much.
            """
            self.sent.append((to, amount))
            more = {"nan": {"nan": float("nan")}, "long": {"text": "x" * KEPT}}
            return {"number": len(self.sent), **more.get(to, {})}

        @tool(effect="read")
        def price(item: str) -> str:
            """Look a price up.

            Args:
                item: Of what.
            """
            self.read += 1
            return f"{item} {self.read}" if item != "half" else "x" * (KEPT // 2)

        self.tools = [send, price]

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return self.answers.pop(0)

    def agent(self, *script: Any, journal: Journal | None = None, **options: Any) -> Agent:
        options = {"sandbox": CallingSandbox(), "ask": self.ask, **options}
        journal = journal or Journal(self.path)
        return Agent(engine=ScriptedModel(script), tools=self.tools, journal=journal, **options)

    async def lives(self, at: Callable[[Event], bool], *script: Any, answers: Sequence[Answer] = (), **o: Any) -> None:
        """A life of a run that ends with a power loss."""
        self.answers = list(answers)
        with pytest.raises(PowerLoss):
            await self.agent(*script, journal=Loses(self.path, at), **o).run("the task")
        assert not self.answers

    async def goes_on(self, *script: Any, answers: Sequence[Answer] = (), **options: Any) -> Result:
        self.answers, self.asked = list(answers), []
        result = await self.agent(*script, **options).resume("last")
        assert not self.answers
        return result


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "runs.db")


def code(*wanted: tuple[str, dict[str, Any]]) -> Reply:
    return calls(("python", {"code": json.dumps(wanted)}))


def send(to: str, amount: int = 1) -> tuple[str, dict[str, Any]]:
    return "send", {"to": to, "amount": amount}


def questions(world: World) -> list[tuple[str, Any]]:
    return [(one.tool, one.arguments.get("to")) for one in world.asked]


def rewrite(world: World, how: str) -> None:
    """Change what the journal holds."""
    with closing(sqlite3.connect(world.path)) as database, database:
        database.execute(f"UPDATE events SET {how}")


def told(result: Result) -> list[str]:
    return [event.content for event in result.events if isinstance(event, CallFinished)]


def other(*wanted: tuple[str, dict[str, Any]]) -> CallingSandbox:
    """Makes other calls than its code says, as code that looks at a clock does when it runs again."""

    class Session(CallingSession):
        async def run(self, code: str, **options: Any) -> Execution:
            return await super().run(json.dumps(wanted), **options)

    class Sandbox(CallingSandbox):
        async def session(self, **_: Any) -> CallingSession:
            return Session(self)

    return Sandbox()


# --- calls of code -----------------------------------------------------------------------------------


async def test_a_yes_to_one_call_of_code_lets_no_other_one_pass(world: World) -> None:
    await world.lives(started("send"), code(send("alice")), answers=[YES])
    result = await world.goes_on(says("done"), answers=[YES, NO], sandbox=other(send("mallory", 99999)))
    assert questions(world) == [("python", None), ("send", "mallory")]
    assert world.sent == []
    assert result.exit is Exit.ANSWERED


async def test_nor_does_one_to_a_call_that_was_under_way(world: World) -> None:
    await world.lives(finished("send"), code(send("alice")), answers=[YES])
    await world.goes_on(says("done"), answers=[YES, NO], sandbox=other(send("alice", 99999)))
    assert [question.arguments for question in world.asked[1:]] == [{"to": "alice", "amount": 99999}]
    assert world.sent == [("alice", 1)]


async def test_the_very_same_call_is_not_asked_about_again(world: World) -> None:
    await world.lives(started("send"), code(send("alice")), answers=[YES])
    await world.goes_on(says("done"), answers=[YES])
    assert questions(world) == [("python", None)]
    assert world.sent == [("alice", 1)]


async def test_a_finished_call_of_code_is_taken_from_the_journal(world: World) -> None:
    wanted = send("alice"), ("price", {"item": "tea"}), send("bob")
    await world.lives(finished("python"), code(*wanted), answers=[YES, YES])
    result = await world.goes_on(says("done"), answers=[YES])
    assert questions(world) == [("python", None)]
    assert (world.sent, world.read) == ([("alice", 1), ("bob", 1)], 1)
    assert json.loads(told(result)[-1]) == [{"number": 1}, "tea 1", {"number": 2}]
    written = Journal(world.path).read(result.run).events
    assert len([event for event in written if isinstance(event, CallStarted) and event.parent]) == 3


async def test_its_result_is_the_data_that_it_was(world: World) -> None:
    await world.lives(finished("python"), code(send("nan")), approval=ALLOW)
    result = await world.goes_on(says("done"), answers=[YES], approval=ALLOW)
    assert told(result)[-1] == '[{"number": 1, "nan": NaN}]'
    assert world.sent == [("nan", 1)]


async def test_a_call_of_code_that_was_under_way_is_in_doubt(world: World) -> None:
    for answer, sent in ((NO, 1), (YES, 2)):
        mine = World(world.path.with_name(answer.decide))
        await mine.lives(finished("send"), code(send("alice"), send("bob")), approval=ALLOW)
        result = await mine.goes_on(says("done"), answers=[YES, answer], approval=ALLOW)
        assert [question.reason for question in mine.asked] == [MAYBE_DONE, MAYBE_DONE]
        assert mine.sent == [("alice", 1)] * sent + [("bob", 1)]
        assert (IN_DOUBT in told(result)[-1]) is (answer is NO)


async def test_one_that_was_refused_in_doubt_stays_so(world: World) -> None:
    await world.lives(finished("send"), code(send("alice")), approval=ALLOW)
    loses = Loses(world.path, finished("python"))
    world.answers = [YES, NO]
    with pytest.raises(PowerLoss):
        await world.agent(journal=loses, approval=ALLOW).resume("last")
    await world.goes_on(says("done"), answers=[YES, NO], approval=ALLOW)
    assert [question.reason for question in world.asked] == [MAYBE_DONE, MAYBE_DONE]
    assert world.sent == [("alice", 1)]


async def test_code_that_does_something_else_than_before_is_asked_about(world: World) -> None:
    """A transfer with a number that was drawn anew is the same transfer."""
    await world.lives(finished("python"), code(send("alice", 7)), approval=ALLOW)
    result = await world.goes_on(says("done"), answers=[YES, NO], approval=ALLOW, sandbox=other(send("alice", 8)))
    assert [question.reason for question in world.asked] == [MAYBE_DONE, OTHER]
    assert world.sent == [("alice", 7)]
    assert "did not allow" in told(result)[-1]


async def test_what_comes_behind_the_record_is_a_call_as_any(world: World) -> None:
    await world.lives(finished("python"), code(send("alice")), approval=ALLOW)
    again = other(send("alice"), send("bob"), send("alice"))
    result = await world.goes_on(says("done"), answers=[YES], approval=ALLOW, sandbox=again)
    assert world.sent == [("alice", 1), ("bob", 1), ("alice", 1)]
    ids = [event.call.id for event in result.events if isinstance(event, CallStarted) and event.parent]
    assert [one.rpartition(".")[2] for one in ids] == ["1", "2", "3"]


async def test_the_same_calls_in_another_order_are_the_same(world: World) -> None:
    await world.lives(finished("python"), code(send("a"), send("b"), send("a")), approval=ALLOW)
    result = await world.goes_on(
        says("done"), answers=[YES], approval=ALLOW, sandbox=other(send("a"), send("a"), send("b"))
    )
    assert len(world.sent) == 3
    assert json.loads(told(result)[-1]) == [{"number": 1}, {"number": 3}, {"number": 2}]


async def test_a_call_whose_run_was_cancelled_in_its_midst_is_in_doubt(world: World) -> None:
    under_way = asyncio.Event()

    @tool(effect="outside")
    async def hang() -> str:
        """Hang."""
        under_way.set()
        await asyncio.sleep(60)
        return ""

    world.tools.append(hang)
    task = asyncio.create_task(world.agent(code(("hang", {})), approval=ALLOW).run("the task"))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await world.goes_on(says("done"), answers=[YES, NO], approval=ALLOW)
    assert [(question.tool, question.reason) for question in world.asked] == [
        ("python", MAYBE_DONE),
        ("hang", MAYBE_DONE),
    ]
    assert IN_DOUBT in told(result)[-1]


async def test_a_call_whose_question_was_open_is_asked_about_again(world: World) -> None:
    asking = asyncio.Event()

    async def ask(question: Question) -> Answer:
        asking.set()
        await asyncio.sleep(60)
        return NO

    task = asyncio.create_task(world.agent(code(send("alice")), ask=ask).run("the task"))
    await asking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.goes_on(says("done"), answers=[YES, YES])
    assert questions(world) == [("python", None), ("send", "alice")]
    assert world.sent == [("alice", 1)]


async def test_what_was_denied_first_and_done_then_is_done(world: World) -> None:
    await world.lives(started("send"), code(send("alice")), ask=None)
    world.answers = [YES, YES]
    with pytest.raises(PowerLoss):
        await world.agent(journal=Loses(world.path, finished("python"))).resume("last")
    result = await world.goes_on(says("done"), answers=[YES])
    assert (world.sent, told(result)[-1]) == ([("alice", 1)], '[{"number": 1}]')


async def test_what_was_refused_is_refused_again_without_a_question(world: World) -> None:
    await world.lives(finished("python"), code(send("alice"), send("bob")), answers=[NO, YES])
    result = await world.goes_on(says("done"), answers=[YES])
    assert world.sent == [("bob", 1)]
    assert ["did not allow" in str(one) for one in json.loads(told(result)[-1])] == [True, False]


async def test_results_too_large_to_keep_are_had_again_or_in_doubt(world: World) -> None:
    half = ("price", {"item": "half"})
    await world.lives(finished("python"), code(*[half] * 4, send("alice")), approval=ALLOW)
    written = Journal(world.path).read(Journal(world.path).runs()[0].run).events
    assert 0 < sum(len(event.data) for event in written if isinstance(event, CallFinished)) <= KEPT
    read = world.read
    await world.goes_on(says("done"), answers=[YES], approval=ALLOW)
    assert (read, world.read, world.sent) == (4, 7, [("alice", 1)])
    mine = World(world.path.with_name("other"))
    await mine.lives(finished("python"), code(send("long")), approval=ALLOW)
    await mine.goes_on(says("done"), answers=[YES, NO], approval=ALLOW)
    assert ([question.tool for question in mine.asked], len(mine.sent)) == (["python", "send"], 1)


async def test_ids_that_a_later_cell_has_again_are_no_record(world: World) -> None:
    """A model may give each of its calls the same id."""

    def cell(to: str) -> Reply:
        return Reply(calls=(ToolCall("c", "python", json.dumps({"code": json.dumps([send(to)])})),))

    def crash(event: Event) -> bool:
        return isinstance(event, CallStarted) and event.call.name == "price"

    await world.lives(crash, cell("a"), calls(("price", {"item": "tea"})), approval=ALLOW)
    result = await world.goes_on(cell("a"), cell("b"), says("done"), approval=ALLOW)
    assert world.sent == [("a", 1), ("a", 1), ("b", 1)]
    assert result.exit is Exit.ANSWERED


async def test_code_that_is_cut_off_at_any_write_sends_each_once(tmp_path: Path) -> None:
    """And cut off once more when it goes on. A person who is asked whether a call in doubt is to run looks first."""

    async def cut_off(number: int) -> int:
        """How often power was lost, at write `number` of a life at the latest in the third one."""
        world, lost = World(tmp_path / f"{number}.db"), 0

        async def ask(question: Question) -> Answer:
            done = question.tool == "send" and question.arguments["to"] in dict(world.sent)
            return NO if done and question.reason == MAYBE_DONE else YES

        def model(request: Request) -> Reply:
            if isinstance(request.messages[-1], ToolResult):
                return says("done")
            return code(send("a"), ("price", {"item": "tea"}), send("b"), send("c"))

        for _ in range(3):
            writes = count(1)
            at = (lambda _, writes=writes: next(writes) == number) if lost < 2 else (lambda _: False)
            agent = world.agent(model, model, journal=Loses(world.path, at), ask=ask)
            try:
                await (agent.resume("last") if Journal(world.path).runs() else agent.run("the task"))
                break
            except PowerLoss:
                lost += 1
        assert world.sent == [("a", 1), ("b", 1), ("c", 1)], number
        return lost

    losses = [await cut_off(number) for number in range(1, 23)]
    assert set(losses) == {0, 1, 2}


# --- calls of the model ------------------------------------------------------------------------------


async def test_a_yes_never_overrides_a_rule_of_now(world: World) -> None:
    deny = Approval((ApprovalRule("deny", tool="send", reason="no more"),))
    await world.lives(started("send"), calls(send("alice")), answers=[YES])
    result = await world.goes_on(says("done"), approval=deny)
    assert world.sent == []
    assert told(result)[0].startswith("This call is not allowed: no more")


async def test_a_denied_call_in_doubt_is_told_as_such(world: World) -> None:
    deny = Approval((ApprovalRule("deny", tool="send"),))
    await world.lives(finished("send"), calls(send("alice")), answers=[YES])
    result = await world.goes_on(says("done"), approval=deny)
    assert (world.sent, told(result)) == ([("alice", 1)], [IN_DOUBT])


async def test_what_finished_is_told_again_whatever_the_rules_say_now(world: World) -> None:
    deny = Approval((ApprovalRule("deny"),))
    await world.lives(started("price"), calls(send("alice")), calls(("price", {"item": "tea"})), answers=[YES])
    result = await world.goes_on(says("done"), approval=deny)
    assert told(result)[0] == '{"number":1}'
    assert "not allowed" in told(result)[1]
    assert world.sent == [("alice", 1)]


async def test_a_no_outlives_a_crash_and_a_rules_no_is_judged_anew(world: World) -> None:
    await world.lives(started("send"), calls(send("alice")), answers=[NO])
    result = await world.goes_on(says("done"), approval=ALLOW)
    assert (world.sent, "did not allow" in told(result)[0]) == ([], True)
    mine = World(world.path.with_name("other"))
    await mine.lives(started("send"), calls(send("alice")), ask=None)
    await mine.goes_on(says("done"), answers=[YES])
    assert mine.sent == [("alice", 1)]


async def test_a_call_with_the_id_of_an_earlier_one_is_asked_about(world: World) -> None:
    def again(to: str) -> Reply:
        name, arguments = send(to)
        return Reply(calls=(ToolCall("call_0", name, json.dumps(arguments)),))

    await world.lives(started("price"), again("alice"), calls(("price", {"item": "tea"})), answers=[YES])
    script = again("alice"), again("mallory"), says("done")
    await world.goes_on(*script, answers=[NO, NO])
    assert questions(world) == [("send", "alice"), ("send", "mallory")]
    assert world.sent == [("alice", 1)]


async def test_of_two_calls_with_one_id_each_is_done_once(world: World) -> None:
    two = [ToolCall("x", name, json.dumps(arguments)) for name, arguments in (send("alice"), send("bob"))]
    ended = 0

    def second(event: Event) -> bool:
        nonlocal ended
        ended += finished("send")(event)
        return ended == 2

    await world.lives(second, Reply(calls=tuple(two)), approval=ALLOW)
    await world.goes_on(says("done"), answers=[NO], approval=ALLOW)
    assert [question.reason for question in world.asked] == [MAYBE_DONE]
    assert sorted(world.sent) == [("alice", 1), ("bob", 1)]


async def test_a_yes_without_the_arguments_that_it_was_for_is_asked_for_again(world: World) -> None:
    """As a journal has it that an earlier version wrote."""
    await world.lives(started("send"), calls(send("alice")), answers=[YES])
    rewrite(world, "event = json_remove(event, '$.digest')")
    await world.goes_on(says("done"), answers=[NO])
    assert world.sent == []


async def test_a_replay_asks_nobody(world: World) -> None:
    await world.lives(started("send"), calls(send("alice")), answers=[YES])
    world.asked = []
    events = [event async for event in world.agent(ask=world.ask).replay("last")]
    assert world.asked == []
    assert [event.decide for event in events if isinstance(event, Consent)] == ["allow"]


# --- with a real sandbox -----------------------------------------------------------------------------


@pytest.mark.docker
async def test_code_in_a_real_sandbox_that_runs_again_sends_nothing_twice(world: World) -> None:
    text = """
import os
got = [tools.send(to="alice", amount=1)["number"], tools.price(item="tea")]
try:
    tools.send(to=open("to").read() if os.path.exists("to") else "bob")
except tools.ToolError as error:
    got.append(str(error))
print(got)
"""
    cell = calls(("python", {"code": text}))
    sandbox = DockerSandbox()
    try:
        await world.lives(
            lambda event: isinstance(event, CallStarted) and event.arguments.get("to") == "bob",
            cell,
            answers=[YES, YES],
            sandbox=sandbox,
        )
        result = await world.goes_on(says("done"), answers=[YES], sandbox=sandbox)
    finally:
        await sandbox.aclose()
    assert questions(world) == [("python", None)]
    assert world.sent == [("alice", 1), ("bob", 1)]
    assert world.read == 1
    assert told(result)[-1] == "[1, 'tea 1']"


@pytest.mark.docker
async def test_a_yes_in_a_real_sandbox_is_for_one_call(world: World) -> None:
    text = """
import time as clock
tools.send(to="alice" if clock.time() < LATER else "mallory", amount=1)
"""
    later = time.time() + 3600
    first = text.replace("LATER", str(later))
    sandbox = DockerSandbox()
    try:
        await world.lives(started("send"), calls(("python", {"code": first})), answers=[YES], sandbox=sandbox)
        rewrite(world, f"event = replace(event, '{later}', '0')")  # time goes by
        await world.goes_on(says("done"), answers=[YES, NO], sandbox=sandbox)
    finally:
        await sandbox.aclose()
    assert questions(world) == [("python", None), ("send", "mallory")]
    assert world.sent == []
