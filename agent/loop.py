"""The loop: turn, model, tool calls, turn, until the strategy says that a branch is done.

This is mechanism: what comes next is decided in `agent/strategy`. A step of a plan runs the same loop in a branch.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from fastslow.agent.budget import Ledger
from fastslow.agent.calls import Calls, Items, needs
from fastslow.agent.compaction import ShorterHistory, stream_fitting
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.errors import GaveUp
from fastslow.agent.events import CallFinished, Compacted, Event, Notice, TurnDelta, TurnFinished, TurnStarted
from fastslow.agent.modes import FAST, Evidence, Kind, Mode
from fastslow.agent.output import Form
from fastslow.agent.plan import GIVE_UP, PLAN, Plan, run_ready
from fastslow.agent.replies import as_run, not_run
from fastslow.agent.run import Run
from fastslow.agent.steps import Steps
from fastslow.agent.strategy.strategy import Done, Move, Next, State
from fastslow.agent.texts import unicode
from fastslow.agent.transcript import Assistant, ToolCall, ToolResult, Transcript, with_hint
from fastslow.tools import ArgumentError, Outcome, Tool, clip
from fastslow.tools.lenient import without_surrogates
from fastslow.tools.typed import problems_of

GIVE_UP_AFTER = 10  # turns in a row whose calls all failed, after which a run, or a step, ends
SAME = "\n(The same call gave the same result before, and nothing has changed. Use it, or do something else.)"


@dataclass(slots=True)
class Branch:
    """One conversation of a run: the trunk (`name == ""`) or a step, whose name is its number.

    start: what it began with. coming: what its next turn is for. results: of each call the last result, without hints,
    and how many changes the run had seen by then. partial: its last words.
    """

    run: Run
    name: str
    state: State
    start: Transcript = field(init=False)
    coming: Next = field(init=False)
    ledger: Ledger = field(init=False)
    calls: Calls = field(init=False)
    reply: Reply = field(default_factory=Reply)
    results: dict[tuple[str, str], tuple[CallFinished, int]] = field(default_factory=dict)
    risk: bool = False
    partial: str = ""
    done: Done | None = None

    def __post_init__(self) -> None:
        self.start = self.state.transcript
        self.coming = self.run.strategy.first(self.state)
        self.ledger = self.run.ledger.step() if self.name else self.run.ledger
        self.calls = Calls(self.run, self.name, self.ledger)

    async def loop(self) -> AsyncGenerator[Event, None]:
        """Run turns until the branch is done. Raises `BudgetSpent`, `StepSpent`, and what the engine raises."""
        while self.done is None:
            async with aclosing(self._turn()) as events:
                async for event in events:
                    yield event
            if self.reply.calls:
                self.ledger.check_calls()
                async with aclosing(self._act()) as events:
                    async for event in events:
                        yield event
            else:
                self.follow(self.run.strategy.after_text(self._current_state(), self.reply), asked=True)

    # --- a turn ------------------------------------------------------------------------------

    async def _turn(self) -> AsyncGenerator[Event, None]:
        run, say = self.run, self.run.recorder.say
        self.ledger.check()
        run.turns += 1
        started = say(TurnStarted(self.name, run.turns, self.coming.kind, *self._mode()))
        yield started
        finished = run.recorder.reply(self.name)
        if finished is None:
            async with aclosing(self._ask(started)) as deltas:
                async for delta in deltas:
                    yield delta
            finished = say(TurnFinished(self.name, started.turn, started.mode, unicode(self.reply)))
        self.reply = finished.reply
        self.ledger.add(finished.mode, self.reply)
        self.partial = self.reply.content or self.partial
        sure = math.fsum(map(math.exp, self.reply.logprobs.values())) if self.reply.logprobs else self.state.sure
        self.state = replace(self.state, kind=self.coming.kind, force=self.coming.force, sure=sure)
        yield finished
        for note in self.reply.notes:
            yield say(Notice(note))

    def _mode(self) -> tuple[Mode, str]:
        """How much the turn that begins may think, and why."""
        if self.run.given:
            return FAST, "the plan is given"
        run, state, usage, why = self.run, self.state, self.reply.usage, self.coming.why
        tokens = usage.prompt + usage.thinking + usage.answer
        evidence = Evidence(
            failures=state.failures,
            repairs=run.repairs,
            prompt=tokens,
            risk=self.risk,
            surprise=state.surprised,
            exhausted=state.plans > 0,
            confidence=state.sure,
        )
        mode, because = run.policy.mode(self.coming.kind, evidence)
        run.repairs += self.coming.kind is Kind.REPAIR and mode.thinks
        left = self.ledger.thinking_left()
        if left is not None and left < mode.budget:
            mode, because = Mode(left), f"{left} thinking tokens are left"
        return mode, f"{why}; {because}" if because else why

    async def _ask(self, started: TurnStarted) -> AsyncGenerator[TurnDelta | Compacted, None]:
        """Have the model continue, on a shorter history where this one is too long; `reply` is then what it said."""
        run, coming, toolbox = self.run, self.coming, self.run.toolbox
        if run.given:
            self.reply, run.given = run.given, None
            return
        request = Request(
            (run.with_skills(self.state.transcript, started.mode) if run.project else self.state.transcript).messages,
            toolbox.tools,
            started.mode,
            answer_tokens=coming.room * run.engine.profile.answer_tokens if coming.room > 1 else None,
            force=coming.force,
            opening=coming.opening,
            session=run.session,
        )
        if coming.kind is Kind.TRIAGE:
            self.reply = await run.engine.choose(
                request, [tool.name for tool in toolbox if tool.name in self.state.tools]
            )
            return
        async with aclosing(stream_fitting(run.engine, request)) as stream:
            while (item := await self.ledger.in_time(anext(stream, None))) is not None:
                if isinstance(item, ShorterHistory):
                    self.state = replace(self.state, transcript=item.transcript)
                    yield run.recorder.say(Compacted(self.name, item.before, item.after))
                elif isinstance(item, Delta):
                    text = item.text if item.text.isascii() else without_surrogates(item.text)
                    yield TurnDelta(self.name, started.turn, item.kind, text)
                else:
                    self.reply = as_run(item, toolbox) if item.calls else item

    # --- what comes next ---------------------------------------------------------------------

    def _current_state(self) -> State:
        """The state with the files that other branches have made meanwhile, too."""
        self.state = replace(self.state, made=self.run.made)
        return self.state

    def follow(self, move: Move, *, asked: bool = False) -> None:
        """Do what the strategy says. asked: the turn that ended called nothing, so another one asks once more."""
        if isinstance(move, Done):
            self.done = replace(move, answer=move.answer or self.partial)
            return
        state, history = self.state, self.start if move.restart else self.state.transcript
        self.state = replace(
            state,
            transcript=with_hint(history, move.hint) if move.hint else history,
            turns=() if move.restart else state.turns,
            repeats=0 if move.kind is Kind.REPAIR else state.repeats,
            asked=state.asked + (asked and state.kind is not Kind.TRIAGE),
            marks=state.marks | {move.mark} if move.mark else state.marks,
        )
        self.coming = move

    # --- a turn with calls -------------------------------------------------------------------

    async def _act(self) -> AsyncGenerator[Event, None]:
        """Carry out the reply's calls, side by side where the order does not matter, and append their results in the
        order of the calls. A plan stands alone, since its steps branch off right behind it."""
        reply, calls = self.reply, self.reply.calls
        calls = tuple([call for call in calls if call.name == PLAN.name][:1]) or calls
        history = self.state.transcript.append(Assistant(reply.content, calls, reply.reasoning))
        self.state = replace(self.state, transcript=history)
        finished: dict[str, CallFinished] = {}
        order = needs(self.run.toolbox, calls) if calls[1:] else {0: []}
        async with aclosing(run_ready(order, lambda number: self._call(calls[number]))) as events:
            async for event in events:
                if isinstance(event, CallFinished) and event.branch == self.name and not event.parent:
                    finished[event.call_id] = event
                yield event
        results: list[ToolResult] = []
        turn: list[CallFinished] = []
        for call in calls:
            ended = finished[call.id]
            results.append(ToolResult(call.id, call.name, ended.content, ended.ok))
            turn.append(self.results[call.name, call.arguments][0])
        if reply.dropped or len(calls) < len(reply.calls):
            results[-1] = replace(results[-1], content=results[-1].content + not_run(reply, calls))
        gave = tuple(turn)
        self.state = replace(self.state, transcript=history.append(*results), turns=(*self.state.turns, gave))
        if self.state.failures >= GIVE_UP_AFTER:
            last = clip(gave[-1].content.strip(), 500)
            why = f"gave up after {self.state.failures} turns in a row failed. The last error: {last}"
            if not self.name:
                raise GaveUp(why)
            self.done = Done(why, ok=False)  # the trunk may know another way
        if self.done is None:
            self.follow(self.run.strategy.after_calls(self._current_state(), gave))

    async def _call(self, call: ToolCall) -> AsyncGenerator[Event, None]:
        before = self._last_if_unchanged(call)
        async with aclosing(self.calls.carry_out(self.run.toolbox, call, self._body)) as items:
            async for item in items:
                if isinstance(item, CallFinished) and (item.branch, item.call_id) == (self.name, call.id):
                    yield self._remember(call, item, before)  # a plan's calls come by here, too
                elif not isinstance(item, Outcome):
                    yield item

    def _body(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        if tool.name == PLAN.name:
            return self._plan(call, arguments)
        if tool.name == GIVE_UP.name:
            return self._give_up(arguments)
        if self.run.form and tool is self.run.form.tool:
            return self._answer(self.run.form, call, arguments)
        self.risk = self.risk or tool.effect == "outside"
        return self.calls.run_tool(tool, call, arguments)

    async def _give_up(self, arguments: Mapping[str, Any]) -> Items:
        self.done = Done(arguments["why"], ok=False, why="the model gave up")
        yield Outcome(arguments["why"])

    async def _plan(self, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        if self.name:
            yield Outcome("This is a step of a plan already: do it with the other tools.", "refused")
            return
        try:
            plan = Plan.model_validate(arguments)
        except ValidationError as error:
            yield Outcome("\n".join(problems_of(error, arguments)), "refused")
            return
        self.run.plan = plan = self.run.strategy.plan(plan, self.state)
        steps = Steps(self, call, plan)
        async with aclosing(steps.carry_out()) as items:
            async for item in items:
                yield item
        self.state = replace(self.state, plans=self.state.plans + 1, troubled=steps.troubled)

    async def _answer(self, form: Form, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """End the run with an answer of the form that was asked for."""
        if self.name:
            yield Outcome("This is a step of a plan: say in words what came out of it.", "refused")
            return
        recorded = None if form.adapter else self.run.recorder.result(self.name, call.id)
        if recorded and recorded[1].status == "refused":  # by the type, which is not known here
            yield Outcome(recorded[1].content, "refused")
            return
        try:
            value = form.value(arguments)
        except ArgumentError as error:
            yield Outcome(str(error), "refused")
            return
        self.done = Done(form.text(value), value=value)
        yield Outcome("answered")

    def _last_if_unchanged(self, call: ToolCall) -> CallFinished | None:
        """What the same call gave last, where nothing has changed since. Outside of the sandbox anything may have."""
        before, changes = self.results.get((call.name, call.arguments), (None, 0))
        if before is None or changes != self.run.changes:
            return None
        toolbox = self.run.toolbox
        return before if call.name in toolbox and toolbox.get(call.name).effect != "outside" else None

    def _remember(self, call: ToolCall, event: CallFinished, before: CallFinished | None) -> CallFinished:
        """Keep a result, and tell of a call that gives the same once more, and of a budget that nears its end."""
        self.results[call.name, call.arguments] = (event, self.run.changes)
        hint = ""
        if before and (before.status, before.content) == (event.status, event.content):
            self.state = replace(self.state, repeats=self.state.repeats + 1)
            hint = SAME
        hint += self.ledger.warning()
        return replace(event, content=event.content + hint) if hint else event

    # --- steps -------------------------------------------------------------------------------

    def step(self, number: int, do: str, history: Transcript) -> Branch:
        """A branch for a step of a plan."""
        state = self.state
        return Branch(
            self.run,
            str(number),
            State(state.task, do, state.files, state.tools, state.structured, transcript=history, made=self.run.made),
        )

    @property
    def last_output(self) -> str:
        """What the last call gave that did what it is for."""
        return next((r.content for turn in reversed(self.state.turns) for r in reversed(turn) if r.ok), "")
