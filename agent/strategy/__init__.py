"""What comes next in a run. A profile names the strategy that its models need."""

from __future__ import annotations

from collections.abc import Mapping

from fastslow.agent.strategy.free import Free
from fastslow.agent.strategy.guided import Guided
from fastslow.agent.strategy.strategy import Done, Move, Next, State, Strategy

STRATEGIES: Mapping[str, Strategy] = {"free": Free(), "guided": Guided()}

__all__ = ["STRATEGIES", "Done", "Free", "Guided", "Move", "Next", "State", "Strategy"]
