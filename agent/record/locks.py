"""Locks on runs, so that two processes never carry one out: files that go with whoever holds them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from fastslow.agent.errors import JournalBroken
from fastslow.agent.folders import no_link


def lock(path: Path) -> TextIO | None:
    """A lock on a file that may be unlinked at any time by whoever held it; None while another process has it."""
    while True:
        try:
            handle = open(path, "a", opener=no_link)  # noqa: SIM115 - it is held for as long as the run is
        except OSError as error:
            raise JournalBroken(f"the lock {path} cannot be opened: {error.strerror}; remove what is there") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()
