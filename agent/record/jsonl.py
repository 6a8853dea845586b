"""Events as JSON, one a line, for programs that watch a run and for the journal. Bytes are base64."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json as to_json_text
from pydantic_core import to_jsonable_python

from fastslow.agent.events import CallDisplay, Event, Result
from fastslow.agent.modes import Mode
from fastslow.agent.tree.changes import Change
from fastslow.tools.foreign import tried
from fastslow.tools.lenient import without_surrogates


def to_json(event: Event) -> dict[str, Any]:
    """The event's fields as plain JSON values, with its name under `event`.

    >>> from fastslow.agent.events import Notice
    >>> to_json(Notice("Mind the gap."))
    {'event': 'notice', 'text': 'Mind the gap.'}
    """
    return {"event": event_name(event), **_fields(event)}


def to_line(event: Event) -> str:
    """The event as one line for other programs, in which null stands for numbers that JSON does not have."""
    told = to_json(event)
    try:
        return json.dumps(told, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(told), parse_constant=lambda _: None))


def from_json(told: Mapping[str, Any]) -> Event:
    """The event that `to_json` told. ValueError for anything else.

    >>> from_json({"event": "notice", "text": "Mind the gap."})
    Notice(text='Mind the gap.')
    """
    kind = _KINDS.get(told.get("event", ""))
    if kind is None:
        raise ValueError(f"an event is one of {', '.join(_KINDS)}, got {told.get('event')!r}")
    if kind is CallDisplay:
        shown = {mime: base64.b64decode(data) if _binary(mime) else data for mime, data in told["data"].items()}
        return CallDisplay(told["branch"], told["call_id"], shown)
    event: Event = _adapter(told["event"]).validate_python(told)
    return event


def event_name(event: Event) -> str:
    """`TurnStarted` -> `turn_started`."""
    return _snake(type(event).__name__)


@cache
def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_KINDS: Mapping[str, type[Any]] = {_snake(kind.__name__): kind for kind in get_args(Event)}


def _binary(mime: str) -> bool:
    """Whether a display's data are bytes: of all that the sandbox shows only pictures are, and SVG is text."""
    return mime.startswith("image/") and mime != "image/svg+xml"


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[kind])


_TOLD: Mapping[type, tuple[str, ...]] = {Mode: ("name",), Change: ("kind",)}  # what follows from the fields of these


_AS_IT_IS = (type(None), bool, int, float)


def _fields(value: Any) -> dict[str, Any]:
    hidden = set()
    if isinstance(value, Result):
        value, hidden = replace(value, output=_output(value.output)), {"events"}  # each has been told already
    told = {}
    for name in _names(value.__class__):
        if name not in hidden:
            item = getattr(value, name)
            told[name] = item if item.__class__ in _AS_IT_IS else _plain(item)
    return told


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return (*(field.name for field in fields(kind)), *_TOLD.get(kind, ()))


def _output(value: Any) -> Any:
    """An answer as its type writes it; nothing where that fails, as the text of the answer then says."""
    # A serializer is the user's own code, as a tool's body is.
    end = tried(partial(to_json_text, fallback=str, inf_nan_mode="null", bytes_mode="base64"), value)
    return json.loads(end.value) if end.value else None


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # first what is cheap to tell and comes often
        return _text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Path):
        return _text(value)
    return to_jsonable_python(value, fallback=str)


def _text(value: str | Path) -> str:
    text = str(value)
    return text if text.isascii() else without_surrogates(text)  # half a pair is JSON for Python alone
