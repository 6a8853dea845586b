"""What the commands that do a job exit with, one table for all of them, and what they say of an error."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from fastslow.agent.errors import EngineError
from fastslow.agent.events import Exit, Result
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
    Exit.WAITING: 75,  # EX_TEMPFAIL: the same command again goes on, once it was answered
    Exit.CANCELLED: CANCELLED,
}
DENIED = STATUS[Exit.STOPPED]  # every call of an answered run was denied, or failed


def status_of_run(result: Result) -> int:
    """Of a run that ended. What was denied a tool and did nothing has not done its job, whatever it answered."""
    return DENIED if result.exit is Exit.ANSWERED and result.only_denied else STATUS[result.exit]


def status_of(error: Exception) -> int:
    """Of an error that kept a command from its work."""
    if isinstance(error, EngineError):
        return STATUS[Exit.SERVER]
    return STATUS[Exit.SANDBOX] if isinstance(error, SandboxError) else FAILED


def sentence(error: Exception) -> str:
    """What happened and what to do, for a person."""
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
        return f"{what}; free some space and run it again" if error.errno == errno.ENOSPC else what
    return str(error) or type(error).__name__
