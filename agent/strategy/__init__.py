"""What comes next in a run. A profile names the strategy that its models need."""

from __future__ import annotations

from collections.abc import Mapping

from fastslow.agent.strategy.free import Free
from fastslow.agent.strategy.guided import Guided
from fastslow.agent.strategy.strategy import Done, Move, Next, State, Strategy
from fastslow.agent.strategy.whole import Whole

STRATEGIES: Mapping[str, Strategy] = {"free": Free(), "guided": Guided()}
SHOWN: Mapping[str, Strategy] = {**STRATEGIES, "guided": Whole()}
"""The same for runs on a project that is shown whole."""

__all__ = ["SHOWN", "STRATEGIES", "Done", "Free", "Guided", "Move", "Next", "State", "Strategy"]
