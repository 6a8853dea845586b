"""What a user asks for who gives a run a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.texts import check_path


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder that a run works on a copy of.

    test: the command that proves the work; None looks for the usual runner, "" means that there is none.
    protect: globs of the files that are put back as they were before the test runs; None: the tests that existed.
    trust: whether the model is told what the project tells agents (AGENTS.md, skills); None: where a person trusted it
    as it is. max_bytes, max_files: of what is copied in, at most. Raises ConfigurationError for what makes no sense;
    whether the folder is there is looked at when a run begins.
    """

    root: str | Path = "."
    test: str | None = None
    protect: tuple[str, ...] | None = None
    trust: bool | None = None
    max_bytes: int = 512 << 20
    max_files: int = 20_000

    def __post_init__(self) -> None:
        check_path("the folder", self.root)
        if self.test is not None and (not isinstance(self.test, str) or "\0" in self.test):
            raise ConfigurationError(f"test is a command as text, such as 'pytest -q', got {self.test!r:.80}")
        if self.protect is not None and not (
            isinstance(self.protect, tuple) and all(isinstance(glob, str) and glob for glob in self.protect)
        ):
            raise ConfigurationError(f"protect is a tuple of patterns, such as ('tests/*',), got {self.protect!r:.80}")
        for name in ("max_bytes", "max_files"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"{name} is a whole number from 1 on, got {value!r:.80}")
