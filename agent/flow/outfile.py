"""The lines that a map gives out: a projection of the journal, in a file that others may write to, or on the terminal.

A line is appended when its row is in the journal already, so one that is missing or half there is written again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

from fastslow.agent.folders import no_link
from fastslow.agent.record.jobs import StepResult


def line(result: StepResult) -> str:
    """A row's line out."""
    said = {
        "id": result.name,
        "status": str(result.exit),
        "output": result.output,
        "reason": result.reason,
        "turns": result.turns,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "run": result.run,
    }
    rare = {"failure": result.failure, "votes": dict(result.votes), "files": list(result.files)}
    said |= {name: value for name, value in rare.items() if value}
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace").decode()


class Lines(Protocol):
    """Where lines go."""

    def mend(self) -> set[str]:
        """Make all lines whole; returns the ids that are there."""

    def drop(self, ids: Collection[str]) -> None:
        """Take the lines of some rows away, and leave all others."""

    def append(self, lines: Sequence[str]) -> None: ...


class Printed:
    """Lines on standard output, where nothing is kept."""

    def mend(self) -> set[str]:
        return set()

    def drop(self, ids: Collection[str]) -> None:
        return

    def append(self, lines: Sequence[str]) -> None:
        sys.stdout.write("".join(f"{each}\n" for each in lines))
        sys.stdout.flush()


class OutFile:
    """Lines in a file. Every method raises OSError, with the path, and where a link is in the file's place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mend(self) -> set[str]:
        """Cuts half a last line off, as a crash or a full disk leaves it."""
        try:
            file = os.fdopen(no_link(str(self.path), os.O_RDWR), "rb+")
        except FileNotFoundError:
            return set()
        with file:
            ids, end = set(), 0
            for text in file:
                if not text.endswith(b"\n"):
                    file.truncate(end)
                    break
                end += len(text)
                ids.add(_id(text))
        return ids - {""}

    def drop(self, ids: Collection[str]) -> None:
        """Writes the file anew beside it and puts that in its place, so that a crash leaves one of the two."""
        if not ids or not self.path.exists():
            return
        with os.fdopen(no_link(str(self.path), os.O_RDONLY), "rb") as file:
            new = NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False)  # noqa: SIM115
            try:
                with new:
                    new.writelines(text for text in file if _id(text) not in ids)
                    os.fchmod(new.fileno(), os.fstat(file.fileno()).st_mode & 0o7777)
                    new.flush()
                    os.fsync(new.fileno())
                os.replace(new.name, self.path)
            except OSError as error:
                Path(new.name).unlink(missing_ok=True)
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def append(self, lines: Sequence[str]) -> None:
        """All of them, or as many as the disk takes; then no half one stays."""
        file = no_link(str(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            whole = os.fstat(file).st_size
            for part in _parts("".join(f"{each}\n" for each in lines).encode()):
                while part:
                    part = part[os.write(file, part) :]
        except OSError as error:
            os.ftruncate(file, whole)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            os.close(file)


def _parts(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), 1 << 20):
        yield text[start : start + (1 << 20)]


def _id(text: bytes) -> str:
    """Of the row that a line is of; `""` for a line that is none of a map."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    name = said.get("id") if isinstance(said, dict) else None
    return name if isinstance(name, str) else ""
