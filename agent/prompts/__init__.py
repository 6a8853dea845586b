"""The texts that the model reads, one file each, with `$name` blanks."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template


@cache
def _template(name: str) -> Template:
    return Template((files(__package__) / f"{name}.txt").read_text("utf-8").strip())


def prompt(name: str, **blanks: object) -> str:
    """The text of a file with its blanks filled; KeyError for a blank left open."""
    return _template(name).substitute(blanks)
