"""What comes next in a run. A profile names the strategy that its models need."""

from __future__ import annotations

from collections.abc import Mapping

from fastslow.agent.strategy.free import Free
from fastslow.agent.strategy.guided import Guided
from fastslow.agent.strategy.strategy import Done, Move, Next, State, Strategy
from fastslow.agent.strategy.whole import Whole

STRATEGIES: Mapping[str, Strategy] = {"free": Free(), "guided": Guided()}
_WHOLE = Whole()


def strategy_of(name: str, *, shown: bool) -> Strategy:
    """The strategy that a profile names. shown: the run is about a small project, whose files the model is shown: very
    small models write them whole then."""
    return _WHOLE if shown and name == "guided" else STRATEGIES[name]


__all__ = ["STRATEGIES", "Done", "Free", "Guided", "Move", "Next", "State", "Strategy", "strategy_of"]
