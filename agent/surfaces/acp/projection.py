"""From the events of a run to what an editor is shown of it: one pure function of an event and a state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from acp.schema import (
    AgentMessageChunk,
    AgentPlanUpdate,
    AgentThoughtChunk,
    PlanEntry,
    SessionInfoUpdate,
    ToolCallProgress,
    ToolCallStart,
    UsageUpdate,
    UserMessageChunk,
)

from fastslow.agent.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    CheckFinished,
    CheckStarted,
    Compacted,
    Event,
    Exit,
    Notice,
    PlanMade,
    Result,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    TurnDelta,
    TurnFinished,
)
from fastslow.agent.plan import OWN, Plan
from fastslow.agent.surfaces.acp.parts import (
    KINDS,
    Before,
    diffs,
    locations,
    one_line,
    place,
    printed,
    raw,
    text_block,
    title,
)
from fastslow.agent.transcript import ToolCall
from fastslow.tools.fenced import first_block

Update: TypeAlias = (
    AgentMessageChunk
    | AgentThoughtChunk
    | UserMessageChunk
    | ToolCallStart
    | ToolCallProgress
    | AgentPlanUpdate
    | UsageUpdate
    | SessionInfoUpdate
)
StepStatus: TypeAlias = Literal["pending", "in_progress", "completed"]

TAIL = 4_000  # characters of a running call's output that are shown
OFTEN = 400  # characters of it between two updates, and more the longer it gets
CALLS_OF_CODE = 20  # that one piece of code makes are shown


def _nothing(_: str) -> None:
    return None


@dataclass(slots=True)
class Shown:
    """A call or a check that the editor knows of, and that has not ended. name, arguments: of the model's tool call."""

    name: str
    branch: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False
    has_diff: bool = False
    output: str = ""
    length: int = 0
    told: int = 0


@dataclass(slots=True)
class State:
    """What is known of a run while it is shown.

    root: the user's folder, absolute. context: tokens that prompt and answer may have, 0 where that is not known.
    before: what a file held. open: by the id that the editor knows. said: text of the trunk's last turn.
    """

    root: str
    context: int = 0
    before: Before = _nothing
    run: str = ""
    plan: Plan | None = None
    steps: dict[int, tuple[StepStatus, bool]] = field(default_factory=dict)
    streamed: set[tuple[int, str]] = field(default_factory=set)
    said: str = ""
    open: dict[str, Shown] = field(default_factory=dict)
    of_code: Counter[str] = field(default_factory=Counter)
    written: dict[str, str] = field(default_factory=dict)

    def content(self, path: str) -> str | None:
        """What a file holds by now, as far as whole texts that were written say it."""
        return self.written.get(path, self.before(path))

    def key(self, branch: str, call: str) -> str:
        """The id of a call, unique over all runs."""
        return ":".join(filter(None, (self.run, branch, call)))


def updates(event: Event, state: State) -> list[Update]:
    """What the editor is told of an event, in order. The state is brought up to date."""
    return list(_updates(event, state))


def _updates(event: Event, state: State) -> Iterator[Update]:
    match event:
        case RunStarted():
            state.run = event.run
            if not event.after:
                yield SessionInfoUpdate(session_update="session_info_update", title=one_line(event.task))
        case Notice():
            yield _thought(state, "notice", f"Note: {event.text}\n")
        case Compacted():
            told = f"The history was shortened from {event.before:,} to {event.after:,} tokens.\n"
            yield _thought(state, "notice", told)
        case TurnDelta():
            yield from _delta(event, state)
        case TurnFinished():
            yield from _turn(event, state)
        case PlanMade() | StepStarted() | StepFinished():
            yield from _plan(event, state)
        case CheckStarted() | CheckFinished():
            yield _check(event, state)
        case CallStarted() | CallOutput() | CallFinished():
            yield from _call(event, state)
        case RunFinished():
            yield from _over(event.result, state)


def user_message(task: str, run: str) -> UserMessageChunk:
    """What the user said, of a conversation that is loaded."""
    return UserMessageChunk(session_update="user_message_chunk", content=text_block(task), message_id=f"{run}-user")


def message(text: str, message_id: str) -> AgentMessageChunk:
    return AgentMessageChunk(session_update="agent_message_chunk", content=text_block(text), message_id=message_id)


def pending(state: State, branch: str, name: str, arguments: Mapping[str, Any]) -> str | None:
    """The id of a call that the model has made and that did not start yet; of several that with these arguments."""
    waiting = [
        (key, one) for key, one in state.open.items() if not one.started and (one.branch, one.name) == (branch, name)
    ]
    same = [
        key for key, one in waiting if one.arguments and all(arguments.get(k) == v for k, v in one.arguments.items())
    ]
    return next(iter([*same, *(key for key, _ in waiting)]), None)


# --- turns -----------------------------------------------------------------------------------------


def _thought(state: State, turn: int | str, text: str) -> AgentThoughtChunk:
    return AgentThoughtChunk(
        session_update="agent_thought_chunk", content=text_block(text), message_id=f"{state.run}-{turn}-thought"
    )


def _delta(event: TurnDelta, state: State) -> Iterator[Update]:
    chunk = text_block(event.text)
    state.streamed.add((event.turn, event.kind))
    if not chunk.text:
        return
    if event.kind == "thinking" or event.branch:
        yield _thought(state, event.turn, event.text)
    else:
        yield message(event.text, f"{state.run}-{event.turn}")


def _turn(event: TurnFinished, state: State) -> Iterator[Update]:
    """What was not streamed, the calls that follow, and how full the context is."""
    reply = event.reply
    if reply.reasoning.strip() and (event.turn, "thinking") not in state.streamed:
        yield _thought(state, event.turn, reply.reasoning)
    block = first_block(reply.content) if any(call.form == "fenced" for call in reply.calls) else None
    text = reply.content[: block.start] if block else reply.content
    if text.strip() and (event.turn, "text") not in state.streamed:
        yield _thought(state, event.turn, text) if event.branch else message(text, f"{state.run}-{event.turn}")
    for call in reply.calls:
        if call.name not in OWN:
            yield _wanted(call, event.branch, state)
    if event.branch:
        return
    state.said = reply.content
    usage = reply.usage
    if state.context:
        used = usage.prompt + usage.thinking + usage.answer
        yield UsageUpdate(session_update="usage_update", used=used, size=state.context)


# --- plan and check --------------------------------------------------------------------------------


def _plan(event: PlanMade | StepStarted | StepFinished, state: State) -> Iterator[Update]:
    """The whole plan, each time."""
    match event:
        case PlanMade():
            state.plan, state.steps = event.plan, {}
        case StepStarted():
            state.steps[event.step] = ("in_progress", True)
        case StepFinished():
            state.steps[event.step] = ("completed", event.ok)
    entries = []
    for number, step in enumerate(state.plan.steps if state.plan else (), 1):
        status, ok = state.steps.get(number, ("pending", True))
        told = one_line(step.do, 500) + ("" if ok else " (failed)")
        entries.append(PlanEntry(content=told, priority="medium", status=status))
    if entries:
        yield AgentPlanUpdate(session_update="plan", entries=entries)


def _check(event: CheckStarted | CheckFinished, state: State) -> Update:
    key, head = state.key("", f"check-{event.number}"), f"Check: {one_line(event.command)}"
    if isinstance(event, CheckStarted):
        state.open[key] = Shown("", "", started=True)
        return ToolCallStart(
            session_update="tool_call", tool_call_id=key, title=head, kind="execute", status="in_progress"
        )
    state.open.pop(key, None)
    return ToolCallProgress(
        session_update="tool_call_update",
        tool_call_id=key,
        title=f"{head} ({event.verdict})",
        status="failed" if event.verdict == "red" else "completed",
        content=printed(f"Exit code {event.exit_code}.\n{event.output}"),
    )


# --- calls -----------------------------------------------------------------------------------------


def _wanted(call: ToolCall, branch: str, state: State) -> Update:
    """A call that the model made: it waits until it may run."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = None
    return _call_start(call, branch, arguments if isinstance(arguments, dict) else {}, state, started=False)


def _call_start(
    call: ToolCall, branch: str, arguments: Mapping[str, Any], state: State, *, started: bool
) -> ToolCallStart:
    key = state.key(branch, call.id)
    changed = diffs(call.name, state.root, arguments, state.content)
    state.open[key] = Shown(call.name, branch, arguments, started, bool(changed))
    return ToolCallStart(
        session_update="tool_call",
        tool_call_id=key,
        title=title(call.name, arguments),
        kind=KINDS.get(call.name, "other"),
        status="in_progress" if started else "pending",
        content=changed,
        locations=locations(state.root, arguments, state.content),
        raw_input=raw(arguments),
    )


def _call(event: CallStarted | CallOutput | CallFinished, state: State) -> Iterator[Update]:
    match event:
        case CallStarted():
            yield from _started(event, state)
        case CallOutput():
            yield from _output(event, state)
        case CallFinished():
            yield from _finished(event, state)


def _started(event: CallStarted, state: State) -> Iterator[Update]:
    if event.call.name in OWN and not event.parent:
        return
    if event.parent:
        state.of_code[event.parent] += 1
        if state.of_code[event.parent] > CALLS_OF_CODE:
            return
    key = state.key(event.branch, event.call.id)
    known = state.open.get(key)
    start = _call_start(event.call, event.branch, event.arguments, state, started=True)
    if known is None:
        yield start
        return
    yield ToolCallProgress(
        session_update="tool_call_update",
        tool_call_id=key,
        title=start.title,
        status="in_progress",
        content=start.content or None,
        locations=start.locations,
        raw_input=start.raw_input,
    )


def _output(event: CallOutput, state: State) -> Iterator[Update]:
    """The end of what a call printed so far. The longer that is, the more must come before the next update."""
    key = state.key(event.branch, event.call_id)
    if (call := state.open.get(key)) is None or call.has_diff:
        return
    call.output = (call.output + event.text)[-TAIL:]
    call.length += len(event.text)
    if call.told and call.length - call.told < max(OFTEN, call.told // 20):
        return
    call.told = call.length
    yield ToolCallProgress(session_update="tool_call_update", tool_call_id=key, content=printed(call.output))


def _finished(event: CallFinished, state: State) -> Iterator[Update]:
    key = state.key(event.branch, event.call_id)
    if (call := state.open.pop(key, None)) is None:
        return
    # What is given here takes the place of all that was shown. An edit that went well stays its diff, and what the file
    # held may only be known by now.
    changed = diffs(call.name, state.root, call.arguments, state.content) if event.ok else []
    yield ToolCallProgress(
        session_update="tool_call_update",
        tool_call_id=key,
        status="completed" if event.ok and not event.exit_code else "failed",
        content=changed or printed(event.content) or None,
        locations=locations(state.root, call.arguments, state.content) if changed else None,
    )
    whole, path = call.arguments.get("content"), place(state.root, call.arguments.get("path"))
    if changed and path and isinstance(whole, str):
        state.written[path.removeprefix(f"{state.root}/")] = whole


# --- the end ---------------------------------------------------------------------------------------


def unfinished(state: State) -> list[Update]:
    """Calls and checks that will not end any more are told as failed."""
    keys = list(state.open)
    state.open.clear()
    return [ToolCallProgress(session_update="tool_call_update", tool_call_id=key, status="failed") for key in keys]


def _over(result: Result, state: State) -> Iterator[Update]:
    """Nothing stays open; what of the answer was not said yet; and why there is none."""
    yield from unfinished(state)
    said, answer = state.said.strip(), result.answer.strip()
    if answer != said and answer:
        rest = answer.removeprefix(said) if said else answer
        yield message(rest, f"{state.run}-answer")
    if result.exit not in (Exit.ANSWERED, Exit.CANCELLED):
        why = one_line(result.reason, 1000)
        yield message(f"\n\nNot done ({result.exit}): {why}", f"{state.run}-end")
