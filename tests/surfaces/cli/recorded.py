"""A run as its events tell it, written by hand: every kind of event, two steps side by side, hostile text."""

from __future__ import annotations

from pathlib import Path

from fastslow.agent.engine.types import Reply, Usage
from fastslow.agent.events import (
    CallDisplay,
    CallFinished,
    CallOutput,
    CallStarted,
    CheckFinished,
    CheckStarted,
    Compacted,
    Consent,
    Event,
    Exit,
    ModeUsage,
    NetworkUsed,
    Notice,
    PlanMade,
    Result,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFinished,
    StepStarted,
    TurnDelta,
    TurnFinished,
    TurnStarted,
)
from fastslow.agent.modes import FAST, Kind, Mode
from fastslow.agent.plan import Plan, Step
from fastslow.agent.transcript import ToolCall
from fastslow.sandbox import Egress

THINK = Mode(96)
THOUGHTS = "\n".join(f"Thought {n} about 売上 and the café's orders." for n in range(1, 8))
CODE = "import pandas as pd\n\norders = pd.read_csv('orders.csv')\nprint(len(orders))"
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]not markup[/] :smile: \u202eevil\x9b31m\x00"
PLAN = Plan(
    goal="Find the best region and draw it 📊",
    steps=(
        Step(do="Compute the revenue of every region from orders.csv and customers.csv, joined on customer_id"),
        Step(do="Plot 売上 by region as revenue.png", after=(1,)),
        Step(do="Count the customers of each region", after=()),
    ),
)


def usage(thinking: int = 0, answer: int = 40, cached: int = 0) -> Usage:
    return Usage(prompt=512, cached=cached, thinking=thinking, answer=answer, seconds=2.5)


def turn(number: int, branch: str, mode: Mode, reply: Reply, kind: Kind = Kind.CALL) -> list[Event]:
    """A turn from its start to its end, its text in two pieces."""
    events: list[Event] = [TurnStarted(branch, number, kind, mode, "a step")]
    for what, text in (("thinking", reply.reasoning), ("text", reply.content)):
        half = len(text) // 2
        for piece in (text[:half], text[half:]):
            if piece:
                events.append(TurnDelta(branch, number, "thinking" if what == "thinking" else "text", piece))
    return [*events, TurnFinished(branch, number, mode, reply)]


def fenced(number: int, branch: str, code: str) -> tuple[list[Event], ToolCall]:
    call = ToolCall(f"c{number}", "python", "{}", form="fenced")
    reply = Reply(f"I read the file.\n```python\n{code}\n```", calls=(call,), usage=usage(cached=480))
    return turn(number, branch, FAST, reply), call


def events(made: tuple[Path, ...] = (Path("made.png"),)) -> list[Event]:
    """The whole run. made: files that exist."""
    plan = ToolCall("p1", "plan", "{}")
    planning = Reply("", THOUGHTS, (plan,), usage=usage(thinking=96))
    first, load = fenced(2, "1", CODE)
    second, count = fenced(3, "3", "customers = [1, 2]\n" + HOSTILE)
    third, draw = fenced(4, "2", "1 / 0")
    answering = Reply("**South** sells most: `55,937.95`.", usage=usage(cached=500))
    told: list[Event] = [
        RunStarted("20260101-1", "Which region sells most?", "m", "instruct", ("plan", "python"), ("orders.csv",)),
        RunResumed("20260101-1", 2, 75.0),
        Notice(f"the server is old {HOSTILE}"),
        CheckStarted(0, f"pytest -q {HOSTILE}"),
        CheckFinished(0, f"pytest -q {HOSTILE}", "red", 1, HOSTILE, 0.5, (HOSTILE,), HOSTILE),
        *turn(1, "", THINK, planning, Kind.PLAN),
        CallStarted("", plan, {}),
        PlanMade(PLAN),
        StepStarted(1, PLAN.steps[0].do),
        StepStarted(3, PLAN.steps[2].do),
        *first,
        Consent("1", load.id, "allow", "person", f"python reaches outside {HOSTILE}"),
        CallStarted("1", load, {"code": CODE}),
        CallOutput("1", load.id, "stdout", "10 %\r20 %\r"),
        *second,
        CallStarted("3", count, {"code": "customers = [1, 2]\n" + HOSTILE}),
        CallOutput("3", count.id, "stderr", HOSTILE + "\n"),
        CallStarted("3", ToolCall("c3.1", "price", "{}"), {"item": HOSTILE}, count.id),
        CallFinished("3", "c3.1", "price", "ok", "2.5", 0.01, count.id),
        CallDisplay("3", count.id, {"image/svg+xml": HOSTILE, "image/png": b"\x89PNG", "text/plain": HOSTILE}),
        NetworkUsed(Egress("index.example", 443, True, "192.0.2.1", 1200, 3_400_000, 0.3)),
        Compacted("1", 7_900, 3_100),
        NetworkUsed(Egress("evil.example", 443, False, reason=f"not allowed {HOSTILE}")),
        CallOutput("1", load.id, "stdout", "400\n"),
        CallFinished("1", load.id, "python", "ok", "\n".join(map(str, range(40))), 0.4),
        StepFinished(1, True, "400"),
        CallFinished("3", count.id, "python", "ok", HOSTILE, 0.2),
        StepFinished(3, True, "2"),
        StepStarted(2, PLAN.steps[1].do),
        *third,
        CallStarted("2", draw, {"code": "1 / 0"}),
        CallFinished("2", draw.id, "python", "error", "ZeroDivisionError: division by zero", 0.1),
        StepFinished(2, False, "ZeroDivisionError: division by zero"),
        CallFinished("", plan.id, "plan", "error", "step 2 failed", 9.0),
        *turn(5, "", FAST, answering, Kind.ANSWER),
    ]
    by_mode = {
        "think": ModeUsage(1, usage(thinking=96)),
        "fast": ModeUsage(4, usage(answer=160, cached=1940)),
    }
    answer = f"**South** sells most: `55,937.95`. {HOSTILE}"
    result = Result("20260101-1", answer, None, PLAN, made, by_mode, Exit.ANSWERED, "answered", 12.5, tuple(told))
    return [*told, RunFinished(result)]
