"""Events as JSON, one a line, for programs that watch a run. Bytes are base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent.events import Event, Result
from agent.modes import Mode


def to_json(event: Event) -> dict[str, Any]:
    """The event's fields as plain JSON values, with its name under `event`.

    >>> from agent.events import Notice
    >>> to_json(Notice("Mind the gap."))
    {'event': 'notice', 'text': 'Mind the gap.'}
    """
    return {"event": event_name(event), **_fields(event)}


def event_name(event: Event) -> str:
    """`TurnStarted` -> `turn_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def _fields(value: Any) -> dict[str, Any]:
    # A result holds every event of the run, and each has been told already.
    hidden = {"events"} if isinstance(value, Result) else set()
    plain = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in hidden}
    return {**plain, "name": value.name} if isinstance(value, Mode) else plain


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, str | Path) else value
