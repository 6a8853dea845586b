"""For a run that only plans: it looks, and answers with a plan that somebody else decides on."""

from __future__ import annotations

from collections.abc import Sequence

from fastslow.agent.plan import GIVE_UP
from fastslow.agent.prompts import template
from fastslow.agent.strategy.free import Free
from fastslow.tools import Tool

LOOKING = ("read_file", "search", "list_files")  # the built-in tools for it


class Planning(Free):
    """As `free`, but no plan is carried out: use it with `output=Plan` and the tools of `LOOKING`."""

    def tools(self, builtin: Sequence[Tool]) -> tuple[Tool, ...]:
        return (*builtin, GIVE_UP)

    def system(self, code: bool) -> str:
        return template("planning")
