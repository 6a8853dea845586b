"""The texts that the model reads, one file each, with `$name` blanks."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template


@cache
def template(name: str) -> str:
    """The text of a file, its blanks open."""
    return (files(__package__) / f"{name}.txt").read_text("utf-8").strip()


def fill(text: str, **blanks: object) -> str:
    """A text with its blanks filled; KeyError for a blank left open."""
    return Template(text).substitute(blanks)


def prompt(name: str, **blanks: object) -> str:
    """`fill` of a file."""
    return fill(template(name), **blanks)
