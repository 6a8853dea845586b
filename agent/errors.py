"""Everything that this room raises.

    AgentError                     base: something a caller may want to catch
    ├── ConfigurationError         (ValueError) the library was called wrongly; nothing was sent
    ├── OutputFailed               the type of the answer broke on one
    ├── EngineError                the model's server
    │   ├── EngineUnreachable      (ConnectionError) nothing answers at the address
    │   ├── EngineRefused          the server answered with an error that a retry does not mend
    │   ├── ContextOverflow        (ValueError) the prompt does not fit the served context
    │   └── EngineDied             the managed server ended; carries its last log lines
    ├── ModelUnavailable           (LookupError) weights absent, damaged, or not licensed for use
    ├── GaveUp                     every call of many turns failed
    ├── AskFailed                  a person could not be asked about a call
    ├── StepFailed                 a step of a workflow came to no answer (`agent.flow.memory`)
    ├── ToolsetFailed              a toolset could not be opened, asked for its tools, or closed
    ├── ApplyFailed                changes could not be written to a user's folder: none of them was
    │   └── Conflicted             the user changed the same files meanwhile; names each of them
    └── JournalError               the record of runs
        ├── JournalBroken          its file cannot be read or written; what was written before is kept
        ├── JournalEnded           a replayed run wants more than was recorded
        ├── RunBusy                another process carries the run out
        ├── RunFollowed            it cannot be removed: another run goes on from it
        └── RunUnknown             (LookupError) no such run

`tools.ToolError` and `sandbox.SandboxError` are the bases of the other two rooms. A run that merely ends badly
(budget spent, cancelled, model gave up) raises nothing: its `Result` says why.
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors of `agent`. The message says what was expected, what came, and what to do."""


class ConfigurationError(AgentError, ValueError):
    """The caller passed something that cannot work."""


class OutputFailed(AgentError):
    """The type that `output=` asks for raised what is no ValueError, while the answer was made."""


class EngineError(AgentError):
    """The model's server failed."""


class EngineUnreachable(EngineError, ConnectionError):
    """No server answers at the address."""


class EngineRefused(EngineError):
    """The server answered, with an error that a retry does not mend. `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ContextOverflow(EngineError, ValueError):
    """The prompt and the room for the answer exceed what the server was started with."""


class EngineDied(EngineError):
    """The managed server ended while it was needed. `log` holds its last lines."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class GaveUp(AgentError):
    """Every call of many turns in a row failed, so that more of them would only cost."""


class AskFailed(AgentError):
    """What puts questions to a person failed. The run can be resumed, and asks again."""


class ToolsetFailed(AgentError):
    """A toolset could not be opened, asked for its tools, or closed."""


class ApplyFailed(AgentError):
    """Changes could not be written to a user's folder. It is as it was before, unless the message says otherwise."""


class Conflicted(ApplyFailed):
    """Changes of a run and of the user are in each other's way; nothing was written. conflicts: path and reason."""

    def __init__(self, message: str, *, conflicts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.conflicts = conflicts


class ModelUnavailable(AgentError, LookupError):
    """Weights that are not there, not whole, or not licensed for the use."""


class JournalError(AgentError):
    """The record of runs failed, or cannot give what was asked of it."""


class JournalBroken(JournalError):
    """The journal's file cannot be read or written: the disk is full, say."""


class JournalEnded(JournalError):
    """A replayed run wants a reply or a result that was never recorded."""


class RunBusy(JournalError):
    """Two processes cannot carry out one run."""


class RunFollowed(JournalError):
    """A run cannot be removed, as another one goes on from it."""


class RunUnknown(JournalError, LookupError):
    """The journal holds no such run."""
