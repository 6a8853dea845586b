"""Regular expressions of ours take linear time, whatever comes: each is run on texts made of its own pieces."""

# ruff: noqa: RUF001 - DeepSeek writes a fullwidth bar.

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.surfaces.cli.long import GROWTH, times_as_much, work

ROOT = Path(__file__).parents[2]
ELSEWHERE = ("guest", "plugin", "guard", "suites", "convert.py", "__main__.py")  # run in other Pythons, or by us alone
SOURCES = [path for room in ("agent", "tools", "sandbox") for path in sorted((ROOT / room).rglob("*.py"))]
SEARCHED = set(re.findall(r"\b(\w+)\.(?:search|sub|findall|finditer|split)\(", "\n".join(map(Path.read_text, SOURCES))))
SHORT, LONG = 1_000, 8_000
QUICK = 0.02  # seconds


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Every compiled pattern of a module, by its name there."""
    for path in SOURCES:
        if not any(part in ELSEWHERE for part in path.parts):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for key, value in vars(importlib.import_module(f"fastslow.{name}")).items():
                if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                    yield f"{name}:{key}", value


PATTERNS = {name: pattern for name, pattern in patterns() if name.count(":")}


def texts(pattern: str) -> Iterator[Callable[[int], str]]:
    """Texts of any length that a pattern may go back and forth in: runs of what it knows, and no end that it wants."""
    letters = sorted(set(re.findall(r"[ \n\t`a0\"'<>|\[\](){}:=/\\.,;_-]", pattern + " \n\ta0-")))
    words = sorted(set(re.findall(r"[<\[]?[/|｜]?[A-Za-z_]{3,20}[|｜]?[>=\]]?", pattern)), key=len)[-8:]
    runs = [*letters, *map("".join, itertools.permutations(letters[:10], 2)), *words, *(f"{word} " for word in words)]
    for run in runs:
        yield lambda n, run=run: run * (n // len(run)) + "\0"  # type: ignore[misc]
    for before, letter, after in itertools.product(("```", "\n```", "{", "[", "<|", *words), "a \t1`-.", "\0`x"):
        yield lambda n, parts=(before, letter, after): parts[0] + parts[1] * n + parts[2]  # type: ignore[misc]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_text_of_eight_times_the_length_costs_about_eight_times_as_much(name: str) -> None:
    pattern = PATTERNS[name]
    searched = name.rpartition(":")[2] in SEARCHED

    def run(text: str) -> Callable[[], object]:
        return lambda: sum(1 for _ in pattern.finditer(text)) if searched else pattern.match(text)

    for text in texts(pattern.pattern):
        if work(run(text(LONG))) > QUICK:
            assert times_as_much(run(text(LONG)), run(text(SHORT)), QUICK / 20) < GROWTH, text(60)


def test_the_patterns_are_found() -> None:
    names = {name.rpartition(".")[2] for name in PATTERNS}
    assert {"mend:_END", "fenced:_OPEN", "lenient:_NUMBER", "guided:_FILE"} <= names
    assert len(names) > 30
