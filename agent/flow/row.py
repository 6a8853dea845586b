"""One row of a table, as a map carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked about once.

    number: its place in the input, from 1. id: what its line out is known by. key: of its step in the journal, made of
    the id and of all that the model is told of it. values: of the columns that the prompt names. file: on the host,
    for the row's sandbox; `""` for none. attempt: how often it was done before, and failed.
    """

    number: int
    id: str
    key: str
    values: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    attempt: int = 0
