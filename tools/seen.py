"""What a run has seen of its files, so that a tool can refuse to overwrite what nobody looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastslow.sandbox.paths import workspace_path

ANY = ""  # in the place of a digest: whatever the file is
LOOKING = {"read_file", "write_file", "edit_file"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Lines of a file that were read: first and last, the file's digest then, and how many times in a row."""

    first: int
    last: int
    digest: str
    times: int = 1


@dataclass(slots=True)
class Seen:
    """By path: the digest of a file as the tools last read or wrote it, the lines that were read of it last, and how
    many edits of it have failed since one was made. changing: held from the look at a file until it is written, since
    the steps of a plan may work side by side."""

    digests: dict[str, str] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def read(self, path: str, digest: str, first: int, last: int) -> Reading:
        """Note lines that were read."""
        before, times = self.readings.get(path), 1
        if before and (before.first, before.last, before.digest) == (first, last, digest):
            times += before.times
        self.digests[path] = digest
        self.readings[path] = Reading(first, last, digest, times)
        return self.readings[path]

    def wrote(self, path: str, digest: str) -> None:
        """Note what a tool has written."""
        self.digests[path] = digest
        self.failed.pop(path, None)

    def edit_failed(self, path: str) -> int:
        """Note an edit that was not made, and say how many were not since the last one that was."""
        self.failed[path] = self.failed.get(path, 0) + 1
        return self.failed[path]

    def knows(self, path: str, digest: str) -> bool:
        """Whether the file is as the tools last read or wrote it."""
        return self.digests.get(path) in (ANY, digest)

    def recall(self, tool: str, received: Mapping[str, Any], written: Iterable[str]) -> None:
        """Note a call that succeeded in an earlier life of the run, whose file is as it was left then."""
        for path in written:
            self.digests.pop(path, None)
        if tool in LOOKING:
            self.digests[workspace_path(received["path"])] = ANY
