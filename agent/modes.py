"""How hard to think on one turn: a mode is a thinking budget in tokens, chosen by rules that are data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Mode:
    """A turn's speed. `budget` is the number of thinking tokens allowed; 0 is non-reasoning.

    >>> Mode(0).name, Mode(512).name
    ('fast', 'think')
    """

    budget: int = 0

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"a thinking budget is 0 or more tokens, got {self.budget}; use 0 for a fast turn")

    @property
    def thinks(self) -> bool:
        return self.budget > 0

    @property
    def name(self) -> Literal["fast", "think"]:
        return "think" if self.budget > 0 else "fast"


FAST = Mode(0)


class Kind(StrEnum):
    """What a turn is for. The policy maps it to a budget."""

    TRIAGE = "triage"  # one token that says how sure the model is of a tool, before anything is said
    PLAN = "plan"  # the first turn of a task, or the next after its plan failed
    CALL = "call"  # a step of it: fill arguments, write code, read results
    REPAIR = "repair"  # something failed twice, or was repeated word for word
    REVIEW = "review"  # after the plan ran, and something went wrong on the way
    ANSWER = "answer"  # nothing is left to do but to say it
    EXTRACT = "extract"  # an answer of a given form, out of what the task itself holds


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run knows when a turn begins.

    failures: turns in a row whose calls all failed. repairs: turns of the run that thought because something went
    wrong. prompt: tokens of the prompt, at most. risk: an earlier turn of the branch called a tool that changes what
    lies outside of the sandbox. surprise: a plan
    could not be carried out or a step of it failed, and no call has succeeded since. exhausted: all steps
    of a plan were tried, and the run goes on. confidence: of the model in its triage, 0 to 1; None without one.
    """

    failures: int = 0
    repairs: int = 0
    prompt: int = 0
    risk: bool = False
    surprise: bool = False
    exhausted: bool = False
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class ModeRule:
    """So many thinking tokens for turns of a kind. because: what was measured, and where.

    The rest says when it holds, all of it together: failures, prompt: at least so many. risk, surprise,
    exhausted: only with it. unsure: only where the triage was less sure than that.
    """

    kind: Kind
    budget: int
    because: str = ""
    failures: int = 0
    prompt: int = 0
    risk: bool = False
    surprise: bool = False
    exhausted: bool = False
    unsure: float | None = None

    def holds(self, evidence: Evidence) -> bool:
        return (
            evidence.failures >= self.failures
            and evidence.prompt >= self.prompt
            and (evidence.risk or not self.risk)
            and (evidence.surprise or not self.surprise)
            and (evidence.exhausted or not self.exhausted)
            and (self.unsure is None or (evidence.confidence is not None and evidence.confidence < self.unsure))
        )


_TABLE_4 = "EXAONE-4.0-32B, Tau airline: 51.5 thinking, 25.5 fast (arXiv 2507.11407)"
_TABLE_3 = "EXAONE-4.0-32B, BFCL-v3: 65.2 fast, 63.9 thinking (arXiv 2507.11407)"
DEFAULT_RULES = (
    ModeRule(Kind.PLAN, 4096, _TABLE_4),
    ModeRule(Kind.REPAIR, 2048, _TABLE_4),
    ModeRule(Kind.REVIEW, 1024, _TABLE_4),
    ModeRule(Kind.CALL, 0, _TABLE_3),
    ModeRule(Kind.ANSWER, 0, "what is said is known by then"),
    ModeRule(Kind.EXTRACT, 0, "extraction: 14 points worse with thinking, in 450 runs of each mode (community test)"),
    ModeRule(Kind.TRIAGE, 0, "one token, whose probability is read"),
)
REPAIRS = 8  # turns of a run that may think because something went wrong; then it goes on without

Think: TypeAlias = Literal["auto", "never", "always"] | int


@dataclass(frozen=True, slots=True)
class ModePolicy:
    """Picks the mode of a turn: the first rule that holds says how much it thinks, `DEFAULT_RULES` where none does.

    `think` overrides the rules: `"never"` and `"always"` for every turn, a number as the budget of each turn that
    the rules let think. repairs: how often a run thinks because something went wrong.

    >>> ModePolicy().mode(Kind.CALL)[0].name, ModePolicy(think="always").mode(Kind.CALL)[0].name
    ('fast', 'think')
    """

    rules: tuple[ModeRule, ...] = ()
    think: Think = "auto"
    repairs: int = REPAIRS

    def mode(self, kind: Kind, evidence: Evidence | None = None) -> tuple[Mode, str]:
        """The mode, and what decided it where that was not a rule."""
        known = evidence or Evidence()
        ruled = self._ruled(kind, known)
        if kind is Kind.TRIAGE:
            return FAST, ""
        if self.think == "never":
            return FAST, "never thinks" if ruled else ""
        if self.think == "always":
            return Mode(ruled or self._ruled(Kind.REPAIR, known)), "" if ruled else "always thinks"
        if ruled and kind is Kind.REPAIR and known.repairs >= self.repairs:
            return FAST, f"thought {known.repairs} times about what went wrong"
        if isinstance(self.think, int):
            return Mode(self.think if ruled else 0), ""
        return Mode(ruled), ""

    def _ruled(self, kind: Kind, evidence: Evidence) -> int:
        for rule in (*self.rules, *DEFAULT_RULES):
            if rule.kind is kind and rule.holds(evidence):
                return rule.budget
        return 0
