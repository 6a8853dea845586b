"""What was measured of each run, a line of JSON each, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from fastslow.agent.evals.case import Case
from fastslow.agent.events import CallFinished, CallStarted, Result, TurnFinished
from fastslow.agent.folders import append_line
from fastslow.agent.plan import PLAN

Key: TypeAlias = tuple[str, str, str, int]
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Row:
    """One run of one case.

    arm: the policy that it ran under. seed: of the suite. wrong: empty when it was right. turns: calls of the model.
    prompt, cached, thinking, answer: tokens. tool_turns, tool_tokens: turns that called a tool, but for `plan`, and
    what they generated.
    calls, valid: tool calls, and those whose name was known and whose arguments fitted. think_turns: that thought.
    """

    suite: str
    group: str
    case: str
    arm: str
    repeat: int
    seed: int
    model: str
    right: bool
    wrong: str
    exit: str
    turns: int
    think_turns: int
    prompt: int
    cached: int
    thinking: int
    answer: int
    tool_turns: int
    tool_tokens: int
    calls: int
    valid: int
    seconds: float

    @property
    def key(self) -> Key:
        return (self.suite, self.case, self.arm, self.repeat)


def measured(case: Case, arm: str, repeat: int, seed: int, model: str, result: Result, wrong: str) -> Row:
    """The row of a run that ended."""
    finished = [event for event in result.events if isinstance(event, TurnFinished)]
    acting = [turn for turn in finished if turn.reply.calls and turn.reply.calls[0].name != PLAN.name]
    usages = [turn.reply.usage for turn in finished]
    calls = [event for event in result.events if isinstance(event, CallStarted) and not event.parent]
    refused = {event.call_id for event in result.events if isinstance(event, CallFinished) and _unfit(event)}
    return Row(
        suite=case.suite,
        group=case.group,
        case=case.id,
        arm=arm,
        repeat=repeat,
        seed=seed,
        model=model,
        right=not wrong,
        wrong=wrong,
        exit=str(result.exit),
        turns=len(finished),
        think_turns=sum(turn.mode.thinks for turn in finished),
        prompt=sum(usage.prompt for usage in usages),
        cached=sum(usage.cached for usage in usages),
        thinking=sum(usage.thinking for usage in usages),
        answer=sum(usage.answer for usage in usages),
        tool_turns=len(acting),
        tool_tokens=sum(turn.reply.usage.thinking + turn.reply.usage.answer for turn in acting),
        calls=len(calls),
        valid=sum(event.call.id not in refused for event in calls),
        seconds=result.seconds,
    )


def _unfit(event: CallFinished) -> bool:
    """Whether a call was not run for its name or its arguments."""
    return event.status == "refused"


def read(path: Path) -> list[Row]:
    """The rows of a file; half a line at its end, from a run that was killed, counts as none."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return rows


def append(path: Path, row: Row) -> None:
    append_line(path, json.dumps(asdict(row), ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many, with Wilson's 95 % interval (1927), which holds for few and for all or none.

    >>> Share(8, 10)
    Share(right=8, of=10)
    >>> [round(bound, 2) for bound in Share(8, 10).interval]
    [0.49, 0.94]
    """

    right: int
    of: int

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        n, p = self.of, self.share
        middle, spread = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
        return max(0.0, (middle - spread) / (1 + Z * Z / n)), min(1.0, (middle + spread) / (1 + Z * Z / n))


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows of one arm together. Tokens, turns and seconds are means of a run; tool_tokens of a turn that called."""

    name: str
    success: Share
    turns: float
    thinking: float
    answer: float
    tool_tokens: float
    valid: Share
    cached: Share
    seconds: float


def summed(name: str, rows: Iterable[Row]) -> Summary:
    all_ = list(rows)
    n = max(1, len(all_))
    return Summary(
        name=name,
        success=Share(sum(row.right for row in all_), len(all_)),
        turns=sum(row.turns for row in all_) / n,
        thinking=sum(row.thinking for row in all_) / n,
        answer=sum(row.answer for row in all_) / n,
        tool_tokens=sum(row.tool_tokens for row in all_) / max(1, sum(row.tool_turns for row in all_)),
        valid=Share(sum(row.valid for row in all_), sum(row.calls for row in all_)),
        cached=Share(sum(row.cached for row in all_), sum(row.prompt for row in all_)),
        seconds=sum(row.seconds for row in all_) / n,
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two arms on the cases that both ran, as the same cases are hard for both.

    only_one, only_other: how many only it got right; the others say nothing of which is better.
    """

    one: Summary
    other: Summary
    only_one: int
    only_other: int

    @property
    def p_value(self) -> float:
        """How often chance alone makes so large a difference."""
        return sign_test(self.only_one, self.only_other)


def paired(one: Iterable[Row], other: Iterable[Row]) -> Pairs:
    """Compare two arms case by case."""
    ones, others = ({(row.case, row.repeat): row for row in rows} for rows in (one, other))
    both = [(ones[key], others[key]) for key in ones if key in others]
    return Pairs(
        summed("", (a for a, _ in both)),
        summed("", (b for _, b in both)),
        sum(a.right > b.right for a, b in both),
        sum(b.right > a.right for a, b in both),
    )


def sign_test(better: int, worse: int) -> float:
    """How often chance alone makes so large a difference, either way (exact McNemar test, 1947).

    >>> sign_test(5, 0), sign_test(3, 3)
    (0.0625, 1.0)
    """
    n, most = better + worse, max(better, worse)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n) if n else 1.0


def grouped(rows: Iterable[Row], by: str) -> Mapping[str, list[Row]]:
    """Rows by one of their fields, in the order in which its values come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(getattr(row, by)), []).append(row)
    return groups
