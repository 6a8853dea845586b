"""For very small models (1.5B was measured), which write good code for small things and lose themselves in large ones.

Each rule is here because taking it out costs answers (docs/modes.md has the measurements):

- **The first look**: where no code runs, one token tells how sure the model is of a tool, and decides whether it calls.
- **A late plan**: the whole task is tried in one piece of code, and answered from what that printed. Only where no such
  code worked must the model plan, and begins again without seeing what failed: it would copy that.
- **Verbs**: a step of a plan begins with a word that makes something, held by the server's grammar; else a small model
  cuts a task into steps like "read the file", which have no result.
- **Steps end with output**: the code of the first call that printed something, and what it printed, are the result of
  a step. Asked to retell it, the model runs the same code until its turns are used up. A last step is added to each
  plan, since it misreads a table of results, and forgets a file that the task names.
- **Code that must print**: behind code that printed nothing the block of code is opened for it; in words, the model
  makes the answer up.
- **A clean start**: two failures in a row take a step back to where it began, with the last error in one line.
- **Evidence**: a step that ran nothing has no answer.
- **Missing files**: one that the task names and nothing has written is asked for once, with code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastslow.agent.engine.fenced import CODE_TOOL
from fastslow.agent.engine.types import ANY, NO_CALL, Reply
from fastslow.agent.events import CallFinished, CheckFinished
from fastslow.agent.modes import Kind
from fastslow.agent.plan import PLAN, Plan, Step, plan_tool
from fastslow.agent.prompts import prompt, template
from fastslow.agent.strategy.common import FAILURES, RETRIES, after_check, is_usable, unformed, unusable
from fastslow.agent.strategy.free import after_plan
from fastslow.agent.strategy.strategy import Done, Move, Next, State
from fastslow.agent.transcript import Assistant, ToolResult
from fastslow.tools import Tool

SURE = 0.985  # of a tool, at the first look: 57 of 63 tasks of seed 1 of single, chat and bfcl (docs/modes.md)
PLANS = 2  # plans that the model must make before it answers with what it has
VERBS = ("Compute", "Count", "Plot", "Save")
THOUGHTS = {Kind.PLAN: "The user asks for these things:\n1.", Kind.REPAIR: "The last attempt failed because"}
_FILE = re.compile(r"\b[\w-]{1,128}\.(?:csv|html|json|md|parquet|pdf|png|svg|txt|xlsx)\b")


class Guided:
    """Leads a small model by the hand."""

    shares_history = False
    step_prompt = "step_output"
    failed_prompt = "results"

    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        """`plan` and `python`: small models do better with few tools."""
        python = tuple(tool for tool in builtin if tool.name == CODE_TOOL)
        return (plan_tool(VERBS), *python) if python else ()

    def system(self, code: bool) -> str:
        return template("fenced" if code else "calls")

    def plan(self, plan: Plan, state: State) -> Plan:
        """The plan with a last step that prints the answer, and writes the files that no step names."""
        named = set(_FILE.findall(state.task)) - set(state.files)
        forgotten = sorted(name for name in named if not any(name in step.do for step in plan.steps))
        write = f"Write {', '.join(forgotten)} and print" if forgotten else "Print"
        last = Step(do=f"{write} the answer to the question: {state.task}")
        return plan.model_copy(update={"steps": (*plan.steps, last)})

    def first(self, state: State) -> Next:
        if state.step:
            return Next(Kind.CALL, "a step")
        if state.tools and CODE_TOOL not in state.tools:
            return Next(Kind.TRIAGE, "first look")
        return _next(Kind.PLAN, "first turn")

    def after_text(self, state: State, reply: Reply) -> Move:
        if state.kind is Kind.TRIAGE:
            return _after_first_look(state)
        if again := unusable(state, reply):
            return again
        if state.asked < RETRIES:
            if state.kind is Kind.PLAN and reply.reasoning:  # its words go on in the thoughts' sentence
                return _next(Kind.CALL, "said again, without thoughts")
            if state.step and not _any_call_succeeded(state):
                hint = "Nothing was run yet. Run code first, then report its output."
                return _next(Kind.CALL, "nothing was run", hint=hint, force=CODE_TOOL)
            if _ran_code_for_all(state) and not _any_code_printed(state):
                return _plan_afresh("Code that was run for this did not work.")
            if missing := _missing_files(state):
                hint = _step_prompt(f"Save {missing} as the task wants it: {state.task}")
                return _next(Kind.CALL, "a file of the task is not there", hint=hint, force=CODE_TOOL, mark="missing")
        if again := unformed(state, reply):
            return again
        proven = _any_call_succeeded(state) or not (state.step or state.plans)
        return Done(reply.content.strip(), is_usable(reply) and proven)

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        if results[0].name == PLAN.name and not state.step:  # within a step it is refused, and failed as any call
            failed = not results[0].ok and state.plans < PLANS
            after = after_plan(state, results[0])
            return _next(Kind.PLAN, after.why, force=PLAN.name) if failed else _next(after.kind, after.why)
        if _ran_code_for_all(state):
            return _after_code(state)
        if state.step:
            return _after_step(state)
        if state.failures >= FAILURES:
            return _next(Kind.REPAIR, f"{state.failures} turns in a row failed")
        if state.repeats >= FAILURES:
            return _next(Kind.REPAIR, "repeated calls")
        return _next(Kind.CALL, "go on")

    def after_check(self, state: State, done: Done, checks: tuple[CheckFinished, ...]) -> Move:
        return after_check(done, checks)


def _next(kind: Kind, why: str, **rest: Any) -> Next:
    return Next(kind, why, opening=THOUGHTS.get(kind, ""), **rest)


def _after_first_look(state: State) -> Next:
    """Call if the model that begins a call names an offered tool, for sure, else answer: with none that fits, it would
    rather make one up. Which tool it is does not matter, as several may be wanted."""
    if state.sure is None:
        return Next(Kind.CALL, "the server gives no probabilities")
    if state.sure >= SURE:
        return Next(Kind.CALL, f"{state.sure:.1%} sure of a tool", force=ANY)
    return Next(Kind.ANSWER, f"{state.sure:.1%} sure of a tool, so it answers", force=NO_CALL)


def _after_step(state: State) -> Move:
    """A step is over with the first call that did what it is for; failures take it back to its beginning, once."""
    turn = state.turns[-1]
    if done := [result for result in turn if result.ok]:
        code = state.transcript.messages[-1 - len(turn)]
        said = code.content.strip() if isinstance(code, Assistant) else ""
        return Done(f"{said}\nOutput:\n{done[-1].content}")
    if "restarted" in state.marks:
        last = turn[-1].content.strip()
        return Done(f"gave up after {FAILURES + 1} failures in a row. The last one: {last}", ok=False)
    if len(state.turns) < FAILURES:
        return _next(Kind.CALL, "go on")
    return _next(Kind.REPAIR, "failures in a row", hint=_failure_hint(turn[-1]), restart=True, mark="restarted")


def _demand_printing(state: State) -> Next:
    """Ask for code that prints; in words, the answer is made up."""
    do = f"Print the answer to the question: {state.task}"
    return _next(Kind.CALL, "nothing was printed", hint=_step_prompt(do), force=CODE_TOOL)


def _step_prompt(do: str) -> str:
    return prompt("step_output", results="", number=2, count=2, do=do).strip()


def _failure_hint(last: CallFinished) -> str:
    return f"An attempt failed: {''.join(last.content.strip().splitlines()[-1:])[:500]}"


def _after_code(state: State) -> Next:
    """The whole task was tried in one piece of code."""
    last = state.turns[-1][-1]
    if last.ok and (not last.silent or "missing" in state.marks):
        results = prompt("results", results="", task=state.task).strip()
        return _next(Kind.ANSWER, "the code ran", hint=results)
    if len(state.turns) >= FAILURES:
        return _plan_afresh(_failure_hint(last))
    return _demand_printing(state) if last.ok else _next(Kind.CALL, "go on")


def _plan_afresh(hint: str) -> Next:
    return _next(Kind.PLAN, "no code for all of it works", force=PLAN.name, hint=hint, restart=True)


def _ran_code_for_all(state: State) -> bool:
    """Whether the last turn ran code that was to do the whole task at once."""
    last = state.transcript.messages[-1]
    return not state.step and not state.plans and isinstance(last, ToolResult) and last.name == CODE_TOOL


def _any_code_printed(state: State) -> bool:
    return any(result.ok and not result.silent for turn in state.turns for result in turn)


def _any_call_succeeded(state: State) -> bool:
    return any(result.ok for turn in state.turns for result in turn)


def _missing_files(state: State) -> str:
    """Files that the task names and the run has not made; asked about once, as one may be named for another reason."""
    if state.step or "missing" in state.marks or CODE_TOOL not in state.tools:
        return ""
    named = set(_FILE.findall(state.task)) - set(state.files)
    return ", ".join(sorted(named - {path.rpartition("/")[2] for path in state.made}))
