"""The tasks themselves, a module a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastslow.agent.evals.case import Case
from fastslow.agent.evals.suites.bfcl import bfcl
from fastslow.agent.evals.suites.chat import chat
from fastslow.agent.evals.suites.single import single
from fastslow.agent.evals.suites.workflows import workflows

SUITES: Mapping[str, Callable[[int], tuple[Case, ...]]] = {
    "workflows": workflows,
    "single": single,
    "chat": chat,
    "bfcl": bfcl,
}
