"""What every row of a map is asked, as data: a worker in another process or on another machine needs no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from fastslow.agent.budget import Budget
from fastslow.agent.modes import Think
from fastslow.sandbox import Limits

EACH_TURNS = 4  # of a row that is one constrained call: asked once, and told three times what was wrong


@dataclass(frozen=True, slots=True)
class MapSpec:
    """How the rows of a map are carried out.

    job: its id in the journal. prompt: with the names of columns in braces. schema: JSON schema that each output obeys;
    None for text. model: the served id; None takes the only one. base_urls: of vLLM servers; none is the managed one.
    each: what one row may spend, one sample of a vote each. votes: samples of a row. check: a command that must succeed
    in the row's sandbox. tools: rows may run code. files: each row brings a file. at_once: rows that one process has in
    hand. packages, image, limits, allow: of the sandbox.
    """

    job: str
    prompt: str
    schema: Mapping[str, Any] | None = None
    model: str | None = None
    base_urls: tuple[str, ...] = ()
    think: Think = "auto"
    each: Budget = field(default_factory=lambda: Budget(turns=EACH_TURNS))
    votes: int = 1
    check: str = ""
    tools: bool = False
    files: bool = False
    at_once: int = 16
    packages: tuple[str, ...] = ()
    image: str | None = None
    limits: Limits = field(default_factory=Limits)
    allow: tuple[str, ...] = ()

    @property
    def sandboxed(self) -> bool:
        """Whether a row is a whole run in a sandbox, not one constrained call."""
        return self.tools or self.files or bool(self.check)

    def to_json(self) -> str:
        return _SPEC.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> MapSpec:
        """Raises ValueError."""
        return _SPEC.validate_json(text)


_SPEC: TypeAdapter[MapSpec] = TypeAdapter(MapSpec)
