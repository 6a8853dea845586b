"""Long texts, made to be slow, in every field of every event, on every surface of the terminal: the cost is linear."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from fastslow.agent.events import CallOutput, CallStarted, Event
from fastslow.agent.record.jsonl import to_json
from fastslow.agent.surfaces.cli.live import RunView
from fastslow.agent.transcript import ToolCall
from tests.surfaces.cli.long import GROWTH, SHAPES, changed, each_kind, times_as_much, work
from tests.surfaces.cli.recorded import PLAN, events

SHORT, LONG = 2_000, 16_000
NOISE = 0.005  # seconds that may come from anywhere


def screen(terminal: bool) -> Console:
    colours = "truecolor" if terminal else None
    options = {"markup": False, "emoji": False, "highlight": False}
    out = io.StringIO()
    return Console(
        file=out, width=100, height=40, force_terminal=terminal, color_system=colours, _environ={}, **options
    )


def on_the_terminal(event: Event, *, terminal: bool) -> Callable[[], object]:
    """Shows it in a run that is under way, and draws twice what is live then."""
    view = RunView(screen(terminal), show_thinking=True)
    for before in events()[:3]:
        view.show(before)
    if isinstance(event, CallOutput):
        view.show(CallStarted("1", ToolCall(event.call_id, "python", "{}"), {"code": "x"}))

    def show() -> None:
        view.show(event)
        for _ in range(2):
            view._console.print(view.render())

    return show


def as_json(event: Event) -> Callable[[], object]:
    return lambda: json.dumps(to_json(event))


SURFACES: dict[str, Callable[[Event], Callable[[], object]]] = {
    "terminal": lambda event: on_the_terminal(event, terminal=True),
    "plain": lambda event: on_the_terminal(event, terminal=False),
    "json": as_json,
}


FEW = ("letters", "blanks", "tabs", "returns", "wide", "combining", "colours")  # elsewhere lines are not even wrapped
SHOWN = [(shape, "terminal") for shape in SHAPES] + [(shape, surface) for surface in ("plain", "json") for shape in FEW]


@pytest.mark.parametrize(("shape", "surface"), SHOWN)
def test_what_is_eight_times_as_long_costs_about_eight_times_as_much(shape: str, surface: str) -> None:
    slow = {}
    for event in each_kind():
        short, long = (dict(changed(event, SHAPES[shape](length))) for length in (SHORT, LONG))
        for where in long:
            cost = work(SURFACES[surface](long[where]))
            if cost > 20 * NOISE:  # else it is too quick to matter, and to tell
                ratio = times_as_much(SURFACES[surface](long[where]), SURFACES[surface](short[where]), NOISE)
                if ratio > GROWTH:
                    slow[where] = f"{cost:.2f} s, {ratio:.0f} times the shorter one's"
    assert slow == {}


def test_every_text_of_an_event_is_looked_at() -> None:
    wheres = {where for event in each_kind() for where, _ in changed(event, "x")}
    for some in (
        "RunStarted.task",
        "TurnStarted.reason",
        "TurnFinished.reply.calls[0].name",
        "CallStarted.arguments['code']",
        "CallDisplay.data{}",
        "NetworkUsed.egress.reason",
        "PlanMade.plan.steps[0].do",
        "RunFinished.result.files[0]",
    ):
        assert some in wheres


@pytest.mark.parametrize("shape", ["letters", "lines", "wide", "tabs"])
def test_a_megabyte_is_shown_in_seconds(shape: str) -> None:
    """Where texts that long come from: the answer, and what a call gave."""
    text = SHAPES[shape](1_000_000)
    for event in each_kind():
        for where, long in changed(event, text):
            if where in ("RunFinished.result.answer", "CallFinished.content"):
                assert work(on_the_terminal(long, terminal=True), tries=1) < 20, where


def test_a_live_frame_costs_the_same_however_long_what_it_shows() -> None:
    """It is drawn four times a second, on cores that the model's own server may need."""
    text = "word " * 200_000
    view = RunView(screen(True))
    steps = tuple(step.model_copy(update={"do": text}) for step in PLAN.steps)
    for event in each_kind():
        match type(event).__name__:
            case "PlanMade":
                view.show(replace(event, plan=PLAN.model_copy(update={"goal": text, "steps": steps})))  # type: ignore[call-arg]
            case "TurnStarted":
                view.show(replace(event, reason=text))  # type: ignore[call-arg]
            case "TurnDelta":
                view.show(replace(event, text=text))  # type: ignore[call-arg]
    view.show(CallStarted("1", ToolCall("c", text, "{}"), {"code": "x = 1\n" * 10_000, "why": text}))
    assert work(lambda: view._console.print(view.render())) < 0.5
