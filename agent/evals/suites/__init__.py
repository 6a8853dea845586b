"""The tasks themselves, a module a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.suites.bfcl import bfcl
from fastslow.agent.evals.suites.chat import chat
from fastslow.agent.evals.suites.edits import edits
from fastslow.agent.evals.suites.polyglot import polyglot_python
from fastslow.agent.evals.suites.quixbugs import quixbugs
from fastslow.agent.evals.suites.single import single
from fastslow.agent.evals.suites.workflows import workflows

SUITES: Mapping[str, Callable[[int], tuple[Case, ...]]] = {
    "workflows": workflows,
    "single": single,
    "chat": chat,
    "bfcl": bfcl,
    "edits": edits,
    "quixbugs": quixbugs,
    "polyglot-python": polyglot_python,
}
_BROUGHT: Mapping[str, Callable[[int, Path], tuple[Case, ...]]] = {
    "quixbugs": quixbugs,
    "polyglot-python": polyglot_python,
}


def cases_of(suite: str, seed: int, folder: Path | None = None) -> tuple[Case, ...]:
    """The cases of a suite by its name. folder: what one that is brought is read from. Raises ConfigurationError."""
    if folder is None:
        return SUITES[suite](seed)
    if suite not in _BROUGHT:
        raise ConfigurationError(f"{suite} is made here and read from no folder; leave out --from {folder}")
    return _BROUGHT[suite](seed, folder)
