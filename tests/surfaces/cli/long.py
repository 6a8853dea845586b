"""Every event with every text of it replaced: by long ones, and by hostile ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import PosixPath
from typing import Any, Literal, get_origin, get_type_hints

from pydantic import BaseModel

from fastslow.agent.events import Event
from tests.surfaces.cli.recorded import events

# Each makes a text of about so many characters.
SHAPES: Mapping[str, Callable[[int], str]] = {
    "letters": lambda n: "a" * n,
    "words": lambda n: "word " * (n // 5),
    "blanks": lambda n: " " * n + "x",
    "lines": lambda n: "one line\n" * (n // 9),
    "empty lines": lambda n: "\n" * n + "x",
    "windows lines": lambda n: "one line\r\n" * (n // 10),
    "progress": lambda n: "10 %\r" * (n // 5),
    "returns": lambda n: "\r" * n + "x",
    "returns in words": lambda n: ("a" * 50 + "\r" + "b" * 50 + "\r\r\n") * (n // 104),
    "tabs": lambda n: "\t" * n + "x",
    "wide": lambda n: "売" * n,
    "combining": lambda n: "e" + "\u0301" * n,
    "emoji": lambda n: "👩‍👩‍👧" * (n // 5),
    "colours": lambda n: "\x1b[31mred\x1b[0m" * (n // 12),
    "half escapes": lambda n: "\x1b[" * (n // 2),
    "digits of an escape": lambda n: "\x1b[" + "1;" * (n // 2),
    "open links": lambda n: "\x1b]8;;" * (n // 5),
    "one open link": lambda n: "\x1b]8;;" + "a" * n,
    "bells": lambda n: "\x07" * n,
    "bidi": lambda n: "\u202eevil\u202c" * (n // 6),
    "line separators": lambda n: "a\u2028" * (n // 2),
    "backticks": lambda n: "`" * n,
    "fences": lambda n: "```\n" * (n // 4),
    "languages": lambda n: "```text\nx\n" * (n // 10),
    "brackets": lambda n: "[" * n,
    "markup": lambda n: "[bold red]x[/]" * (n // 14),
    "stars": lambda n: "*a **b " * (n // 7),
    "quotes": lambda n: "> " * (n // 2),
    "bars": lambda n: "a|" * (n // 2) + "\n" + "-|" * (n // 2) + "\n",
    "strings": lambda n: "'" * n,
    "dollars": lambda n: "$(" * (n // 2),
    "backslashes": lambda n: "\\" * n,
    "numbers": lambda n: "1" * n,
}


GROWTH = 24  # times the work for eight times the text: what is quadratic takes 64 times as much


def work(do: Callable[[], object], tries: int = 2) -> float:
    """Seconds of this process's CPU that something takes, at its best."""
    times = []
    for _ in range(tries):
        begun = time.process_time()
        do()
        times.append(time.process_time() - begun)
        if times[-1] < 0.1:
            break
    return min(times)


def times_as_much(long: Callable[[], object], short: Callable[[], object], noise: float) -> float:
    """How many times as much of the CPU the long one takes. noise: seconds that may come from anywhere.

    What seems to be too much is measured again and again: other work on the machine makes a single measure longer.
    """
    ratio = work(long) / (work(short) + noise)
    for _ in range(5):
        if ratio > GROWTH:
            ratio = min(ratio, work(long) / (work(short) + noise))
    return ratio


def changed(event: Event, text: str) -> Iterator[tuple[str, Event]]:
    """The event with the text in the place of each string in it, one at a time: `(where, event)`."""
    for where, value in _changed(event, text):
        yield f"{type(event).__name__}{where}", value


def each_kind() -> list[Event]:
    """One event of each kind, or more."""
    kinds: dict[str, Event] = {}
    for event in events():
        kind, given, parent = (getattr(event, name, "") for name in ("kind", "arguments", "parent"))
        kinds.setdefault(f"{type(event).__name__} {kind} {list(given)} {bool(parent)}", event)
    return list(kinds.values())


def _changed(value: Any, text: str) -> Iterator[tuple[str, Any]]:
    """The value with the text in the place of each string in it, and where that is."""
    if type(value) in (str, PosixPath):
        yield "", type(value)(text)
        return
    if isinstance(value, Mapping):
        yield "{}", {**value, text: "x"}
    for where, part, put in _parts(value):
        for further, new in _changed(part, text):
            yield where + further, put(new)


def _parts(value: Any) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """What a value is made of: where each part is, the part, and what puts another one in its place."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield f".{name}", getattr(value, name), lambda new, name=name: value.model_copy(update={name: new})
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"[{key!r}]", item, lambda new, key=key: {**value, key: new}
    elif type(value) is tuple:
        for n, item in enumerate(value):
            yield f"[{n}]", item, lambda new, n=n: (*value[:n], new, *value[n + 1 :])
    elif is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        for field in fields(value):
            if field.name != "events" and get_origin(hints[field.name]) is not Literal:
                yield f".{field.name}", getattr(value, field.name), lambda new, n=field.name: replace(value, **{n: new})
