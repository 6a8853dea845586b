"""What the commands that do a job exit with: one table for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from fastslow.agent.errors import EngineError
from fastslow.agent.events import Exit
from fastslow.sandbox import SandboxError

FAILED = 1
CANCELLED = 130  # after Ctrl-C
STATUS: Mapping[Exit, int] = {
    Exit.ANSWERED: 0,
    Exit.FAILED: FAILED,
    Exit.BUDGET: 3,
    Exit.STOPPED: 4,
    Exit.SERVER: 5,
    Exit.SANDBOX: 6,
    Exit.CANCELLED: CANCELLED,
}


def status_of(error: Exception) -> int:
    """Of an error that kept a command from its work."""
    if isinstance(error, EngineError):
        return STATUS[Exit.SERVER]
    return STATUS[Exit.SANDBOX] if isinstance(error, SandboxError) else FAILED
