"""Events as JSON lines: every kind, and all that is in it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from fastslow.agent.engine.types import Reply
from fastslow.agent.events import Event, RunFinished, TurnFinished
from fastslow.agent.modes import FAST
from fastslow.agent.record.jsonl import event_name, from_json, to_json, to_line
from tests.surfaces.cli.recorded import HOSTILE, events


def test_the_recorded_run_has_every_kind_of_event() -> None:
    assert {type(event) for event in events()} == set(get_args(Event))


def test_every_event_is_one_line_of_json_with_all_fields() -> None:
    for event in events((Path("out/revenue.png"),)):
        line = json.dumps(to_json(event))
        told = json.loads(line)
        assert "\n" not in line
        assert told.pop("event") == event_name(event)
        assert set(told) == set(type(event).__dataclass_fields__)


def test_every_event_comes_back_from_its_line() -> None:
    for event in events((Path("out/revenue.png"),)):
        again = from_json(json.loads(json.dumps(to_json(event))))
        if isinstance(event, RunFinished):
            event = RunFinished(replace(event.result, events=()))
        assert again == event


@pytest.mark.parametrize(
    "told", [{}, {"event": "no_such"}, {"event": "notice"}, {"event": "turn_started", "turn": "x"}]
)
def test_what_is_no_event_is_refused(told: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"an event is one of|validation error"):
        from_json(told)


def test_a_line_for_other_programs_has_only_what_json_has() -> None:
    reply = Reply("half \ud800", logprobs={"no": -math.inf, "yes": 0.0})
    told = json.loads(to_line(TurnFinished("", 1, FAST, reply)), parse_constant=pytest.fail)
    assert told["reply"]["logprobs"] == {"no": None, "yes": 0.0}
    assert told["reply"]["content"] == "half \ufffd"
    assert all(json.loads(to_line(event)) == to_json(event) for event in events())


def test_control_sequences_travel_as_escapes() -> None:
    lines = "".join(json.dumps(to_json(event)) for event in events())
    assert lines.isascii()
    assert lines.isprintable()
    notice = next(to_json(event) for event in events() if event_name(event) == "notice")
    assert json.loads(json.dumps(notice))["text"].endswith(HOSTILE)


def test_bytes_are_base64_and_calls_by_code_name_their_parent() -> None:
    told = [to_json(event) for event in events()]
    [display] = [one for one in told if one["event"] == "call_display"]
    assert display["data"]["image/png"] == "iVBORw=="
    [called] = [one for one in told if one["event"] == "call_started" and one["parent"]]
    assert (called["call"]["name"], called["parent"]) == ("price", "c3")
    assert [one["egress"]["allowed"] for one in told if one["event"] == "network_used"] == [True, False]


def test_a_mode_has_its_name_and_a_plan_its_steps() -> None:
    by_name = {event_name(event): to_json(event) for event in events()}
    assert by_name["turn_started"]["mode"] == {"budget": 0, "name": "fast"}
    assert by_name["plan_made"]["plan"]["steps"][1]["after"] == [1]
    assert by_name["turn_finished"]["reply"]["usage"]["cached"] == 500


def test_the_result_leaves_out_the_events_that_were_told_already() -> None:
    finished = events((Path("out/revenue.png"),))[-1]
    assert isinstance(finished, RunFinished)
    told = to_json(finished)["result"]
    assert "events" not in told
    assert told["files"] == ["out/revenue.png"]
    assert told["exit"] == "answered"
    assert told["usage"]["think"] == {
        "turns": 1,
        "usage": {"prompt": 512, "cached": 0, "thinking": 96, "answer": 40, "seconds": 2.5},
    }
