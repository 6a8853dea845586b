"""What a tool gave back: as text for the model, as data for code."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass, replace
from enum import Enum
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from fastslow.sandbox.sandbox import State
from fastslow.tools.lenient import without_surrogates

NO_OUTPUT = "(no output)"
LIMIT = 8000  # characters of one result that the model is shown

_AS_JSON = (dict, list, tuple, set, frozenset, bool, int, float, BaseModel)


Status: TypeAlias = Literal["ok", "error", "refused", "denied", "timeout", "died", "in_doubt"]
"""How a call ended. `ok`: it ran, whatever it found (an exit status is information). `error`: it could not do what it
is for. `refused`: not run, as there is no such tool, or the arguments do not fit. `denied`: not run, by a rule or a
person. `timeout`: stopped at its limit. `died`: what ran it is gone. `in_doubt`: a crash came in its midst, and
nobody knows whether it took effect."""

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave.

    text: for the model, of any length. data: for code, as JSON can hold it. exit_code: of a command, or of code that
    ended its interpreter. silent: it ran and printed nothing. variables: what became of the interpreter's. written:
    files that are new or changed, by their paths in the workspace. limit: characters of the text that the model is
    shown, for a tool that keeps to a limit of its own.
    """

    text: str
    status: Status = "ok"
    data: Any = None
    exit_code: int | None = None
    silent: bool = False
    variables: State = "kept"
    written: tuple[str, ...] = ()
    limit: int = LIMIT

    @property
    def ok(self) -> bool:
        return self.status == "ok"


def clip(text: str, limit: int = LIMIT) -> str:
    """At most `limit` characters of a text: its head and tail, with a note of how much was cut between them.

    >>> clip("a" * 50 + "z" * 50, 60)
    'aaaaaaaaaaaa\\n[... 76 of 100 characters cut ...]\\nzzzzzzzzzzzz'
    """
    if len(text) <= limit:
        return text
    kept = limit
    for _ in range(2):  # the note's length depends on the number in it
        note = f"\n[... {len(text) - kept} of {len(text)} characters cut ...]\n"
        kept = max(limit - len(note), 0)
    head = (kept + 1) // 2
    tail = kept - head
    note = f"\n[... {len(text) - kept} of {len(text)} characters cut ...]\n"
    return text[:head] + note + (text[-tail:] if tail else "")


def as_outcome(value: Any) -> Outcome:
    """What the body of a tool returned. An `Outcome` of its own is made to hold what can be written down."""
    if not isinstance(value, Outcome):
        data = as_data(value)
        # Containers are read once, as a stream may be in them.
        return Outcome(as_text(data if isinstance(value, dict | list | tuple) else value), data=data)
    if value.status not in STATUSES:
        raise ValueError(f"the status of an Outcome is one of {', '.join(STATUSES)}, got {value.status!r}")
    text = value.text if isinstance(value.text, str) else as_text(value.text)
    if text is value.text and text.isascii() and value.data is None:
        return value
    return replace(value, text=without_surrogates(text), data=as_data(value.data))


def as_data(value: Any) -> Any:
    """The value as JSON can hold it; its text where that cannot be."""
    try:
        return to_jsonable_python(value, fallback=str, inf_nan_mode="constants", bytes_mode="base64")
    except ValueError:  # it contains itself
        return as_text(value)


def as_text(value: Any) -> str:
    """Text as it is, None as a note, data as compact JSON, anything else as `str()` writes it."""
    if value is None:
        return NO_OUTPUT
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return without_surrogates(value) or NO_OUTPUT
    if isinstance(value, _AS_JSON) or (is_dataclass(value) and not isinstance(value, type)):
        try:
            return to_json(value, fallback=str, inf_nan_mode="constants", bytes_mode="base64").decode()
        except ValueError:  # it contains itself, or a lone surrogate
            return without_surrogates(str(value))
    return without_surrogates(str(value)) or NO_OUTPUT
