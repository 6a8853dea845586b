"""Reads files of a folder of the user's, and follows no link on the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from fastslow.agent.tree.select import LARGEST, Entry

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Reader:
    """Reads entries of a folder, the same folder's one after another."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent = PurePosixPath()
        self._folder = os.dup(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._folder)
        os.close(self._root)

    def read(self, entry: Entry) -> bytes | None:
        """A file's content, or where a link leads; None for what is another kind of thing by now. OSError."""
        path = PurePosixPath(entry.path)
        self._enter(path.parent)
        if entry.mode == "120000":
            return os.fsencode(os.readlink(path.name, dir_fd=self._folder))
        with open(path.name, "rb", opener=lambda name, _: os.open(name, FILE, dir_fd=self._folder)) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
                return None
            content = file.read(LARGEST + 1)
            return content if len(content) <= LARGEST else None

    def _enter(self, parent: PurePosixPath) -> None:
        if parent == self._parent:
            return
        here = os.dup(self._root)
        for name in parent.parts:
            try:
                inner = os.open(name, FOLDER, dir_fd=here)
            finally:
                os.close(here)
            here = inner
        os.close(self._folder)
        self._folder, self._parent = here, parent
