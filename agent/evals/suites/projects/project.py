"""`Project`: a small repository as a template, and the slips that can be planted in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any, TypeAlias

Words: TypeAlias = Mapping[str, Any]
Draw: TypeAlias = random.Random
PYTEST = "python -m pytest -q -p no:cacheprovider"
UNITTEST = "python -m unittest discover -q -s tests -t ."


@dataclass(frozen=True, slots=True)
class Slip:
    """kind: what went wrong. task: what a user says of it. path: the file. right: as it is in the template, where it
    stands once. wrong: what is planted in its place."""

    kind: str
    task: str
    path: str
    right: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Project:
    """words: names and numbers that take the place of `$name` in all texts; drawn anew for each case.
    files: by path, as they are right. test: the command that is green then, and red with any of the slips."""

    name: str
    words: Callable[[Draw], Words]
    files: Mapping[str, str]
    slips: tuple[Slip, ...]
    test: str = PYTEST

    def filled(self, words: Words) -> dict[str, str]:
        """The right files with these words."""
        return {fill(path, words): fill(text, words).removeprefix("\n") for path, text in self.files.items()}


def fill(text: str, words: Words) -> str:
    return Template(text).substitute(words)
