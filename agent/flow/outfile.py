"""The lines that a map gives out: a projection of the journal, in a file that others may write to, or on the terminal.

A line is appended when its row is in the journal already, so one that is missing or half there is written again.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.folders import no_link
from fastslow.agent.record.jobs import StepResult

BEGINNING = b'{"id": "'  # of each line
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")  # JSON may have them as they are; terminals obey them, or break lines


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
    text = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace").decode()
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Lines(Protocol):
    """Where lines go."""

    def empty(self) -> bool:
        """Whether nothing is there, by whomever."""

    def mend(self) -> set[str]:
        """Make all lines whole; returns the ids that are there."""

    def drop(self, ids: Collection[str]) -> None:
        """Take the lines of some rows away, and leave all others."""

    def append(self, lines: Sequence[str]) -> None: ...


class Printed:
    """Lines on standard output, where nothing is kept."""

    def empty(self) -> bool:
        return True

    def mend(self) -> set[str]:
        return set()

    def drop(self, ids: Collection[str]) -> None:
        return

    def append(self, lines: Sequence[str]) -> None:
        sys.stdout.write("".join(f"{each}\n" for each in lines))
        sys.stdout.flush()


class OutFile:
    """Lines in a file. Every method raises OSError, with the path, and where a link is in the file's place;
    ConfigurationError where what is there is no regular file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def empty(self) -> bool:
        try:
            file = self._opened(os.O_RDONLY)
        except FileNotFoundError:
            return True
        with os.fdopen(file, "rb") as opened:
            return not opened.read(1)

    def mend(self) -> set[str]:
        """Cuts half a last line of ours off, as a crash or a full disk leaves it, and ends one of others."""
        try:
            file = os.fdopen(self._opened(os.O_RDWR), "rb+")
        except FileNotFoundError:
            return set()
        with file:
            ids, end, text = set(), 0, b"\n"
            for text in file:
                if text.endswith(b"\n"):
                    end += len(text)
                    ids.add(_id(text))
            if not text.endswith(b"\n") and text[: len(BEGINNING)] == BEGINNING[: len(text)]:
                file.truncate(end)
            elif not text.endswith(b"\n"):
                file.write(b"\n")
        return ids - {""}

    def _opened(self, flags: int) -> int:
        file = no_link(str(self.path), flags | os.O_NONBLOCK)  # a pipe would have us wait
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ConfigurationError(f"lines go to a file, and {self.path} is a device or a pipe; give another --out")
        return file

    def drop(self, ids: Collection[str]) -> None:
        """Writes the file anew beside it and puts that in its place, so that a crash leaves one of the two."""
        if not ids or not self.path.exists():
            return
        with os.fdopen(self._opened(os.O_RDONLY), "rb") as file:
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
        file = self._opened(os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
