"""The loop: turn, model, tool calls, turn, until an answer. A step of a plan runs the same loop in a branch."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from fastslow.agent.budget import Ledger, StepSpent
from fastslow.agent.calls import Calls, Items, Outcome
from fastslow.agent.compaction import ShorterHistory, stream_fitting
from fastslow.agent.engine.fenced import CODE_TOOL
from fastslow.agent.engine.types import ANY, NO_CALL, Delta, Reply, Request
from fastslow.agent.errors import GaveUp
from fastslow.agent.events import (
    CallFinished,
    Compacted,
    Event,
    Notice,
    PlanMade,
    StepFinished,
    StepStarted,
    TurnDelta,
    TurnFinished,
    TurnStarted,
)
from fastslow.agent.figures import unseen
from fastslow.agent.modes import Evidence, Kind, Mode
from fastslow.agent.plan import PLAN, Plan, Step, run_ready
from fastslow.agent.prompts import prompt
from fastslow.agent.record.recorder import IN_DOUBT
from fastslow.agent.run import Run, file_names
from fastslow.agent.transcript import Assistant, ToolCall, ToolResult, Transcript, User
from fastslow.tools import Tool, clip
from fastslow.tools.builtin.python import SILENT
from fastslow.tools.builtin.report import WRITTEN

RETRIES = 2  # times that a branch asks again for an answer that it cannot use
PLANS = 2  # plans that a model which must plan makes before it answers with what it has
_NOTHING = re.compile(r"(?:```[a-z]*(?:\s+```)?)?")
NOT_RUN = "This exact call failed before, so it was not run again. Change it.\n"
FAILURES = 2  # turns in a row whose calls all failed, after which one thinks; after one more a step has failed
GIVE_UP = 10  # such turns in a row, after which a whole run has


@dataclass(slots=True)
class Branch:
    """One conversation of a run: the trunk (`name == ""`) or a step, whose name is its number."""

    run: Run
    name: str
    transcript: Transcript
    kind: Kind
    why: str
    force: str | None = None
    room: int | None = None
    outcome: Outcome | None = None
    partial: str = ""
    reply: Reply = field(default_factory=Reply)
    results: dict[tuple[str, str], CallFinished] = field(default_factory=dict)
    evidence: str = ""
    risk: bool = False
    surprise: bool = False
    failures: int = 0
    repeats: int = 0
    retries: int = 0
    plans: int = 0
    unseen: str = ""
    start: Transcript = field(init=False)
    ledger: Ledger = field(init=False)
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.transcript
        run = self.run
        self.ledger = run.ledger.step() if self.name else run.ledger
        self.calls = Calls(self.name, self.ledger, run.offered, run.recorder, run.gate, run.workspace)

    async def loop(self) -> AsyncGenerator[Event, None]:
        """Run turns until there is an outcome. Raises `BudgetSpent`, `StepSpent`, and what the engine raises."""
        while self.outcome is None:
            async with aclosing(self._turn()) as events:
                async for event in events:
                    yield event
            if self.kind is Kind.TRIAGE:
                self._sort(self.reply)
                continue
            if not self.reply.calls:
                self._accept(self.reply)
                if self.outcome and self.unseen:
                    yield self.run.recorder.say(Notice(f"Nothing that was run has shown {self.unseen}: check it."))
                continue
            self.ledger.check_calls()
            async with aclosing(self._act(self._calls())) as events:
                async for event in events:
                    yield event

    async def _turn(self) -> AsyncGenerator[Event, None]:
        run, say = self.run, self.run.recorder.say
        self.ledger.check()
        run.turns += 1
        started = say(TurnStarted(self.name, run.turns, self.kind, *self._mode()))
        yield started
        finished = run.recorder.reply(self.name)
        if finished is None and self.kind is Kind.TRIAGE:
            request = Request(self.transcript.messages, run.toolbox.tools)
            self.reply = await run.engine.choose(request, self._choices())
            finished = say(TurnFinished(self.name, started.turn, started.mode, self.reply))
        elif finished is None:
            async with aclosing(self._ask(started)) as deltas:
                async for delta in deltas:
                    yield delta
            finished = say(TurnFinished(self.name, started.turn, started.mode, self.reply))
        self.reply = finished.reply
        self.ledger.add(finished.mode, self.reply)
        self.partial = self.reply.content or self.partial
        yield finished
        for note in self.reply.notes:
            yield say(Notice(note))

    def _mode(self) -> tuple[Mode, str]:
        """How much the turn that begins may think, and why."""
        run, usage = self.run, self.reply.usage
        prompt = usage.prompt + usage.thinking + usage.answer
        evidence = Evidence(
            self.failures, run.repairs, prompt, self.risk, self.surprise, self.plans > 0, run.confidence
        )
        mode, because = run.policy.mode(self.kind, evidence)
        run.repairs += self.kind is Kind.REPAIR and mode.thinks
        left = self.ledger.thinking_left()
        if left is not None and left < mode.budget:
            mode, because = Mode(left), f"{left} thinking tokens are left"
        return mode, f"{self.why}; {because}" if because else self.why

    async def _ask(self, started: TurnStarted) -> AsyncGenerator[TurnDelta | Compacted, None]:
        """Have the model continue, on a shorter history where this one is too long; `reply` is then what it said."""
        run, mode = self.run, started.mode
        opening = run.engine.profile.openings.get(self.kind, "")
        request = Request(
            self.transcript.messages,
            run.toolbox.tools,
            mode,
            answer_tokens=self.room,
            force=self.force,
            opening=opening,
        )
        async with aclosing(stream_fitting(run.engine, request)) as stream:
            while True:
                item = await self.ledger.in_time(anext(stream, None))
                if item is None:
                    break
                if isinstance(item, ShorterHistory):
                    self.transcript = item.transcript
                    yield run.recorder.say(Compacted(self.name, item.before, item.after))
                elif isinstance(item, Delta):
                    yield TurnDelta(self.name, started.turn, item.kind, item.text)
                else:
                    self.reply = item

    def _calls(self) -> tuple[ToolCall, ...]:
        """The calls to carry out: a plan stands alone, since its steps branch off right behind it."""
        plans = [call for call in self.reply.calls if call.name == PLAN.name]
        return tuple(plans[:1]) or self.reply.calls

    def _next(self, kind: Kind, why: str) -> None:
        self.kind, self.why, self.force = kind, why, None

    # --- the first look at a task ------------------------------------------------------------

    def _choices(self) -> tuple[str, ...]:
        return tuple(tool.name for tool in self.run.toolbox.tools if tool is not self.run.answer_tool)

    def _sort(self, reply: Reply) -> None:
        """Call if the model that begins a call names an offered tool, for sure, else answer: with none that fits, it
        would rather make one up. Which tool it is does not matter, as several may be wanted."""
        if not reply.logprobs:
            return self._next(Kind.CALL, "the server tells no chances")
        sure = self.run.confidence = sum(map(math.exp, reply.logprobs.values()))
        if sure >= self.run.engine.profile.sure:
            self._next(Kind.CALL, f"wants a tool, {reply.content} first: {sure:.1%} sure")
            self.force = ANY
        else:
            self._next(Kind.ANSWER, f"wants no tool: {sure:.1%} sure of one")
            self.force = NO_CALL
        return None

    # --- a turn without a call ---------------------------------------------------------------

    def _accept(self, reply: Reply) -> None:
        """Take the text as this branch's answer, or ask for it once more from a sibling branch that says why not."""
        step = bool(self.name)
        self.unseen = ", ".join(self._figures(reply.content))
        if self.retries < RETRIES:
            if reply.finish == "length":
                self.room = 2 * (self.room or self.run.engine.profile.answer_tokens)
                hint = "Your last answer was cut off for its length, and nothing of it was run. Be much shorter."
                return self._again(hint, Kind.CALL, "cut off: twice the room")
            if reply.finish == "repetition":
                hint = "Your last answer went round in circles and was stopped. Say it once, in few words."
                return self._again(hint, Kind.CALL, "went in circles")
            if _says_nothing(reply):
                thought = f"\nYour thoughts so far: {clip(reply.reasoning, 2000)}" if reply.reasoning else ""
                return self._again(
                    f"Your last turn had no answer and no call.{thought}\nAct now.", Kind.CALL, "empty reply"
                )
            if self.kind is Kind.PLAN and reply.reasoning and self.run.engine.profile.plan == "late":
                return self._next(Kind.CALL, "thoughts without code")  # these words go on in the thoughts' sentence
            if self.run.engine.profile.evidence and not self.evidence:
                if step:
                    hint = "Nothing was run yet. Run code first, then report its output."
                    force = CODE_TOOL if CODE_TOOL in self.run.toolbox else None
                    return self._again(hint, Kind.CALL, "no evidence", force)
                if self._in_one():
                    self.retries += 1
                    return self._anew("Code that was run for this did not work.")
            if expected := self._expected():
                return self._again(expected, Kind.REPAIR, "not what was expected")
            if self.unseen:
                hint = "Your last answer had a number that no output shows. Give the numbers of the output alone."
                return self._again(hint, Kind.ANSWER, f"nothing has shown {self.unseen}")
            if not step and self.run.output:
                text = f"Give this answer with the answer tool: {clip(reply.content, 4000)}"
                return self._again(text, Kind.EXTRACT, "structured answer", force=self.run.answer_tool.name)
        self.transcript = self.transcript.append(*_said(reply))
        usable = not _says_nothing(reply) and reply.finish == "stop"
        proven = not self.run.engine.profile.evidence or bool(self.evidence) or not (step or self.plans)
        answer = reply.content.strip() or self.partial
        self.outcome = Outcome(usable and proven and (not step or self.failures == 0), answer)
        return None

    def _figures(self, answer: str) -> list[str]:
        """Numbers that a model which is held to evidence gives and nothing has shown it, where code could. The first
        lines of the task's files do not count: numbers are made up of them."""
        run = self.run
        if self.name or not (run.engine.profile.evidence and self.evidence and CODE_TOOL in run.toolbox):
            return []
        shown = [m.content for m in self.transcript.messages if isinstance(m, Assistant | ToolResult)]
        return unseen(answer, [run.task, *shown])

    def _expected(self) -> str:
        """What the task wants and nothing has made; told once, as a file may be named for another reason."""
        if self.name or not self.run.unmade:
            return ""
        names, self.run.unmade = ", ".join(sorted(self.run.unmade)), set()
        self.surprise = True
        return f"The task names {names}, and nothing that was run has made it. Make it, or say why not."

    def _in_one(self) -> bool:
        """Whether the last turn ran code that was to do the whole task at once, as a late plan lets it try."""
        last = self.transcript.messages[-1]
        late = self.run.engine.profile.plan == "late" and not self.name and not self.plans
        return late and isinstance(last, ToolResult) and last.name == CODE_TOOL

    def _anew(self, hint: str) -> None:
        """Begin again, as small models copy the code that they see, with its mistake; the whole task with a plan."""
        kind, why, force = Kind.REPAIR, "failures in a row", None
        if self._in_one():
            kind, why, force = Kind.PLAN, "no code for all of it works", PLAN.name
        self.transcript = self.start
        self._tell(hint, kind, why, force)

    def _again(self, hint: str, kind: Kind, why: str, force: str | None = None) -> None:
        """Ask for an answer that can be used, and for no more than `RETRIES`."""
        self.retries += 1
        self._tell(hint, kind, why, force or self.force)

    def _tell(self, hint: str, kind: Kind, why: str, force: str | None = None) -> None:
        """Branch off before the last message, which now carries a hint; the history itself is never edited."""
        *earlier, last = self.transcript.messages
        match last:
            case ToolResult():
                last = replace(last, content=f"{last.content}\n\n{hint}")
            case User():
                last = User(f"{last.content}\n\n{hint}")
            case _:
                raise TypeError(f"a turn follows a task or a tool result, not {last!r}")
        self.transcript = Transcript((*earlier, last))
        self._next(kind, why)
        self.force = force

    # --- a turn with calls -------------------------------------------------------------------

    async def _act(self, calls: tuple[ToolCall, ...]) -> AsyncGenerator[Event, None]:
        """Carry out calls side by side, and append their results in the order of the calls."""
        reply = self.reply
        self.transcript = self.transcript.append(Assistant(reply.content, calls, reply.reasoning))
        self._next(Kind.CALL, "go on")
        finished: dict[str, CallFinished] = {}
        async with aclosing(run_ready(dict.fromkeys(range(len(calls)), ()), lambda n: self._call(calls[n]))) as events:
            async for event in events:
                if isinstance(event, CallFinished) and event.branch == self.name:
                    finished[event.call_id] = event
                yield event
        self.transcript = self.transcript.append(
            *(ToolResult(call.id, call.name, finished[call.id].content, finished[call.id].ok) for call in calls)
        )
        self._judge([self.results[call.name, call.arguments] for call in calls])  # without what was added as a hint

    def _judge(self, finished: list[CallFinished]) -> None:
        """Let what came back choose the next turn's mode."""
        profile = self.run.engine.profile
        outputs = [result.content for result in finished if result.ok]
        unsaid = self._in_one() and bool(outputs) and outputs[-1].startswith((SILENT, WRITTEN))
        if outputs and not unsaid:
            self.failures, self.surprise, self.evidence = 0, False, outputs[-1]
            if self.name and profile.step == "output":
                self.outcome = Outcome(True, f"{self.reply.content.strip()}\nOutput:\n{self.evidence}")
            elif self._in_one():
                self._tell(prompt("results", results="", task=self.run.task).strip(), Kind.ANSWER, "the code ran")
        else:
            self.failures += 1
            self.surprise = self.surprise or finished[0].name == PLAN.name
            if finished[0].name == PLAN.name and self.kind is Kind.CALL and not self.name:
                self._next(Kind.PLAN, "that plan cannot be carried out")
                self.force = PLAN.name if profile.plan == "late" else None
        error = SILENT if unsaid else finished[-1].content.strip()
        if self.failures > FAILURES and self.name:
            self.outcome = Outcome(False, f"gave up after {self.failures} failures in a row. The last one: {error}")
        elif self.failures >= GIVE_UP:
            raise GaveUp(f"gave up after {self.failures} failures in a row. The last one: {clip(error, 500)}")
        elif self.failures >= FAILURES and ((self.name and profile.step == "output") or self._in_one()):
            last = "".join(error.splitlines()[-1:])
            self._anew(f"An attempt failed: {clip(last, 500)}")
        elif unsaid:  # asked for in words, the answer is made up
            do = f"Print the answer to the question: {self.run.task}"
            text = prompt("step_output", results="", number=2, count=2, do=do)
            self._tell(text.strip(), Kind.CALL, "nothing was printed", CODE_TOOL)
        elif self.failures >= FAILURES:
            self._next(Kind.REPAIR, f"{self.failures} failures in a row")
        elif self.repeats >= FAILURES:
            self._next(Kind.REPAIR, "repeated calls")
            self.repeats = 0

    async def _call(self, call: ToolCall) -> AsyncGenerator[Event, None]:
        own = (self.name, call.id)  # a plan's calls come by here, too
        async with aclosing(self.calls.carry_out(self.run.toolbox, call, self._dispatch)) as items:
            async for item in items:
                if isinstance(item, CallFinished) and (item.branch, item.call_id) == own:
                    yield self._remember(call, item)
                elif not isinstance(item, Outcome):
                    yield item

    async def _dispatch(self, tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        if tool.name == PLAN.name:
            if self.name:
                yield Outcome(False, "This is a step of a plan already: do it with the other tools.")
                return
            async with aclosing(self._plan(call, arguments)) as items:
                async for item in items:
                    yield item
        elif tool.name == self.run.answer_tool.name:
            yield self._answer(arguments)
        elif (before := self.results.get((call.name, call.arguments))) and _failed(before):
            self.repeats += 1
            yield Outcome(False, NOT_RUN + before.content.removeprefix(NOT_RUN))
        else:
            self.risk = self.risk or tool.effect == "outside"
            async with aclosing(self.calls.run_tool(tool, call, arguments)) as items:
                async for item in items:
                    yield item

    def _answer(self, arguments: Mapping[str, Any]) -> Outcome:
        """End this branch, unless something is missing, or the answer does not fit the output that was asked for."""
        if expected := self._expected():
            self._next(Kind.REPAIR, "not what was expected")
            return Outcome(False, expected)
        if self.run.output is None:
            self.outcome = Outcome(True, arguments["text"])
            return self.outcome
        try:
            answer = self.run.output.model_validate(arguments)
        except ValidationError as error:
            return Outcome(False, _problems(error))
        self.outcome = Outcome(True, answer.model_dump_json(), structured=True)
        return self.outcome

    def _remember(self, call: ToolCall, event: CallFinished) -> CallFinished:
        """Notice a call that gives word for word what it gave before, and a budget that nears its end."""
        key = (call.name, call.arguments)
        before = self.results.get(key)
        self.results[key] = event
        if event.ok and call.name != PLAN.name:
            self.run.unmade = {name for name in self.run.unmade if name not in event.content}
        hints = ""
        if before is not None and event.ok and before.content == event.content:
            self.repeats += 1
            hints = "\n(The same call gave the same result before. Use it, or do something else.)"
        hints += self.ledger.warning()
        return replace(event, content=event.content + hints) if hints else event

    # --- plans -------------------------------------------------------------------------------

    async def _plan(self, call: ToolCall, arguments: Mapping[str, Any]) -> Items:
        """Run a plan's steps, each in a branch behind the plan; their results are the plan's result."""
        try:
            plan = Plan.model_validate(arguments)
        except ValidationError as error:
            yield Outcome(False, _problems(error))
            return
        if self.run.engine.profile.step == "output":
            plan = plan.model_copy(update={"steps": (*plan.steps, self._last_step(plan))})
        self.run.plan = plan
        yield self.run.recorder.say(PlanMade(plan))
        outcomes: dict[int, Outcome] = {}
        troubled = False
        async with aclosing(
            run_ready(
                {n: plan.needs(n) for n in range(1, len(plan.steps) + 1)},
                lambda n: self._step(call, plan, n, outcomes),
            )
        ) as events:
            async for event in events:
                troubled = troubled or (isinstance(event, CallFinished) and not event.ok)
                yield event
        ok = all(outcome.ok for outcome in outcomes.values())
        self.plans += 1
        if ok and troubled:
            self._next(Kind.REVIEW, "all steps succeeded, some not at once")
        elif ok:
            self._next(Kind.ANSWER, "all steps succeeded")
        elif self.run.engine.profile.plan == "late" and self.plans < PLANS:
            self._next(Kind.PLAN, "a step failed")
            self.force = PLAN.name
        else:
            self._next(Kind.REPAIR, "a step failed")
        yield Outcome(ok, prompt("results", results=_listed(plan, outcomes), task=self.run.task))

    def _last_step(self, plan: Plan) -> Step:
        """A small model misreads a table of results, and forgets a file; code that prints the answer does not."""
        named = file_names(self.run.task) - set(self.run.files)
        forgotten = sorted(name for name in named if not any(name in step.do for step in plan.steps))
        write = f"Write {', '.join(forgotten)} and print" if forgotten else "Print"
        return Step(do=f"{write} the answer to the question: {self.run.task}")

    async def _step(
        self, call: ToolCall, plan: Plan, number: int, outcomes: dict[int, Outcome]
    ) -> AsyncGenerator[Event, None]:
        do, needs = plan.steps[number - 1].do, plan.needs(number)
        say = self.run.recorder.say
        yield say(StepStarted(number, do))
        if failed := [n for n in needs if not outcomes[n].ok]:
            outcomes[number] = Outcome(False, f"not done, because step {failed[0]} failed")
        else:
            results = _listed(plan, {n: outcomes[n] for n in needs})
            name = "step" if self.run.engine.profile.step == "report" else "step_output"
            text = prompt(name, task=self.run.task, number=number, count=len(plan.steps), do=do, results=results)
            branch = Branch(
                self.run,
                str(number),
                self.transcript.append(ToolResult(call.id, call.name, text)),
                Kind.CALL,
                "a step",
            )
            try:
                async with aclosing(branch.loop()) as events:
                    async for event in events:
                        yield event
            except StepSpent as spent:
                branch.outcome = Outcome(False, f"gave up: {spent}. Last output: {branch.evidence or branch.partial}")
            outcomes[number] = branch.outcome or Outcome(False, branch.partial)
        ended = say(StepFinished(number, outcomes[number].ok, outcomes[number].answer))
        outcomes[number] = Outcome(ended.ok, ended.result)
        yield ended


def _problems(error: ValidationError) -> str:
    """A pydantic error as the model reads it: path, what is wrong, what came."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"]) or "arguments"
        lines.append(f"{path}: {problem['msg']}, got {problem['input']!r:.80}")
    return "\n".join(lines)


def _listed(plan: Plan, outcomes: Mapping[int, Outcome]) -> str:
    """Steps and their results as the model reads them."""
    return "\n".join(
        f"Step {n}: {plan.steps[n - 1].do}\n{'Result' if outcome.ok else 'FAILED'}: {clip(outcome.answer, 2000)}\n"
        for n, outcome in sorted(outcomes.items())
    )


def _failed(before: CallFinished) -> bool:
    """Whether it is known to have gone wrong; one in doubt may be called again, once the model has looked."""
    return not before.ok and before.content != IN_DOUBT


def _says_nothing(reply: Reply) -> bool:
    """An empty text, or a code fence around nothing, as a small model may write instead of its first call."""
    return _NOTHING.fullmatch(reply.content.strip()) is not None


def _said(reply: Reply) -> tuple[Assistant, ...]:
    """The reply as history; nothing when it is empty, as an empty turn breaks templates (EXAONE 4.0 drops its tags)."""
    return (Assistant(reply.content, (), reply.reasoning),) if reply.content.strip() else ()
