"""`chat`: tools are offered, and none is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from fastslow.agent.evals.case import Case, Judge
from fastslow.agent.evals.suites.judges import all_of, names, says
from fastslow.agent.evals.suites.single import TOOLS, tools_named
from fastslow.agent.events import CallStarted, Result

INSTANCES = 4  # of each family

Draw: TypeAlias = random.Random
Instance: TypeAlias = tuple[str, Judge]

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Spain": "Madrid", "Egypt": "Cairo", "Norway": "Oslo"}
WORDS = {"cat": "gato", "house": "casa", "water": "agua", "book": "libro", "dog": "perro"}
OPPOSITES = {"hot": "cold", "big": "small", "early": "late", "open": "closed", "young": "old"}


def _sum(draw: Draw) -> Instance:
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    return f"What is {a} plus {b}?", says(a + b, 0)


def _capital(draw: Draw) -> Instance:
    country, capital = draw.choice(sorted(CAPITALS.items()))
    return f"What is the capital of {country}?", names(capital)


def _translate(draw: Draw) -> Instance:
    word, spanish = draw.choice(sorted(WORDS.items()))
    return f'What is "{word}" in Spanish?', names(spanish)


def _opposite(draw: Draw) -> Instance:
    word, other = draw.choice(sorted(OPPOSITES.items()))
    return f'Name the opposite of the word "{word}".', names(other)


def _greet(draw: Draw) -> Instance:
    name = draw.choice(("Ada", "Ben", "Cleo", "Dov"))
    return f"Write one friendly sentence that greets {name} by name.", names(name)


def _repeat(draw: Draw) -> Instance:
    word = draw.choice(("harbour", "lantern", "meadow", "copper"))
    return f'Write a sentence with the word "{word}".', names(word)


def _legs(draw: Draw) -> Instance:
    animal, legs = draw.choice((("spider", 8), ("dog", 4), ("ant", 6), ("hen", 2)))
    return f"How many legs does a {animal} have? Answer with a number in digits.", says(legs, 0)


def _week(draw: Draw) -> Instance:
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    n = draw.randrange(7)
    return f"Which day of the week comes after {days[n]}?", names(days[(n + 1) % 7])


FAMILIES: tuple[Callable[[Draw], Instance], ...] = (
    _sum,
    _capital,
    _translate,
    _opposite,
    _greet,
    _repeat,
    _legs,
    _week,
)


def chat(seed: int) -> tuple[Case, ...]:
    """All cases of a seed; the first of each family come first."""
    cases = []
    for number in range(INSTANCES):
        for family in FAMILIES:
            name = family.__name__.strip("_")
            draw = random.Random(f"{seed}/{name}/{number}")  # noqa: S311 - not for secrets
            task, right = family(draw)
            tools = partial(tools_named, *sorted(draw.sample(sorted(TOOLS), 4)))
            judge = all_of(_calls_nothing, right)
            cases.append(Case("chat", name, f"{name}-{seed}-{number}", task, judge, tools=tools, sandboxed=False))
    return tuple(cases)


def _calls_nothing(result: Result) -> str:
    called = [event.call.name for event in result.events if isinstance(event, CallStarted) and event.call.name in TOOLS]
    return f"expected no call, got {called}" if called else ""
