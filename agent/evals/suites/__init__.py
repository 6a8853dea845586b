"""The tasks themselves, a module a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.evals.case import Case
from agent.evals.suites.bfcl import bfcl
from agent.evals.suites.chat import chat
from agent.evals.suites.single import single
from agent.evals.suites.workflows import workflows

SUITES: Mapping[str, Callable[[int], tuple[Case, ...]]] = {
    "workflows": workflows,
    "single": single,
    "chat": chat,
    "bfcl": bfcl,
}
