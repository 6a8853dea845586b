"""What a coordinator and its workers say to each other: JSON, one message a line, each line within a limit.

The coordinator says a spec, then rows with numbers; the end of its pipe is the end of the worker. The worker says that
it is ready, then what came of each number, as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from fastslow.agent.errors import AgentError, EngineError
from fastslow.agent.flow.row import Row
from fastslow.agent.record.jobs import StepResult
from fastslow.sandbox import SandboxError

LINE = 64 * 1024 * 1024  # bytes; a row and what comes of it are texts that a model reads and writes
T = TypeVar("T")
Whose: TypeAlias = Literal["server", "sandbox", "other"]
_ERRORS: dict[Whose, type[Exception]] = {"server": EngineError, "sandbox": SandboxError, "other": AgentError}


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that is handed out. number: what the answer is known by."""

    number: int
    row: Row


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that kept a worker from its work, on its way to the coordinator."""

    whose: Whose
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        whose: Whose = "server" if isinstance(error, EngineError) else "other"
        return cls("sandbox" if isinstance(error, SandboxError) else whose, str(error) or type(error).__name__)

    def error(self) -> Exception:
        return _ERRORS[self.whose](self.message)


@dataclass(frozen=True, slots=True)
class Said:
    """By a worker. number: of the row that it is about; 0 before the first: without a failure it is ready."""

    number: int = 0
    done: StepResult | None = None
    failure: Failure | None = None


_ASKED = TypeAdapter(Asked)
_SAID = TypeAdapter(Said)


def asked_line(asked: Asked) -> bytes:
    """ValueError for one that is too long."""
    return _line(_ASKED.dump_json(asked))


def said_line(said: Said) -> bytes:
    """ValueError for one that is too long."""
    return _line(_SAID.dump_json(said))


def read_asked(line: bytes) -> Asked:
    """ValueError for what is none."""
    return _read(_ASKED, line)


def read_said(line: bytes) -> Said:
    """ValueError for what is none."""
    return _read(_SAID, line)


def _line(text: bytes) -> bytes:
    if len(text) >= LINE:
        raise ValueError(f"{len(text):,} bytes, where {LINE:,} may be")
    return text + b"\n"


def _read(form: TypeAdapter[T], line: bytes) -> T:
    try:
        return form.validate_json(line)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False, include_input=False)[0]["msg"]) from error
