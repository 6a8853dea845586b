"""What lifts a small model: everything that the framework does for one, and the same without one part each.

    python -m benchmarks.ablation [--n 20] [--seed 2] [--at-once 4] [--out FOLDER]

Needs the server of `fastslow up`. A part that is data in the profile is taken out there, a rule of the strategy
by a strategy without it; what is neither has no setting, so its function is replaced here.

A prompt that was answered once gets the same answer again: two arms differ from the turn on in which the part that was
taken out first mattered, and by nothing before. An arm costs what it does otherwise than the first. Answers are kept
beside the rows; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import TypeAdapter

from fastslow import VLLM, CallFinished, Kind, ModePolicy, Tool
from fastslow.agent.budget import Budget
from fastslow.agent.engine.fenced import CODE_TOOL
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.profiles.instruct import INSTRUCT
from fastslow.agent.engine.types import Delta, Reply, Request
from fastslow.agent.engine.wire import encode_request
from fastslow.agent.evals.evaluate import Arm, Setting, evaluate
from fastslow.agent.evals.report import markdown, picture, summaries
from fastslow.agent.evals.rows import Row, Summary, append, grouped, paired, read
from fastslow.agent.evals.suites import SUITES
from fastslow.agent.loop import Branch
from fastslow.agent.plan import PLAN, plan_tool
from fastslow.agent.strategy import STRATEGIES, Guided, Move, Next, State
from fastslow.agent.strategy.guided import VERBS
from fastslow.agent.surfaces.cli.text import clean, one_line
from fastslow.sandbox import DockerSandbox, Execution
from fastslow.tools.builtin import python
from fastslow.tools.builtin.execution import outcome_of

ALL = "all of it"
REPLY = TypeAdapter(Reply)
TURNS = 12  # of a run: of 32 right ones on seed 2 none took more (benchmarks/results/workflows)


@dataclass(frozen=True, slots=True)
class Without:
    """One part taken out. profile: by what is changed in the profile. code: by what is replaced meanwhile."""

    name: str
    profile: Mapping[str, Any] = field(default_factory=dict)
    policy: ModePolicy | None = None
    code: Callable[[], AbstractContextManager[Any]] = nullcontext


def _executions(change: Callable[[Execution], Execution]) -> AbstractContextManager[Any]:
    """The model is told of executions as if they had been another way."""

    def changed(execution: Execution, *rest: Any) -> Any:
        return outcome_of(change(execution), *rest)

    return patch.object(python, "outcome_of", changed)


def _no_value() -> AbstractContextManager[Any]:
    return _executions(lambda execution: replace(execution, value=None))


def _no_error_text() -> AbstractContextManager[Any]:
    return _executions(lambda execution: replace(execution, error="Error." if execution.error else ""))


def _no_hints() -> AbstractContextManager[Any]:
    return patch.object(Branch, "_last_if_unchanged", lambda branch, call: None)


def _no_preview() -> AbstractContextManager[Any]:
    return patch("fastslow.agent.workspace._preview", lambda head: "")


def _guided(strategy: type[Guided]) -> Callable[[], AbstractContextManager[Any]]:
    """The strategy of small models is another one meanwhile."""
    return lambda: patch.dict(STRATEGIES, {"guided": strategy()})


class AllTools(Guided):
    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        return (plan_tool(VERBS), *builtin) if builtin else ()


class AnyWords(Guided):
    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        return (PLAN, *(tool for tool in builtin if tool.name == CODE_TOOL)) if builtin else ()


class PlanFirst(Guided):
    def first(self, state: State) -> Next:
        begun = super().first(state)
        return replace(begun, force=PLAN.name) if begun.kind is Kind.PLAN else begun


class WordsEndSteps(Guided):
    step_prompt = "step"

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        return Next(Kind.CALL, "go on") if state.step else super().after_calls(state, results)


class NothingForced(Guided):
    def after_text(self, state: State, reply: Reply) -> Move:
        return _unforced(super().after_text(state, reply))

    def after_calls(self, state: State, results: tuple[CallFinished, ...]) -> Move:
        return _unforced(super().after_calls(state, results))


def _unforced(move: Move) -> Move:
    return replace(move, force=None) if isinstance(move, Next) and move.force == CODE_TOOL else move


PARTS = (
    Without(ALL),
    Without("no thinking", policy=ModePolicy(INSTRUCT.rules, "never")),
    Without("code as a JSON string", {"code": "json", "extra_kwargs": {}}),
    Without("all tools offered", code=_guided(AllTools)),
    Without("no last value", code=_no_value),
    Without("no error text", code=_no_error_text),
    Without("no hints at repeated calls", code=_no_hints),
    Without("a plan before any code", code=_guided(PlanFirst)),
    Without("any words in a plan", code=_guided(AnyWords)),
    Without("steps end with words", code=_guided(WordsEndSteps)),
    Without("no first lines of files", code=_no_preview),
    Without("code asked for, not forced", code=_guided(NothingForced)),
)


class Remembering(VLLM):
    """A server whose answers are kept in a file, and given again to the same request."""

    def __init__(self, profile: Profile, path: Path) -> None:
        super().__init__(profile=profile)
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self._replies = {key: REPLY.validate_json(reply) for key, _, reply in (line.partition(" ") for line in lines)}

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        await self.connect()
        sent = json.dumps(encode_request(request, self.profile, self.model, 1 << 20, budgeted=True))
        key = hashlib.sha256(sent.encode()).hexdigest()
        if key in self._replies:
            yield self._replies[key]
            return
        async with aclosing(super().stream(request)) as items:
            async for item in items:
                if isinstance(item, Reply):
                    self._replies[key] = item
                    with self._path.open("ab") as file:
                        file.write(b"%s %s\n" % (key.encode(), REPLY.dump_json(item)))
                yield item


async def _run(suite: str, n: int, seed: int, at_once: int, out: Path) -> None:
    cases, path = SUITES[suite](seed)[:n], out / "rows.jsonl"
    ids = {case.id for case in cases}
    rows = [row for row in read(path) if row.case in ids and row.seed == seed]
    done = {row.key for row in rows}
    sandbox = DockerSandbox()
    for part in PARTS:
        engine = Remembering(replace(INSTRUCT, **part.profile), out / "replies.txt")
        setting = Setting(engine, sandbox, Budget(turns=TURNS), seed, at_once)
        with part.code():
            async with aclosing(evaluate(setting, cases, [Arm(part.name, part.policy)], done=done)) as measured:
                async for row in measured:
                    append(path, row)
                    rows.append(row)
                    wrong = one_line(row.wrong[:500])[:80] or "right"
                    print(f"{len(rows)}/{len(cases) * len(PARTS)}  {row.arm:28} {row.case:24} {wrong}")
        await engine.aclose()
        _write(rows, out)
    await sandbox.aclose()


def _write(rows: list[Row], out: Path) -> None:
    """Table and picture of what is done, in the order of the parts."""
    order = [part.name for part in PARTS]
    rows.sort(key=lambda row: order.index(row.arm))
    (out / "table.md").write_text(table(rows), "utf-8")
    title = f"{rows[0].suite}: right of {len({row.case for row in rows})} tasks, {rows[0].model}"
    (out / "ablation.svg").write_text(picture(title, summaries(rows), spent), "utf-8")


def table(rows: Sequence[Row]) -> str:
    """A line for each change: success with it, what it costs in points, and how often chance makes such a loss."""
    by_arm = grouped(rows, "arm")
    lines = [("changed", "right", "95 % interval", "costs", "by chance in", "tokens a run")]
    for name, members in by_arm.items():
        pairs = paired(by_arm[ALL], members)
        share = pairs.other.success
        low, high = share.interval
        cost = f"{100 * (pairs.only_one - pairs.only_other) / max(1, share.of):.0f} points"
        told = ("", "") if name == ALL else (cost, f"{pairs.p_value:.0%}")
        label = "nothing" if name == ALL else name
        tokens = f"{pairs.other.thinking + pairs.other.answer:.0f}"
        lines.append((label, f"{share.right} of {share.of}", f"{low:.0%} to {high:.0%}", *told, tokens))
    return markdown(lines)


def spent(one: Summary) -> str:
    """Turns and tokens of a run. Its seconds say nothing, as some answers were known."""
    return f"{one.turns:.1f} turns   {one.thinking + one.answer:.0f} tokens"


def main() -> None:
    """Run what is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="workflows", choices=SUITES)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("fastslow-eval/ablation"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(asked.suite, asked.n, asked.seed, asked.at_once, asked.out))
    print(clean((asked.out / "table.md").read_text("utf-8")))


if __name__ == "__main__":
    main()
