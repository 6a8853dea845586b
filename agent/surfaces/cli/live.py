"""A run on the terminal: what is finished goes into the scrollback, what is under way is redrawn below it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

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
from fastslow.agent.plan import OWN, Plan
from fastslow.agent.surfaces.cli.blocks import (
    FOLDED_OUTPUT,
    FOLDED_THOUGHTS,
    branch_label,
    call_heading,
    change_lines,
    check_line,
    code_of,
    event_line,
    file_lines,
    join_dots,
    last_lines,
    mode_badge,
    turn_heading,
    usage_table,
    visible_text,
)
from fastslow.agent.surfaces.cli.text import clean, one_line, seconds

FRAMES = 4  # a second; the model's own server may run on the same cores
KEPT = 8000  # characters of a text that are kept to draw its end
LONGEST_LINE = 1000  # characters of what is redrawn as one line; beyond any terminal's width
LONGEST_MARKDOWN = 20_000  # characters; a parser of it takes seconds for longer ones that were made to
SHOWN_CALLS = 20  # of those that one piece of code makes; the rest is counted
_MARKS = {"waiting": ("·", "dim"), "running": ("▸", "yellow"), "done": ("✓", "green"), "failed": ("✗", "red")}


class View(Protocol):
    """Shows a run. Used with `with`."""

    def show(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(slots=True)
class Activity:
    """A turn that is being generated, or a call that runs. code_end: what of its code may be redrawn."""

    title: Text
    thinking: str = ""
    text: str = ""
    code: Text | None = None
    code_end: Text | None = None
    branch: str = ""
    started: float = field(default_factory=time.monotonic)


class RunView:
    """Shows events: on a terminal the plan and all that is under way stay visible; elsewhere, plain lines."""

    def __init__(self, console: Console, *, show_thinking: bool = False) -> None:
        self._console = console
        self._show_thinking = show_thinking
        self._interactive = console.is_terminal and not console.is_dumb_terminal
        self._plan: Plan | None = None
        self._headlines: list[str] = []  # of the plan, and of its steps
        self._steps: dict[int, str] = {}
        self._active: dict[str, Activity] = {}
        self._calls_of: Counter[str] = Counter()  # by the call whose code made them
        self._turns: list[TurnFinished] = []
        self._pending_answer = ""
        self._plan_carried_out = False
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=FRAMES, transient=True)

    def __enter__(self) -> Self:
        if self._interactive:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop redrawing for as long: somebody is asked a question."""
        self._live.stop()
        try:
            yield
        finally:
            if self._interactive:
                self._live.start()

    def show(self, event: Event) -> None:
        """Show one event of the run."""
        if self._pending_answer and not isinstance(event, RunFinished):
            self._print(Text(self._pending_answer), indent=2)
            self._pending_answer = ""
        match event:
            case TurnStarted() | TurnDelta() | TurnFinished():
                self._show_turn(event)
            case CallStarted() | CallOutput() | CallFinished():
                self._show_call(event)
            case CallDisplay() | Compacted() | Consent() | NetworkUsed():
                self._print(event_line(event), indent=2)
            case PlanMade() | StepStarted() | StepFinished():
                self._show_step(event)
            case CheckStarted() | CheckFinished():
                self._show_check(event)
            case RunStarted():
                self._print(Text(clean(event.task).strip(), "bold"))
                follows = (f"after {event.after}",) if event.after else ()
                project = (f"a copy of {Path(event.tree.root).name}",) if event.tree else ()
                about = join_dots(event.model, f"profile {event.profile}", *project, *event.files, *follows)
                self._print(Text(one_line(about), "dim"))
            case RunResumed():
                before = f"{event.turns} turn{'' if event.turns == 1 else 's'} and {seconds(event.seconds)}"
                self._print(Text(f"↻ resumed after {before}, of which nothing is done again", "dim"))
            case Notice():
                self._print(Text(f"! {one_line(event.text)}", "yellow"))
            case RunFinished():
                self._live.stop()
                self._show_result(event.result)

    # --- events --------------------------------------------------------------------------------

    def _show_turn(self, event: TurnStarted | TurnDelta | TurnFinished) -> None:
        key = f"turn {event.turn}"
        match event:
            case TurnStarted():
                where = join_dots(key, branch_label(event.branch))
                why = _headline(event.reason)
                title = Text.assemble((f"{where} ", "bold"), mode_badge(event.mode), (f"  {why}", "dim"))
                self._active[key] = Activity(title, branch=event.branch)
            case TurnDelta():
                activity = self._active.setdefault(key, Activity(Text(key)))
                if event.kind == "thinking":
                    activity.thinking = (activity.thinking + event.text)[-KEPT:]
                else:
                    activity.text = (activity.text + event.text)[-KEPT:]
            case TurnFinished():
                self._active.pop(key, None)
                self._turns.append(event)
                self._print(turn_heading(event))
                self._print_thoughts(event.reply.reasoning)
                if event.branch or event.reply.calls:
                    self._print(Text(visible_text(event.reply)), indent=2)
                else:  # most likely the answer, which the end shows in full
                    self._pending_answer = visible_text(event.reply)

    def _show_call(self, event: CallStarted | CallOutput | CallFinished) -> None:
        match event:
            case CallStarted() if event.parent or event.call.name not in OWN:
                title = Text("tools.") if event.parent else Text()
                title.append_text(call_heading(event.call, event.arguments))
                if event.branch:
                    title.append(f"  {branch_label(event.branch)}", "dim")
                code = code_of(event.arguments)
                end = code[-KEPT:] if code and len(code) > KEPT else code
                self._active[event.call.id] = Activity(title, code=code, code_end=end)
            case CallStarted():
                self._plan_carried_out = False
            case CallOutput() if event.call_id in self._active:
                activity = self._active[event.call_id]
                activity.text = (activity.text + event.text)[-KEPT:]
            case CallFinished() if event.parent:
                called = self._active.pop(event.call_id, None)
                self._calls_of[event.parent] += 1
                if self._calls_of[event.parent] <= SHOWN_CALLS:
                    self._print(self._call_line(event, called), indent=4)
            case CallFinished():
                shown_already = event.ok or (event.name == "plan" and self._plan_carried_out)
                if event.name not in OWN or not shown_already:
                    self._print_call(event, self._active.pop(event.call_id, None))

    def _show_step(self, event: PlanMade | StepStarted | StepFinished) -> None:
        match event:
            case PlanMade():
                self._plan, self._plan_carried_out = event.plan, True
                self._headlines = [_headline(text) for text in (event.plan.goal, *(s.do for s in event.plan.steps))]
                self._steps = dict.fromkeys(range(1, len(event.plan.steps) + 1), "waiting")
                self._print(Text(f"Plan: {one_line(event.plan.goal)}", "bold"))
                for number, step in enumerate(event.plan.steps, 1):
                    needs = f"  (after {', '.join(map(str, step.after))})" if step.after else ""
                    self._print(Text(f"{number} {one_line(step.do)}{needs}"), indent=2)
            case StepStarted():
                self._steps[event.step] = "running"
                self._print(Text.assemble(("▸ ", "yellow"), f"step {event.step}: {one_line(event.do)}"))
            case StepFinished():
                for key in [key for key, active in self._active.items() if active.branch == str(event.step)]:
                    del self._active[key]  # a turn that the step's time did not suffice for
                self._steps[event.step] = "done" if event.ok else "failed"
                mark, style = _MARKS[self._steps[event.step]]
                outcome = "done" if event.ok else f"failed: {one_line(event.result)[:300]}"
                self._print(Text.assemble((f"{mark} ", style), f"step {event.step} {outcome}"))

    def _show_check(self, event: CheckStarted | CheckFinished) -> None:
        title = Text.assemble(("check ", "bold cyan"), (one_line(event.command), "cyan"))
        if isinstance(event, CheckStarted):
            self._active["check"] = Activity(title)
            return
        self._active.pop("check", None)
        self._print(check_line(event, title), indent=2)
        if event.verdict != "green":
            _, text = last_lines(clean(event.output).strip("\n"), FOLDED_OUTPUT)
            self._print(Text(text, "dim"), indent=4)

    # --- what goes into the scrollback ---------------------------------------------------------

    def _print(self, text: RenderableType, indent: int = 0) -> None:
        """Into the scrollback. Where there is no terminal, lines are not wrapped: a program may read them."""
        if isinstance(text, Text) and not text.plain:
            return
        if self._interactive:
            self._console.print(Padding(text, (0, 0, 0, indent), expand=False) if indent else text)
        elif isinstance(text, Text):
            for line in text.split("\n"):
                self._console.print(Text(" " * indent) + line, soft_wrap=True)
        else:
            self._console.print(text)

    def _print_thoughts(self, reasoning: str) -> None:
        text = clean(reasoning).strip()
        if not self._show_thinking:
            wrapped = "\n".join(line.plain for line in self._wrapped(Text(text), 2) if line.plain.strip())
            left_out, text = last_lines(wrapped, FOLDED_THOUGHTS)
            note = f"… {left_out} lines of thinking folded (--show-thinking)" if left_out else ""
            self._print(Text(note, "dim"), indent=2)
        self._print(Text(text, "dim italic"), indent=2)

    def _call_line(self, event: CallFinished, activity: Activity | None) -> Text:
        mark, style = _MARKS["done" if event.ok else "failed"]
        title = activity.title if activity else Text(one_line(event.name))
        return Text.assemble((f"{mark} ", style), title, (f"  {seconds(event.seconds)}", "dim"))

    def _print_call(self, event: CallFinished, activity: Activity | None) -> None:
        more = self._calls_of.pop(event.call_id, 0) - SHOWN_CALLS
        if more > 0:
            self._print(Text(f"… {more:,} more calls by its code", "dim"), indent=4)
        self._print(self._call_line(event, activity), indent=2)
        if activity and activity.code:
            self._print(activity.code, indent=4)
        left_out, text = last_lines(clean(event.content).strip("\n"), FOLDED_OUTPUT)
        note = f", {left_out} more lines above" if left_out else ""
        self._print(Text(f"— output{note} —", "dim"), indent=4)
        self._print(Text(text, "dim" if event.ok else "red"), indent=4)

    def _show_result(self, result: Result) -> None:
        answer = clean(result.answer).strip()
        if self._pending_answer != answer:
            self._print(Text(self._pending_answer), indent=2)
        if answer:
            heading = "Answer" if result.exit is Exit.ANSWERED else "Partial answer"
            self._print(Text(f"\n{heading}", "bold underline"))
            self._print(self._markdown(answer) if self._interactive else Text(answer))
        if result.files:
            self._print(Text("\nFiles made", "bold underline"))
            self._print(file_lines(result.files))
        if result.changes is not None:
            self._print(Text("\nChanges", "bold underline"))
            self._print(change_lines(result.changes, self._console.width))
            if result.check:
                title = Text.assemble(("check ", "bold"), one_line(result.check.command))
                self._print(check_line(result.check, title))
        if self._turns:
            self._print(Text("\nTokens", "bold underline"))
            self._print(usage_table(self._turns, result.usage, self._console.width))
        answered = result.exit is Exit.ANSWERED
        if answered and result.only_denied:
            self._print(Text("\n! It did nothing: what it called was denied, so the exit status is not 0.", "yellow"))
        outcome = "answered" if answered else f"{result.exit}: {one_line(result.reason)}"
        mark = Text("✓ ", "green") if answered else Text("✗ ", "red")
        self._print(Text("\n") + mark + Text(f"{outcome} ({seconds(result.seconds)})"))
        self._print(Text("\n".join(self.next_lines(result)), "dim"))

    def next_lines(self, result: Result) -> list[str]:
        """What one may type next."""
        run = one_line(result.run)
        lines = [] if result.exit is Exit.ANSWERED else [f"Go on from here: fastslow resume {run}"]
        return lines + (
            [f"Look at it: fastslow diff {run}", f"Apply it:   fastslow apply {run}"] * bool(result.changes)
        )

    def _markdown(self, text: str) -> RenderableType:
        from rich.markdown import Markdown

        if len(text) > LONGEST_MARKDOWN:
            return Text(text)
        return Markdown(text, hyperlinks=False)  # a link's address is shown, not hidden behind its text

    # --- what is redrawn -----------------------------------------------------------------------

    def render(self) -> Group:
        """The plan with its marks, then each turn and call that is under way, cut to the terminal's height."""
        width, height = self._console.width, self._console.height - 1
        active = list(self._active.values())[:height]  # as each takes a line
        lines = [Text("─" * width, "dim")] if self._plan or active else []
        lines += self._checklist(width, max(3, height // 3))
        for number, activity in enumerate(active):
            rows = (height - len(lines)) // (len(active) - number)
            lines += self._activity_lines(activity, width, max(1, rows))
        return Group(*lines[:height])

    def _checklist(self, width: int, rows: int) -> list[Text]:
        if self._plan is None:
            return []
        steps = list(self._steps.items())
        # A long plan scrolls with what is done: one finished step stays above the first open one.
        opened = next((n for n, (_, state) in enumerate(steps) if state in ("waiting", "running")), len(steps))
        start = max(0, min(opened - 1, len(steps) - rows + 1))
        lines = [Text(f"Plan: {self._headlines[0]}", "bold")]
        for number, state in steps[start : start + rows - 1]:
            mark, style = _MARKS[state]
            lines.append(Text.assemble((f" {mark} ", style), f"{number} {self._headlines[number]}"))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines

    def _activity_lines(self, activity: Activity, width: int, rows: int) -> list[Text]:
        elapsed = seconds(time.monotonic() - activity.started)
        title = Text.assemble(("▸ ", "yellow"), activity.title)
        title.truncate(max(1, width - len(elapsed) - 2), overflow="ellipsis")
        title.append(f"  {elapsed}", "cyan")
        title.truncate(width)
        body: list[Text] = []
        if activity.thinking:
            thoughts = self._wrapped(Text(clean(activity.thinking).strip(), "dim italic"), 4)
            body += thoughts if self._show_thinking else thoughts[-FOLDED_THOUGHTS:]
        if activity.code_end:
            body += self._wrapped(activity.code_end, 4)
        if activity.text:
            body += self._wrapped(Text(clean(activity.text).strip("\n"), "dim" if activity.code else ""), 4)
        tail = body[-(rows - 1) :] if rows > 1 else []
        return [title, *(Text("    ") + line for line in tail)]

    def _wrapped(self, text: Text, indent: int) -> list[Text]:
        """The text's lines as they fit the terminal behind an indent."""
        if not text.plain:
            return []
        return list(text.wrap(self._console, max(10, self._console.width - indent)))


def _headline(text: str) -> str:
    """As much of a text on one line as can be seen of it where that is redrawn."""
    return one_line(text[: 2 * LONGEST_LINE])[:LONGEST_LINE]
