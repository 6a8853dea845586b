"""What both strategies say of replies that nobody can use, and of an answer without its form."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow import Kind
from fastslow.agent.engine.types import Finish, Reply
from fastslow.agent.events import CallFinished, CheckFinished
from fastslow.agent.strategy import STRATEGIES, Done, Next, State, Strategy
from fastslow.agent.strategy.common import RETRIES, UNCHANGED
from fastslow.tools import Status
from tests.agent.strategy.makers import OK, STEP, bare, result, state, words

both = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
CUT_OFF = Reply("The ans", finish="length")
CIRCLES = Reply("and and and", finish="repetition")
EMPTY = [Reply(), Reply(" \n"), Reply("```"), Reply("```python\n```")]


@both
@pytest.mark.parametrize("reply", [CUT_OFF, CIRCLES, *EMPTY], ids=repr)
def test_a_reply_of_no_use_is_asked_for_again_so_often(strategy: Strategy, reply: Reply) -> None:
    for asked in range(RETRIES):
        move = strategy.after_text(state((OK,), force="python", asked=asked), reply)
        room = 2 ** (asked + 1) if reply is CUT_OFF else 1
        assert bare(move) == Next(Kind.CALL, "", "python", room=room)
        assert words(move, "hint")
    assert bare(strategy.after_text(state((OK,), asked=RETRIES), reply)) == Done(reply.content.strip(), ok=False)


@both
def test_calls_that_were_cut_off_are_named(strategy: Strategy) -> None:
    lost = Reply(finish="length", dropped=("python", "shell"))
    assert "python, shell" in words(strategy.after_text(state((OK,)), lost), "hint")
    assert "python" not in words(strategy.after_text(state((OK,)), CUT_OFF), "hint")


@both
def test_thoughts_without_an_answer_are_quoted_in_short(strategy: Strategy) -> None:
    hint = words(strategy.after_text(state((OK,)), Reply(reasoning="The sum is 42. " * 1000)), "hint")
    assert "The sum is 42." in hint
    assert len(hint) < 2500


@both
def test_words_are_asked_for_in_their_form(strategy: Strategy) -> None:
    move = strategy.after_text(state((OK,), structured=True), Reply("It is 42."))
    assert bare(move) == Next(Kind.EXTRACT, "", "answer")
    assert "It is 42." in words(move, "hint")
    assert strategy.after_text(state((OK,), structured=True, asked=RETRIES), Reply("It is 42.")) == Done("It is 42.")
    assert strategy.after_text(state((OK,), structured=True, step=STEP), Reply("It is 42.")) == Done("It is 42.")


@both
def test_a_plan_within_a_step_is_a_failed_call_as_any_other(strategy: Strategy) -> None:
    refused = result("refused", name="plan")
    move = strategy.after_calls(state((refused,), step=STEP), (refused,))
    assert bare(move) == Next(Kind.CALL, "")
    move = strategy.after_calls(state((refused,), (refused,), step=STEP), (refused,))
    assert isinstance(move, Next)
    assert (move.kind, move.force) == (Kind.REPAIR, None)


_results = st.builds(
    result,
    st.sampled_from(get_args(Status)),
    st.text(max_size=20),
    st.sampled_from(["python", "plan", "add"]),
    st.booleans(),
)
_turns = st.lists(st.lists(_results, min_size=1, max_size=3).map(tuple), max_size=4)
_states = _turns.flatmap(
    lambda turns: st.builds(
        lambda **fields: state(*turns, **fields),
        task=st.sampled_from(["", "Save it as a.csv", "Count\x00it"]),
        step=st.sampled_from(["", STEP]),
        tools=st.frozensets(st.sampled_from(["plan", "python", "add"])),
        structured=st.booleans(),
        kind=st.sampled_from(Kind),
        force=st.sampled_from([None, "python", "*", "-"]),
        asked=st.integers(0, 3),
        plans=st.integers(0, 3),
        troubled=st.booleans(),
        repeats=st.integers(0, 3),
        made=st.frozensets(st.sampled_from(["/work/out/a.csv", "a"])),
        sure=st.none() | st.floats(0, 1),
        marks=st.frozensets(st.sampled_from(["missing", "restarted"])),
    )
)
_replies = st.builds(
    Reply,
    st.text(max_size=40),
    st.text(max_size=40),
    finish=st.sampled_from(get_args(Finish)),
    dropped=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@both
@given(known=_states, reply=_replies)
def test_any_reply_is_followed_by_a_move_and_asking_ends(strategy: Strategy, known: State, reply: Reply) -> None:
    assert isinstance(strategy.first(known), Next)
    move = strategy.after_text(known, reply)
    if isinstance(move, Done):
        assert not (move.ok and reply.finish != "stop")
    elif known.kind is not Kind.TRIAGE:
        assert known.asked < RETRIES


@both
@given(known=_states.filter(lambda known: bool(known.turns)))
def test_any_results_are_followed_by_a_move(strategy: Strategy, known: State) -> None:
    results: tuple[CallFinished, ...] = known.turns[-1]
    move = strategy.after_calls(known, results)
    if isinstance(move, Done):  # only a step ends with its calls
        assert known.step
        assert not move.ok or any(done.ok for done in results)


@both
def test_changes_that_the_model_was_shown_and_left_are_not_shown_again(strategy: Strategy) -> None:
    first = CheckFinished(1, "make test", "red", 1, "1 != 1.5", 0.1)
    second, third = replace(first, diff="+ 1"), replace(first, diff="+ 2")
    told = []
    for checks in ((second,), (second, second), (first, second, third)):
        move = strategy.after_check(state((OK,)), Done("Done."), checks)
        assert isinstance(move, Next)
        told.append(move.hint)
    assert "All that you changed so far:\n+ 1" in told[0]
    assert UNCHANGED in told[1]
    assert "+ 1" not in told[1]
    assert "All that you changed so far:\n+ 2" in told[2]
