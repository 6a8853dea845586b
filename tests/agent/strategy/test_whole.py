"""How a very small model is led in a project that it sees all of: states in, moves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastslow import Kind
from fastslow.agent.engine.types import Reply
from fastslow.agent.events import CheckFinished
from fastslow.agent.strategy import SHOWN, STRATEGIES, Done, Next, State
from fastslow.agent.strategy.whole import OPENING, ROOM, Whole
from fastslow.agent.transcript import Assistant, ToolCall, ToolResult
from fastslow.tools.builtin import builtin_tools
from tests.agent.strategy.makers import bare, result, state, words

WHOLE = Whole()
SAID = "The file to change is `calc.py`: it divides wrongly."
BLOCK = f"{SAID}\n\n```python\nx = 1\n```"
WROTE = result(name="write_file", content="Wrote calc.py (6 bytes).")
REFUSED = result("refused", name="write_file")
ASK = Next(Kind.CALL, "", room=ROOM)
RED = CheckFinished(1, "make test", "red", 1, "1 != 1.5", 0.1)


def after(*turns: object) -> State:
    """A state whose last turn wrote the block."""
    known = state(*((turn,) for turn in turns))  # type: ignore[arg-type]
    *before, _, told = known.transcript.messages
    assert isinstance(told, ToolResult)
    call = ToolCall(told.call_id, "write_file", "{}", form="fenced")
    return replace(known, transcript=type(known.transcript)((*before, Assistant(BLOCK, (call,)), told)))


def test_only_very_small_models_in_projects_that_they_see_write_whole_files() -> None:
    assert isinstance(SHOWN["guided"], Whole)
    assert SHOWN["free"] is STRATEGIES["free"]


def test_it_offers_one_tool_which_is_told_in_words() -> None:
    assert [tool.name for tool in WHOLE.tools(builtin_tools(edit="whole"))] == ["write_file"]
    assert "code block" in WHOLE.system(code=True)


def test_each_turn_names_the_file_first_and_has_room_for_it() -> None:
    for move in (WHOLE.first(state()), WHOLE.after_text(state(), Reply("x", finish="length"))):
        assert bare(move) == ASK
        assert words(move, "opening") == OPENING


def test_a_file_that_was_written_ends_the_run_with_what_was_said() -> None:
    assert WHOLE.after_calls(after(WROTE), (WROTE,)) == Done(SAID)


def test_a_block_without_a_path_is_asked_for_again_once() -> None:
    move = WHOLE.after_calls(after(REFUSED), (REFUSED,))
    assert bare(move) == ASK
    assert "path" in words(move, "hint")
    assert WHOLE.after_calls(after(REFUSED, REFUSED), (REFUSED,)) == Done(SAID)


def test_any_other_call_goes_on() -> None:
    read = result(name="skill")
    assert bare(WHOLE.after_calls(after(read), (read,))) == ASK


@pytest.mark.parametrize(("reply", "ok"), [(Reply(" It adds.\n"), True), (Reply("It", finish="length"), False)])
def test_words_are_an_answer(reply: Reply, ok: bool) -> None:
    assert WHOLE.after_text(state(asked=2), reply) == Done(reply.content.strip(), ok)


def test_a_red_check_is_told_and_the_next_turn_writes_again() -> None:
    move = WHOLE.after_check(after(WROTE), Done(SAID), (RED,))
    assert bare(move) == ASK
    assert "1 != 1.5" in words(move, "hint")
    over = WHOLE.after_check(after(WROTE), Done(SAID), (RED,) * 6)
    assert isinstance(over, Done)
    assert not over.ok
