"""Fits the rules of the modes to a model: candidates beside what its profile says, on the same tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastslow.agent.engine.profiles import Profile
from fastslow.agent.evals.evaluate import Arm
from fastslow.agent.evals.rows import Row, grouped, paired
from fastslow.agent.modes import Kind, ModePolicy, ModeRule

BASE = "profile"
BRIEF = 32  # tokens: a line that names the tool and its arguments (Qwen2.5-1.5B: 44 % to 64 %, arXiv 2604.02155)
CHEAPER = 0.8  # of the tokens, where success is the same
SIGNIFICANT = 0.05  # a difference that chance makes less often than this is one


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a candidate came to. better, worse: cases that it alone did right, and that the profile's rules alone did.
    p_value: how often chance makes such a difference. cases_needed: how many would tell it from chance; None where
    these did."""

    rule: ModeRule
    right: int
    of: int
    base_right: int
    tokens: float
    base_tokens: float
    better: int
    worse: int
    p_value: float
    cases_needed: int | None
    taken: bool

    @property
    def summary(self) -> str:
        told = (
            f"{self.right} of {self.of} right at {self.tokens:.0f} tokens a run; the profile's rules {self.base_right} "
            f"at {self.base_tokens:.0f}; chance makes such a difference in {self.p_value:.0%}"
        )
        return f"{told}, {self.cases_needed} cases would tell" if self.cases_needed else told


def candidates(profile: Profile) -> dict[str, ModeRule | None]:
    """Rules to try by the names of their arms: no thinking, half and twice as much to plan, a brief line to call."""
    plan = ModePolicy(profile.rules).mode(Kind.PLAN)[0].budget or BRIEF
    tried = [
        *(ModeRule(Kind.PLAN, budget) for budget in (0, plan // 2, plan * 2)),
        ModeRule(Kind.CALL, BRIEF),
        ModeRule(Kind.REPAIR, 0),
    ]
    return {BASE: None, **{f"{rule.kind}={rule.budget}": rule for rule in tried}}


def arms(profile: Profile) -> tuple[Arm, ...]:
    return tuple(
        Arm(name, ModePolicy((*([rule] if rule else []), *profile.rules))) for name, rule in candidates(profile).items()
    )


def comparisons(profile: Profile, rows: Sequence[Row]) -> list[Comparison]:
    """What each candidate came to; of those for one kind at most one is taken."""
    by_arm = grouped(rows, "arm")
    base = by_arm.get(BASE, [])
    found = [
        _compare(rule, base, by_arm[name]) for name, rule in candidates(profile).items() if rule and name in by_arm
    ]
    best: dict[Kind, Comparison] = {}
    for each in found:
        held = best.get(each.rule.kind)
        if each.taken and (held is None or (each.right, -each.tokens) > (held.right, -held.tokens)):
            best[each.rule.kind] = each
    return [replace(each, taken=best.get(each.rule.kind) is each) for each in found]


def chosen_rules(found: Sequence[Comparison]) -> tuple[ModeRule, ...]:
    """The rules to write down, each with its figures."""
    return tuple(ModeRule(each.rule.kind, each.rule.budget, each.summary) for each in found if each.taken)


def _compare(rule: ModeRule, base: Sequence[Row], rows: Sequence[Row]) -> Comparison:
    pairs = paired(base, rows)
    theirs, mine, better, worse = pairs.one, pairs.other, pairs.only_other, pairs.only_one
    tokens, base_tokens = mine.thinking + mine.answer, theirs.thinking + theirs.answer
    p_value, of = pairs.p_value, mine.success.of
    taken = (better > worse and p_value < SIGNIFICANT) or (better >= worse and tokens <= CHEAPER * base_tokens)
    cases_needed = None if p_value < SIGNIFICANT else _cases_needed(better, worse, of)
    right, base_right = mine.success.right, theirs.success.right
    return Comparison(rule, right, of, base_right, tokens, base_tokens, better, worse, p_value, cases_needed, taken)


def _cases_needed(better: int, worse: int, of: int) -> int | None:
    """Cases that would show a difference of this size in 4 of 5 tries (Miettinen 1968); None for no difference."""
    if better == worse:
        return None
    differ, by = (better + worse) / of, (better - worse) / of
    return math.ceil((1.96 * math.sqrt(differ) + 0.84 * math.sqrt(max(differ - by * by, 0.0))) ** 2 / (by * by))
