"""Files that the user gives a task, each by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.texts import as_path, check_name

PREVIEW = 3  # first lines of a text file that the model is shown with its name


@dataclass(frozen=True, slots=True)
class Given:
    """A file of the user's, for the workspace: on the disk, or out of the journal."""

    name: str
    content: Path | bytes

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def head(self, size: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[:size]
        with self.content.open("rb") as file:
            return file.read(size)


def checked_files(files: Iterable[str | Path], largest: int) -> tuple[Path, ...]:
    """The task's files as paths; FileNotFoundError or ConfigurationError before anything was started."""
    paths = tuple(map(partial(as_path, "a file"), files))
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no file {str(path)!r}; check the name, or run from the folder that holds it")
        if not path.is_file():
            raise ConfigurationError(f"{str(path)!r} is not a regular file; pass each file by its own name")
        check_name(path)
        if path.stat().st_size > largest:
            raise ConfigurationError(
                f"{str(path)!r} has {path.stat().st_size:,} bytes and at most {largest:,} go into the sandbox; "
                "pass a smaller extract, or raise Limits(upload=…, disk=…, memory=…)"
            )
        with path.open("rb"):  # an unreadable file is a PermissionError here and not in the middle of a run
            pass
    names = [path.name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"two files are named {min(twice)!r}; they would overwrite each other, rename one")
    return paths


def described(files: Sequence[Given]) -> str:
    """Name, size and first lines of each file, for the model."""
    return "\n".join(f"{file.name} ({file.size} bytes){_preview(file.head(1000))}" for file in files)


def _preview(head: bytes) -> str:
    if b"\0" in head:
        return ""
    lines = head.decode("utf-8", "replace").splitlines()[:PREVIEW]
    return ", first lines:\n" + "\n".join(line[:200] for line in lines)
