"""A prompt stays within the context: what goes, what stays, and that a long run goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow import Agent, Budget, Exit, Journal, ScriptedModel, StepBudget
from fastslow.agent.compaction import (
    CUTS,
    ERROR_WINDOW,
    ERRORS,
    RECENT,
    STAND_IN,
    Folded,
    ShorterHistory,
    compact,
    stream_fitting,
)
from fastslow.agent.engine.scripted import SCRIPTED
from fastslow.agent.engine.types import Reply, Request
from fastslow.agent.engine.wire import encode_history, size
from fastslow.agent.errors import ContextOverflow, EngineRefused
from fastslow.agent.events import Compacted, RunFinished
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, User
from fastslow.tools import Tool, tool
from tests.agent.helpers import calls, plan, says

TASK = (System("You are terse."), User("Count the sheep."))


def turn(n: int, *contents: str, ok: bool = True, name: str = "python", arguments: str = "{}") -> list[Message]:
    """A turn with a call for each result."""
    made = tuple(ToolCall(f"c{n}.{i}", name, arguments) for i in range(len(contents)))
    return [
        Assistant("", made),
        *(ToolResult(call.id, name, text, ok) for call, text in zip(made, contents, strict=True)),
    ]


def long(n: int, length: int = 4000) -> str:
    return f"result {n} " + "x" * length + f" end {n}"


def total(messages: Sequence[Message]) -> int:
    return sum(map(size, messages))


def assert_paired(messages: Sequence[Message]) -> None:
    """Each call has its result right behind it, in order, and no result stands alone; no turn is empty."""
    waiting: list[tuple[str, str]] = []
    for message in messages:
        match message:
            case ToolResult():
                assert waiting, f"{message} has no call"
                assert waiting.pop(0) == (message.call_id, message.name)
            case Assistant():
                assert not waiting
                assert message.calls or message.content.strip()
                waiting = [(call.id, call.name) for call in message.calls]
            case _:
                assert not waiting
    assert not waiting
    for call in (call for m in messages if isinstance(m, Assistant) for call in m.calls):
        assert isinstance(json.loads(call.arguments), dict)


# --- what goes and what stays ------------------------------------------------------------------------


def test_what_fits_stays_as_it_is() -> None:
    history = (*TASK, *turn(1, long(1)), *turn(2, long(2)))
    assert compact(history, total(history), total(history)) == history


def test_old_results_go_first_and_keep_head_tail_and_the_way_to_the_whole() -> None:
    path = "\n[the whole is in output/result-c1.txt]"
    history = (
        *TASK,
        *turn(1, long(1) + path),
        *turn(2, "small"),
        *turn(3, long(3)),
        *turn(4, long(4)),
        *turn(5, long(5)),
    )
    shorter = compact(history, total(history) - 6000, total(history))
    assert [len(m.content) <= STAND_IN for m in shorter if isinstance(m, ToolResult)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    first = shorter[3].content
    assert first.startswith("result 1 xxx")
    assert first.endswith(path)
    assert "characters cut" in first
    assert shorter[4:6] == history[4:6]
    assert shorter[8:] == history[8:], "the newest results are whole"
    assert len(shorter) == len(history)
    assert_paired(shorter)


def test_only_as_much_goes_as_must() -> None:
    history = (*TASK, *(message for n in range(8) for message in turn(n, long(n))))
    shorter = compact(history, total(history) - 3000, total(history))
    assert [n for n, (a, b) in enumerate(zip(history, shorter, strict=True)) if a != b] == [3], "the oldest alone"


def test_old_turns_are_folded_into_one_that_sums_them_up() -> None:
    history = [*TASK]
    for n in range(12):
        ok = n % 4 != 3
        arguments = json.dumps({"code": f"step({n})" + "#" * (500 - n)})
        history += turn(n, long(n, 1000) if ok else f"Traceback\nNameError: name {n}", ok=ok, arguments=arguments)
    history += [*turn(20, long(20)), *turn(21, long(21)), *turn(22, long(22))]
    shorter = compact(history, 12_500, 20_000)
    assert_paired(shorter)
    assert shorter[:2] == TASK
    [folded] = [message for message in shorter if isinstance(message, Folded)]
    assert folded.content == "[10 earlier calls are left out: python 9 ok, 1 failed. The last error: NameError: name 3]"
    assert isinstance(shorter[2], Assistant)
    assert shorter[3] is folded
    assert shorter[-4:] == tuple(history[-4:])
    errors = [m.content for m in shorter if isinstance(m, ToolResult) and not m.ok]
    assert errors == ["Traceback\nNameError: name 7", "Traceback\nNameError: name 11"], "the newest errors stay"

    longer = [*shorter, *turn(30, "fine", name="shell"), *turn(31, long(31)), *turn(32, long(32))]
    again = compact(longer, 12_000, 20_000)
    [refolded] = [message for message in again if isinstance(message, Folded)]
    assert refolded.call_id == folded.call_id
    assert sum(ok + failed for _, ok, failed in refolded.tally) > 10
    assert "The last error: NameError: name 3" in refolded.content


def test_what_was_read_and_changed_is_named_where_its_turns_are_folded() -> None:
    read = [turn(n, long(n), name="read_file", arguments=json.dumps({"path": f"src/m{n}.py"})) for n in range(30)]
    edits = [turn(40, "Edited.", name="edit_file", arguments=json.dumps({"path": "src/m3.py", "edits": []}))]
    failed = [turn(41, "No.", ok=False, name="write_file", arguments=json.dumps({"path": "src/never.py"}))]
    newest = [turn(50 + n, long(n)) for n in range(3)]
    history = (*TASK, *(message for each in [*read, *edits, *failed, *newest] for message in each))
    once = compact(history, 9000, 20_000)
    [folded] = [message for message in once if isinstance(message, Folded)]
    assert "[Files changed: src/m3.py]" in folded.content
    assert "src/m29.py and 9 more]" in folded.content
    assert "never" not in folded.content
    more = [message for n in range(60, 66) for message in turn(n, long(n))]
    twice = compact((*once, *more), 9000, 20_000)
    assert "[Files changed: src/m3.py]" in "".join(m.content for m in twice if isinstance(m, Folded))


def test_many_calls_of_one_turn_go_together_or_not_at_all() -> None:
    history = (*TASK, *turn(1, *map(long, range(6))), *turn(2, "a", "b"), *turn(3, long(8)), *turn(4, long(9)))
    shorter = compact(history, 10_000, 12_000)
    assert_paired(shorter)
    assert [len(m.calls) for m in shorter if isinstance(m, Assistant)] == [1, 1, 1], "the folded one makes one call"


def test_what_the_model_has_not_read_yet_stays_whole() -> None:
    history = (*TASK, *(m for n in range(5) for m in turn(n, long(n))), *turn(9, *map(long, range(90, 94))))
    shorter = compact(history, 10_000, 20_000)
    assert shorter[-5:] == history[-5:]
    assert total(shorter) < total(history) - 15_000


def test_plans_and_the_results_of_their_steps_stay() -> None:
    arguments = json.dumps({"goal": "sheep", "steps": [{"do": "count"}]})
    planned = turn(1, "Step 1: count\nResult: " + "s" * 3000, name="plan", arguments=arguments)
    failed = turn(2, "Step 1: count\nFAILED: " + "f" * 3000, name="plan", arguments=arguments, ok=False)
    refused = [m for n in range(10, 20) for m in turn(n, "This is a step already", name="plan", ok=False)]
    work = [message for n in range(30, 60) for message in turn(n, long(n, 1000))]
    for history in ((*TASK, *planned, *failed, *work), (*TASK, *planned, *refused, *work)):
        shorter = compact(history, 8000, 20_000)
        assert shorter[:4] == history[:4]
        assert total(shorter) <= 14_000
        assert_paired(shorter)
    assert compact((*TASK, *planned, *failed, *work), 8000, 20_000)[:6] == (*TASK, *planned, *failed)
    left = compact((*TASK, *planned, *refused, *work), 8000, 20_000)
    assert sum(m.name == "plan" and not isinstance(m, Folded) for m in left if isinstance(m, ToolResult)) == 3


def test_where_nothing_else_fits_what_should_stay_whole_is_cut_too_the_newest_last() -> None:
    written = json.dumps({"path": "a.txt", "content": "y" * 20_000, "count": 3})
    planned = turn(1, "p" * 5000, name="plan", arguments='{"goal": "g", "steps": []}')
    history = (*TASK, *planned, *turn(2, long(2, 9000), arguments=written), *turn(3, long(3, 9000)))
    shorter = compact(history, 5000, 19_000)
    assert total(shorter) <= 19_000
    assert shorter[-1] == history[-1], "there is room for the newest"
    assert shorter[:4] == history[:4], "and for the plan"
    cut = shorter[4]
    assert isinstance(cut, Assistant)
    given = json.loads(cut.calls[0].arguments)
    assert (given["path"], given["count"]) == ("a.txt", 3)
    assert len(given["content"]) <= CUTS[0]
    tight = compact(history, 3000, 4000)
    assert total(tight) <= 4000
    assert_paired(tight)


def test_old_thoughts_go_with_the_old_results() -> None:
    history = (*TASK, *(message for n in range(6) for message in turn(n, "ok")))
    thinking = tuple(replace(m, reasoning="hm " * 900) if isinstance(m, Assistant) else m for m in history)
    shorter = compact(thinking, total(thinking) - 5000, total(thinking))
    assert [bool(m.reasoning) for m in shorter if isinstance(m, Assistant)] == [False] * 2 + [True] * 4


def test_code_in_a_block_stays_a_turn() -> None:
    fenced = [
        Assistant(f"Now:\n```python\nprint({n})\n```", (ToolCall(f"c{n}", "python", "{}", "fenced"),)) for n in range(9)
    ]
    history = (*TASK, *(m for n, said in enumerate(fenced) for m in (said, ToolResult(f"c{n}", "python", long(n)))))
    shorter = compact(history, 9500, 12_000)
    assert_paired(shorter)
    profile = replace(SCRIPTED, code="fenced", renders_calls=False)
    roles = [message["role"] for message in encode_history(shorter, profile)]
    assert roles == ["system", "user"] + ["assistant", "tool"] * ((len(roles) - 2) // 2), "turns alternate"


texts = st.one_of(
    st.text(max_size=30), st.builds(lambda c, n: c * n, st.characters(codec="utf-8"), st.integers(0, 9000))
)
names = st.sampled_from(["python", "shell", "plan", "no such tool"])
argument_texts = st.one_of(st.just("{}"), st.builds(lambda text: json.dumps({"code": text}), texts))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Message, ...]:
    messages: list[Message] = [System(draw(st.text(max_size=50))), User(draw(st.text(min_size=1, max_size=200)))]
    for n in range(draw(st.integers(0, 14))):
        made = tuple(ToolCall(f"c{n}.{i}", draw(names), draw(argument_texts)) for i in range(draw(st.integers(1, 3))))
        messages.append(Assistant(draw(st.text(max_size=20)), made, draw(st.text(max_size=20))))
        messages += [ToolResult(call.id, call.name, draw(texts), draw(st.booleans())) for call in made]
    return tuple(messages)


@settings(deadline=None, max_examples=200)
@given(histories(), st.integers(500, 60_000), st.integers(0, 30_000))
def test_any_history_becomes_a_valid_shorter_one(history: tuple[Message, ...], target: int, more: int) -> None:
    limit = target + more
    shorter = compact(history, target, limit)
    assert_paired(shorter)
    assert shorter == compact(history, target, limit), "the same each time"
    assert compact(shorter, target, limit) == shorter, "and done at once"
    assert total(shorter) <= max(total(history), target)
    assert shorter[:2] == history[:2]
    if total(history) <= target:
        assert shorter == history
    results = [m for m in history if isinstance(m, ToolResult)]
    left = {m.call_id: m for m in shorter if isinstance(m, ToolResult)}
    errors = [m for m in results[-ERROR_WINDOW:] if not m.ok][-ERRORS:]
    unread = [m for m in history[-3:] if isinstance(m, ToolResult) and _same_turn(m, results[-1])]
    spared = [
        *results[-RECENT:],
        *unread,
        *[m for m in results if m.name == "plan" and m.ok and _succeeded(m, history)],
    ]
    least = total(compact(history, 0, 10**9))
    if least <= limit:
        assert all(left[m.call_id] == m for m in spared), "whole where there is room"
    assert all(m.call_id in left for m in [*spared, *errors])
    least_of_all = total(compact(history, 0, 0))
    assert total(shorter) <= max(limit, least_of_all)


def _same_turn(one: ToolResult, other: ToolResult) -> bool:
    return one.call_id.split(".")[0] == other.call_id.split(".")[0]


def _succeeded(result: ToolResult, history: Sequence[Message]) -> bool:
    """Whether all plans of its turn went well; the loop lets a plan stand alone."""
    [said] = [m for m in history if isinstance(m, Assistant) and result.call_id in {call.id for call in m.calls}]
    ids = {call.id for call in said.calls}
    return all(m.ok for m in history if isinstance(m, ToolResult) and m.call_id in ids and m.name == "plan")


# --- before a request is sent ------------------------------------------------------------------------


async def fitted(model: ScriptedModel, request: Request) -> list[Any]:
    return [item async for item in stream_fitting(model, request)]


def old_work(count: int, length: int = 4000) -> tuple[Message, ...]:
    return (*TASK, *(message for n in range(count) for message in turn(n, long(n, length))))


async def test_a_prompt_that_leaves_room_is_sent_as_it_is() -> None:
    model = ScriptedModel([says("ok")], context=8192)
    request = Request(old_work(5))
    assert len(await fitted(model, request)) == 2
    assert model.requests[0].messages is request.messages


async def test_a_prompt_that_is_too_long_is_made_half_as_long_first() -> None:
    model = ScriptedModel([says("ok")], context=8192)
    first, *_ = await fitted(model, Request(old_work(12)))
    assert isinstance(first, ShorterHistory)
    assert first.before > 8192
    assert 1500 < first.after <= 8192 // 2
    assert model.requests[0].messages == first.transcript.messages
    assert model.requests[0].counted == first.after == await model.count(first.transcript.messages)


async def test_room_is_for_thoughts_as_well() -> None:
    tight = replace(SCRIPTED, answer_tokens=1000)
    request = Request(old_work(16))  # about 16,500 tokens
    for mode, fits in ((FAST, True), (Mode(4000), False)):
        model = ScriptedModel([says("ok")], context=20_000, profile=tight)
        items = await fitted(model, replace(request, mode=mode))
        assert isinstance(items[0], ShorterHistory) is not fits


async def test_thoughts_that_are_not_sent_cost_nothing() -> None:
    request = Request(tuple(replace(m, reasoning="z" * 9000) if isinstance(m, Assistant) else m for m in old_work(12)))
    model = ScriptedModel([says("ok")], context=8192)
    first, *_ = await fitted(model, request)
    assert isinstance(first, ShorterHistory)
    assert 1500 < first.after <= 8192 // 2


@pytest.mark.parametrize("letter", ["한", "é", "\n"])
async def test_any_script_fits(letter: str) -> None:
    """A token is four characters here, whatever their bytes."""
    history = (*TASK, *(message for n in range(20) for message in turn(n, letter * 6000 + str(n))))
    model = ScriptedModel([says("ok")], context=8192)
    await fitted(model, Request(history))
    assert await model.count(model.requests[0].messages) <= 8192 * 3 // 4


async def test_what_stays_may_have_more_tokens_a_byte_than_what_goes() -> None:
    old = [message for n in range(20) for message in turn(n, "한" * 6000 + str(n))]
    history = (*TASK, *old, *turn(30, "x" * 12_000), *turn(31, "y" * 12_000))
    model = ScriptedModel([says("ok")], context=8192)
    await fitted(model, Request(history))
    assert await model.count(model.requests[0].messages) <= 8192 * 3 // 4
    assert len(model.requests[0].messages[-1].content) > STAND_IN


async def test_a_server_that_cannot_count_is_estimated() -> None:
    class Silent(ScriptedModel):
        async def count(self, *_: Any) -> int:
            if self.requests:
                return 0  # its own check
            raise EngineRefused("no /tokenize", status=404)

    model = Silent([says("ok")], context=8192)
    first, *_ = await fitted(model, Request(old_work(12)))
    assert isinstance(first, ShorterHistory)
    assert model.requests[0].counted is None
    assert total(model.requests[0].messages) < 8192 * 4 * 0.6


@pytest.mark.parametrize("context", [0, 1_000_000])
async def test_a_server_with_less_room_than_it_says_gets_a_shorter_prompt_once(context: int) -> None:
    def refuse(request: Request) -> Reply:
        raise ContextOverflow("too long for me")

    class Boasting(ScriptedModel):
        async def count(
            self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
        ) -> int:
            return min(total(messages) // 4, 10**6 - 1) if self.context else -(total(messages) // -4)

    request = Request(old_work(20))
    model = ScriptedModel([refuse, says("ok")], context=context or 10**6)
    before = await model.count(request.messages)
    first, *_ = await fitted(model, request)
    assert isinstance(first, ShorterHistory)
    assert first.after < before / 2
    model.assert_complete()
    with pytest.raises(ContextOverflow, match="too long for me"):
        await fitted(ScriptedModel([refuse, refuse]), request)
    with pytest.raises(ContextOverflow, match="too long for me"):
        await fitted(ScriptedModel([refuse]), Request(TASK))


async def test_a_task_that_fills_the_context_fails_as_it_must() -> None:
    agent = Agent(engine=ScriptedModel([says("x")], context=4096), sandbox=None, journal=None)
    result = await agent.run("word " * 5000)
    assert result.exit is Exit.SERVER
    assert "context" in result.reason
    assert not [event for event in result.events if isinstance(event, Compacted)]


# --- a long run --------------------------------------------------------------------------------------

TURNS = 200
CONTEXT = 8192


@tool(effect="read")
def read(page: int) -> str:
    """Read a page.

    Args:
        page: Its number.
    """
    chance = random.Random(page)
    text = "".join(chance.choices("abcdefgh \n", k=chance.randint(2000, 6000)))
    if page % 9 == 8:
        raise RuntimeError(f"page {page} is torn\n{text}")
    return f"page {page}\n{text}"


async def test_a_run_of_200_turns_goes_on_in_a_small_context() -> None:
    script = [
        plan("Read all pages"),
        *(calls(("read", {"page": n})) for n in range(TURNS)),
        says("read"),
        says("Done."),
    ]
    model = ScriptedModel(script, context=CONTEXT)
    budget = Budget(turns=None, step=StepBudget(turns=None))
    agent = Agent(engine=model, tools=[read], sandbox=None, budget=budget, journal=None)
    result = await agent.run("Read the book.")
    assert (result.exit, result.answer) == (Exit.ANSWERED, "Done.")
    model.assert_complete()

    in_step = model.requests[1 : TURNS + 2]
    for number, request in enumerate(in_step):
        assert await model.count(request.messages, request.tools) <= CONTEXT * 3 // 4
        assert_paired(request.messages)
        assert "Read the book." in request.messages[1].content
        planned, told = request.messages[2:4]
        assert isinstance(planned, Assistant)
        assert (planned.calls[0].name, "Read all pages" in planned.calls[0].arguments) == ("plan", True)
        assert "Do step 1 of 1 now: Read all pages" in told.content
        assert request.messages[:4] == in_step[0].messages
        for page in range(max(0, number - RECENT), number):
            first = f"page {page} is torn" if page % 9 == 8 else f"page {page}\n"
            assert any(first in m.content and len(m.content) > 1999 for m in request.messages[-2 * RECENT :])
    shortened = [event for event in result.events if isinstance(event, Compacted)]
    broken = [n for n, (a, b) in enumerate(pairwise(in_step)) if b.messages[: len(a.messages)] != a.messages]
    assert len(broken) == len(shortened), "between two compactions a history only grows"
    assert {event.branch for event in shortened} == {"1"}
    assert sum(event.after for event in shortened) < 0.6 * sum(event.before for event in shortened)
    assert len(shortened) <= TURNS / 2
    tally = [m for m in in_step[-1].messages if isinstance(m, Folded)]
    assert len(tally) == 1
    [(name, ok, failed)] = tally[0].tally
    assert (name, ok + failed > TURNS - 10, TURNS // 9 - ERRORS <= failed <= TURNS // 9) == ("read", True, True)


async def test_a_resumed_run_is_shortened_anew_and_a_replay_needs_no_context(tmp_path: Path) -> None:
    def crash(request: Request) -> Reply:
        raise SystemError

    journal = Journal(tmp_path / "runs.db")
    pages = [calls(("read", {"page": n})) for n in range(16)]
    with pytest.raises(SystemError):
        await Agent(
            engine=ScriptedModel([*pages[:11], crash], context=CONTEXT), tools=[read], sandbox=None, journal=journal
        ).run("Read.")
    run = journal.runs()[0].run
    before = [event for event in journal.read(run).events if isinstance(event, Compacted)]
    model = ScriptedModel([*pages[11:], says("Done.")], context=CONTEXT)
    result = await Agent(engine=model, tools=[read], sandbox=None, journal=journal).resume(run)
    assert result.answer == "Done."
    shortened = [event for event in result.events if isinstance(event, Compacted)]
    assert shortened[0].before > CONTEXT, "what was said before comes back whole, and is shortened at once"
    assert [event for event in journal.read(run).events if isinstance(event, Compacted)] == before + shortened
    again = Agent(engine=ScriptedModel([], context=100), tools=[read], sandbox=None, journal=journal)
    told = [event async for event in again.replay(run)]
    assert isinstance(told[-1], RunFinished)
    assert told[-1].result.answer == "Done."
