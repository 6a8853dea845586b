"""What an editor is shown of each event of a run, without a process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from acp.schema import AgentMessageChunk, AgentThoughtChunk, SessionNotification, ToolCallProgress, ToolCallStart

from fastslow import Exit, Notice, PlanMade, Result, RunFinished, RunStarted, StepFinished, StepStarted
from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    CheckFinished,
    CheckStarted,
    Compacted,
    Event,
    TurnDelta,
    TurnFinished,
)
from fastslow.agent.modes import FAST
from fastslow.agent.plan import Plan, Step
from fastslow.agent.surfaces.acp.parts import DIFF, OUTPUT
from fastslow.agent.surfaces.acp.projection import State, Update, pending, updates
from fastslow.agent.transcript import ToolCall

ROOT = "/home/user/project"
HELD = {"app.py": "import os\n\nx = 1\ny = 2\n"}


def state(**fields: Any) -> State:
    return State(ROOT, run="r", before=HELD.get, **fields)


def turn(content: str = "", *calls: ToolCall, branch: str = "", reasoning: str = "", number: int = 1) -> TurnFinished:
    usage = Usage(prompt=100, thinking=20, answer=5)
    return TurnFinished(branch, number, FAST, Reply(content, reasoning, calls, usage=usage))


def tool(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall("c", name, json.dumps(arguments))


def started(name: str, /, parent: str = "", call_id: str = "c", **arguments: Any) -> CallStarted:
    return CallStarted("", ToolCall(call_id, name, json.dumps(arguments)), arguments, parent)


def ended(
    content: str = "", status: Any = "ok", name: str = "shell", call_id: str = "c", **fields: Any
) -> CallFinished:
    return CallFinished("", call_id, name, status, content, 0.1, **fields)


def over(answer: str = "", ending: Exit = Exit.ANSWERED, reason: str = "answered") -> RunFinished:
    return RunFinished(Result("r", answer, None, None, (), {}, ending, reason, 1.0))


def told(update: Update) -> dict[str, Any]:
    """As it goes over the wire."""
    sent = SessionNotification(session_id="s", update=update)
    line = sent.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    SessionNotification.model_validate(json.loads(json.dumps(line)))
    return line["update"]  # type: ignore[no-any-return]


def shown(known: State, *events: Event) -> list[dict[str, Any]]:
    return [told(update) for event in events for update in updates(event, known)]


def test_thoughts_are_thoughts_and_the_answer_is_one_message() -> None:
    known = state()
    said = shown(
        known,
        TurnDelta("", 1, "thinking", "Let me see."),
        TurnDelta("", 1, "text", "It "),
        TurnDelta("", 1, "text", "works."),
        turn("It works.", reasoning="Let me see."),
        over("It works."),
    )
    kinds = [one["sessionUpdate"] for one in said]
    assert kinds == ["agent_thought_chunk", "agent_message_chunk", "agent_message_chunk"]
    assert said[1]["messageId"] == said[2]["messageId"] != said[0]["messageId"]
    assert [one["content"]["text"] for one in said] == ["Let me see.", "It ", "works."]


def test_a_turn_that_was_not_streamed_is_told_whole() -> None:
    said = shown(state(), turn("Yes.", reasoning="Hm."))
    assert [(one["sessionUpdate"], one["content"]["text"]) for one in said] == [
        ("agent_thought_chunk", "Hm."),
        ("agent_message_chunk", "Yes."),
    ]


def test_what_steps_say_is_no_answer() -> None:
    [delta] = updates(TurnDelta("2", 3, "text", "aside"), state())
    assert isinstance(delta, AgentThoughtChunk)
    [whole] = updates(turn("aside", branch="2", number=4), state())
    assert isinstance(whole, AgentThoughtChunk)


def test_the_context_in_use_is_told_after_each_turn_of_the_trunk() -> None:
    assert shown(state(context=1000), turn()) == [{"sessionUpdate": "usage_update", "used": 125, "size": 1000}]
    assert shown(state(context=1000), turn(branch="1")) == []


def test_the_first_run_gives_the_title() -> None:
    begun = RunStarted("r", " Fix\nthe \x1b[31mtest ", "m", "p", (), ())
    assert shown(state(), begun) == [{"sessionUpdate": "session_info_update", "title": "Fix the test"}]
    assert shown(state(), RunStarted("r", "More", "m", "p", (), (), after="q")) == []


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "title", "places"),
    [
        ("read_file", {"path": "app.py", "start_line": 7}, "read", "Read app.py", [("app.py", 7)]),
        ("read_file", {"path": "/work/src/a.py"}, "read", "Read /work/src/a.py", [("src/a.py", None)]),
        ("read_file", {"path": "../../etc/passwd"}, "read", "Read ../../etc/passwd", []),
        ("list_files", {}, "read", "List", []),
        ("search", {"pattern": "def main", "path": "src"}, "search", "Search def main", [("src", None)]),
        ("write_file", {"path": "new.py", "content": "x"}, "edit", "Write new.py", [("new.py", None)]),
        (
            "edit_file",
            {"path": "app.py", "edits": [{"old_text": "y = 2", "new_text": "y = 3"}]},
            "edit",
            "Edit app.py",
            [("app.py", 4)],
        ),
        ("shell", {"command": "pytest -q\nls"}, "execute", "Run pytest -q", []),
        ("python", {"code": "1 + 1"}, "execute", "Python: 1 + 1", []),
        ("skill", {"name": "pdf"}, "think", "Skill pdf", []),
        ("look_up", {"order": 3}, "other", "look_up", []),
    ],
)
def test_calls(
    name: str, arguments: dict[str, Any], kind: str, title: str, places: list[tuple[str, int | None]]
) -> None:
    known = state()
    first, second = shown(known, turn("", tool(name, **arguments)), started(name, **arguments))
    assert (first["sessionUpdate"], first["status"]) == ("tool_call", "pending")
    assert (second["sessionUpdate"], second["status"]) == ("tool_call_update", "in_progress")
    assert first["toolCallId"] == second["toolCallId"] == "r:c"
    assert (first["kind"], first["title"], first["rawInput"]) == (kind, title, arguments)
    wanted = [{"path": f"{ROOT}/{path}"} | ({"line": line} if line else {}) for path, line in places]
    assert first.get("locations", []) == wanted


def test_an_edit_is_its_diff_and_a_failed_one_its_error() -> None:
    known, edit = state(), {"path": "app.py", "edits": [{"old_text": "x = 1", "new_text": "x = 2"}]}
    begun, done = shown(known, started("edit_file", **edit), ended("Edited app.py.", name="edit_file"))
    assert begun["content"] == [{"type": "diff", "path": f"{ROOT}/app.py", "oldText": "x = 1", "newText": "x = 2"}]
    assert done["content"] == begun["content"]  # its text would take the diff's place
    assert done["locations"] == [{"path": f"{ROOT}/app.py", "line": 3}]
    assert done["status"] == "completed"
    _, failed = shown(known, started("edit_file", **edit), ended("old_text fits nowhere", "error", "edit_file"))
    assert failed["status"] == "failed"
    assert "old_text fits nowhere" in failed["content"][0]["content"]["text"]


def test_a_whole_file_is_compared_with_what_it_was_and_then_with_what_was_written() -> None:
    known = state()
    sides = []
    for text in ("one", "two"):
        begun, _ = shown(known, started("write_file", path="app.py", content=text), ended("Wrote.", name="write_file"))
        sides.append((begun["content"][0]["oldText"], begun["content"][0]["newText"]))
    assert sides == [(HELD["app.py"], "one"), ("one", "two")]
    [new] = shown(known, started("write_file", path="b/new.py", content="x"))
    assert "oldText" not in new["content"][0]


def test_a_plan_is_told_whole_each_time() -> None:
    plan = Plan(goal="Fix", steps=(Step(do="Look"), Step(do="Change")))
    said = shown(
        state(), PlanMade(plan), StepStarted(1, "Look"), StepFinished(1, True, "seen"), StepFinished(2, False, "no")
    )
    entries = [[(entry["content"], entry["status"]) for entry in one["entries"]] for one in said]
    assert entries == [
        [("Look", "pending"), ("Change", "pending")],
        [("Look", "in_progress"), ("Change", "pending")],
        [("Look", "completed"), ("Change", "pending")],
        [("Look", "completed"), ("Change (failed)", "completed")],
    ]


@pytest.mark.parametrize(("verdict", "status"), [("green", "completed"), ("flaky", "completed"), ("red", "failed")])
def test_a_check_is_a_command_with_its_output(verdict: Any, status: str) -> None:
    begun, done = shown(
        state(), CheckStarted(1, "pytest -q"), CheckFinished(1, "pytest -q", verdict, 1, "1 failed", 2.0)
    )
    assert (begun["kind"], begun["title"], begun["status"]) == ("execute", "Check: pytest -q", "in_progress")
    assert (done["status"], done["title"]) == (status, f"Check: pytest -q ({verdict})")
    assert "1 failed" in done["content"][0]["content"]["text"]


def test_output_comes_while_it_runs_in_updates_whose_number_and_size_are_bounded() -> None:
    known = state()
    shown(known, started("shell", command="yes"))
    said = shown(known, *[CallOutput("", "c", "stdout", "y\n" * 50)] * 20_000)
    assert 10 < len(said) < 400
    assert max(len(json.dumps(one)) for one in said) < 12_000
    [done] = shown(known, ended("y\n" * 50_000))
    assert len(done["content"][0]["content"]["text"]) < OUTPUT + 100


def test_texts_of_others_are_cleaned_and_end_no_fence() -> None:
    known = state()
    hostile = "\x1b]0;owned\x07\x1b[2J```\n![x](http://there/)\u202e"
    begun, done = shown(known, started("shell", command=hostile), ended(hostile))
    for one in (begun, done):
        text = json.dumps(one)
        assert not [bad for bad in ("\\u001b", "\\u0007", "\\u202e", "owned") if bad in text]
    assert done["content"][0]["content"]["text"] == "````\n```\n![x](http://there/)\n````"
    [chunk] = updates(TurnDelta("", 1, "text", "half \ud800 a pair"), state())
    assert told(chunk)["content"]["text"] == "half  a pair"


def test_arguments_of_any_size_and_shape_fit_a_frame() -> None:
    deep: Any = "bottom"
    for _ in range(50):
        deep = {"in": [deep]}
    many = {
        "path": "a" * 10_000,
        "content": "x" * (2 * DIFF),
        "deep": deep,
        "list": list(range(10_000)),
        "n": float("nan"),
    }
    [begun] = shown(state(), started("write_file", **many))
    assert len(json.dumps(begun)) < 4 * DIFF
    assert begun["rawInput"]["n"] == "nan"


def test_arguments_that_are_no_json_are_told_when_they_are_read() -> None:
    known = state()
    [first] = shown(known, turn("", ToolCall("c", "shell", '{"command": ')))
    assert first["rawInput"] == {}
    [second] = shown(known, started("shell", command="ls"))
    assert (second["title"], second["rawInput"]) == ("Run ls", {"command": "ls"})


def test_of_the_calls_of_one_piece_of_code_the_first_ones_are_shown() -> None:
    known = state()
    events = [started("look_up", parent="c", call_id=f"c.{number}", order=number) for number in range(100)]
    assert len(shown(known, *events)) == 20
    assert shown(known, ended(name="look_up", call_id="c.99", parent="c")) == []


def test_plan_and_answer_are_no_calls() -> None:
    known = state()
    assert shown(known, turn("", tool("plan", goal="x", steps=["y"])), started("plan"), ended(name="plan")) == []


def test_nothing_stays_open_at_the_end() -> None:
    known = state()
    shown(known, turn("", tool("shell", command="ls")), CheckStarted(0, "make"))
    said = shown(known, over("", Exit.CANCELLED, "cancelled"))
    assert [(one["toolCallId"], one["status"]) for one in said] == [("r:c", "failed"), ("r:check-0", "failed")]
    assert not known.open


@pytest.mark.parametrize(
    ("last", "answer", "rest"),
    [
        ("Done.", "Done.", []),
        ("Done.", "Done.\n\n(The run changed a test.)", ["\n\n(The run changed a test.)"]),
        ("", "42", ["42"]),
        ("Working on it.", "42", ["42"]),
    ],
)
def test_what_of_the_answer_was_not_said_is_said(last: str, answer: str, rest: list[str]) -> None:
    known = state()
    shown(known, turn(last))
    assert [one["content"]["text"] for one in shown(known, over(answer))] == rest


def test_a_bad_end_says_why() -> None:
    [end] = updates(over("", Exit.FAILED, "the check still fails"), state())
    assert isinstance(end, AgentMessageChunk)
    assert "Not done (failed): the check still fails" in end.content.text  # type: ignore[union-attr]


def test_notices_are_thoughts() -> None:
    said = shown(state(), Notice("a fallback was taken"), Compacted("", 900, 300))
    assert {one["sessionUpdate"] for one in said} == {"agent_thought_chunk"}


def test_a_question_finds_its_call_by_name_and_arguments() -> None:
    known = state()
    first, second = ToolCall("c1", "shell", '{"command": "ls"}'), ToolCall("c2", "shell", '{"command": "pwd"}')
    shown(known, turn("", first, second))
    assert pending(known, "", "shell", {"command": "pwd", "timeout": 60}) == "r:c2"
    assert pending(known, "", "shell", {"command": "other"}) == "r:c1"
    assert pending(known, "1", "shell", {"command": "ls"}) is None
    shown(known, started("shell", call_id="c2", command="pwd"))
    assert pending(known, "", "shell", {"command": "pwd"}) == "r:c1"


def test_updates_are_of_the_schema_alone() -> None:
    known = state()
    kinds = {type(update) for event in (started("shell", command="ls"), ended("x")) for update in updates(event, known)}
    assert kinds == {ToolCallStart, ToolCallProgress}
