"""`single`: one call of one tool is right, out of several that are offered."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from fastslow.agent.evals.case import Case, Judge
from fastslow.agent.events import CallFinished, CallStarted, Event, Result
from fastslow.tools import Tool

INSTANCES = 5  # of each family
CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Seoul", "Porto")
PEOPLE = ("Ada", "Ben", "Cleo", "Dov", "Eva", "Finn")

Draw: TypeAlias = random.Random
Instance: TypeAlias = tuple[str, str, dict[str, Any]]


def _schema(required: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: dict(schema) for name, schema in properties.items()},
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
TOOLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "get_weather": (
        "Current weather of a city.",
        _schema("city", city=TEXT, unit={"type": "string", "enum": ["celsius", "fahrenheit"]}),
    ),
    "convert_money": (
        "Convert an amount from one currency to another, by their three-letter codes.",
        _schema("amount source target", amount={"type": "number"}, source=TEXT, target=TEXT),
    ),
    "send_message": ("Send a message to a person.", _schema("to text", to=TEXT, text=TEXT)),
    "set_timer": ("Start a timer of so many minutes.", _schema("minutes", minutes=WHOLE, label=TEXT)),
    "book_table": (
        "Reserve a table in a restaurant; time as HH:MM.",
        _schema("restaurant people time", restaurant=TEXT, people=WHOLE, time=TEXT),
    ),
    "set_light": (
        "Set the brightness of the lights of a room, in percent.",
        _schema("room percent", room={"type": "string", "enum": ["kitchen", "bedroom", "office"]}, percent=WHOLE),
    ),
    "create_event": (
        "Put an event into the calendar; date as YYYY-MM-DD.",
        _schema("title date", title=TEXT, date=TEXT, guests={"type": "array", "items": TEXT}),
    ),
    "search_flights": (
        "Find flights between two cities on a date, as YYYY-MM-DD.",
        _schema("origin destination date", origin=TEXT, destination=TEXT, date=TEXT, direct={"type": "boolean"}),
    ),
}


def _weather(draw: Draw) -> Instance:
    city, unit = draw.choice(CITIES), draw.choice(("celsius", "fahrenheit"))
    return f"How warm is it in {city} right now, in {unit}?", "get_weather", {"city": city, "unit": unit}


def _money(draw: Draw) -> Instance:
    amount, (source, target) = draw.randint(5, 900), draw.sample(("USD", "EUR", "JPY", "GBP"), 2)
    arguments = {"amount": amount, "source": source, "target": target}
    return f"How much is {amount} {source} in {target}?", "convert_money", arguments


def _message(draw: Draw) -> Instance:
    name, text = draw.choice(PEOPLE), draw.choice(("I am late", "dinner is ready", "call me back"))
    return f'Send {name} this message: "{text}"', "send_message", {"to": name, "text": text}


def _timer(draw: Draw) -> Instance:
    minutes = draw.randint(2, 59)
    return f"Start a timer of {minutes} minutes.", "set_timer", {"minutes": minutes}


def _table(draw: Draw) -> Instance:
    people, hour, place = draw.randint(2, 8), draw.randint(17, 21), draw.choice(("Luna", "Verde", "Bistro 9"))
    arguments = {"restaurant": place, "people": people, "time": f"{hour}:30"}
    return f"Reserve a table for {people} people at {place} for {hour}:30.", "book_table", arguments


def _light(draw: Draw) -> Instance:
    room, percent = draw.choice(("kitchen", "bedroom", "office")), draw.choice((10, 25, 40, 80))
    return f"Dim the lights in the {room} to {percent} %.", "set_light", {"room": room, "percent": percent}


def _event(draw: Draw) -> Instance:
    day, guests = draw.randint(1, 28), draw.sample(PEOPLE, 2)
    arguments = {"title": "Review", "date": f"2026-03-{day:02}", "guests": guests}
    words = f'Put an event titled "Review" on 2026-03-{day:02} into my calendar, with {guests[0]} and {guests[1]}.'
    return words, "create_event", arguments


def _flight(draw: Draw) -> Instance:
    (origin, destination), day = draw.sample(CITIES, 2), draw.randint(1, 28)
    arguments = {"origin": origin, "destination": destination, "date": f"2026-05-{day:02}", "direct": True}
    words = f"Find direct flights from {origin} to {destination} on 2026-05-{day:02}."
    return words, "search_flights", arguments


FAMILIES: tuple[Callable[[Draw], Instance], ...] = (_weather, _money, _message, _timer, _table, _light, _event, _flight)


def single(seed: int) -> tuple[Case, ...]:
    """All cases of a seed; the first of each family come first."""
    cases = []
    for number in range(INSTANCES):
        for family in FAMILIES:
            draw = random.Random(f"{seed}/{family.__name__}/{number}")  # noqa: S311 - not for secrets
            task, name, arguments = family(draw)
            others = draw.sample(sorted(set(TOOLS) - {name}), draw.randint(2, 5))
            shown = sorted([name, *others])
            cases.append(
                Case(
                    "single",
                    name,
                    f"{name}-{seed}-{number}",
                    task,
                    calls(name, arguments),
                    tools=partial(tools_named, *shown),
                    sandboxed=False,
                    stop_when=calls_one_of(shown),
                )
            )
    return tuple(cases)


def tools_named(*names: str) -> tuple[Tool, ...]:
    return tuple(Tool.from_schema(name, *TOOLS[name], _done, effect="read") for name in names)


def _done(**arguments: Any) -> str:
    return f"done: {json.dumps(arguments, ensure_ascii=False)}"


def calls_one_of(names: list[str]) -> Callable[[Sequence[Event]], bool]:
    """Whether the last event is the end of a call of one of these tools."""
    return lambda said: isinstance(said[-1], CallFinished) and said[-1].name in names


def calls(name: str, arguments: Mapping[str, Any]) -> Judge:
    """The first call of one of the tools is this one; a label that nobody asked for does no harm."""

    def judge(result: Result) -> str:
        called = [event for event in result.events if isinstance(event, CallStarted) and event.call.name in TOOLS]
        if not called:
            return f"expected a call of {name}, got none"
        given = {key: value for key, value in called[0].arguments.items() if value is not None and key != "label"}
        if (called[0].call.name, _folded(given)) != (name, _folded(dict(arguments))):
            return f"expected {name}({json.dumps(arguments)}), got {called[0].call.name}({json.dumps(given)})"
        return ""

    return judge


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip().rstrip(".").casefold()
    if isinstance(value, dict):
        return {key: _folded(each) for key, each in value.items()}
    return [_folded(each) for each in value] if isinstance(value, list) else value
