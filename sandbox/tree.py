"""Files on their way into the workspace, packed into frames: several small ones in one, a large one in parts."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastslow.sandbox.paths import workspace_path
from fastslow.sandbox.sandbox import Limits, Mode
from fastslow.sandbox.wire import CHUNK

ROWS = 256  # files in one frame: each path may have 1,000 bytes, and three times that when escaped
TARGET = 4095  # bytes of a link's target

Incoming = tuple[str, Path | bytes, Mode | None]
"""Path in the workspace, content, mode; without one that of the file that is there."""


@dataclass(slots=True)
class Parcel:
    """What goes into one frame.

    rows: path, mode, bytes in the body, and with the last part of a file the digest of the whole, before it "".
    whole: path, size and digest of the files that end here, each as it was sent.
    """

    rows: list[tuple[str, Mode | None, int, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    whole: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def room(self) -> int:
        return CHUNK - len(self.body) if len(self.rows) < ROWS else 0


def packed(files: Iterable[Incoming], limits: Limits, *, follow: bool = False) -> Iterator[Parcel]:
    """The frames that bring these files, each read when it is asked for; one at least.

    follow: content may be a link of the host's. Raises ValueError for what is too much or no file, and OSError.
    """
    parcel, paths, total = Parcel(), set[str](), 0
    for given, content, mode in files:
        path = workspace_path(given)
        if path in paths:
            raise ValueError(f"{path!r} comes twice; name each file once")
        paths.add(path)
        if len(paths) > limits.files:
            raise ValueError(
                f"{path!r} is file number {len(paths):,} and at most {limits.files:,} may be put into the workspace; "
                "leave some out, or raise Limits(files=…)"
            )
        source, size = _opened(content, follow)
        with source:
            _check(path, content, mode, size, limits)
            if total + size > limits.disk:
                raise ValueError(
                    f"with {path!r} the files have {total + size:,} bytes together and at most {limits.disk:,} may be "
                    "put into the workspace; leave some out, or raise Limits(disk=…)"
                )
            if parcel.rows and (parcel.room < size <= CHUNK or not parcel.room):  # what fits into a frame is not cut
                yield parcel
                parcel = Parcel()
            sent, digest, ends = 0, hashlib.sha256(), False
            while not ends:
                data = source.read(min(parcel.room, size - sent))
                digest.update(data)
                sent += len(data)
                ends = sent == size or not data  # it can have become shorter
                parcel.rows.append((path, mode, len(data), digest.hexdigest() if ends else ""))
                parcel.body += data
                if not ends:
                    yield parcel
                    parcel = Parcel()
        total += sent
        parcel.whole.append((path, sent, digest.hexdigest()))
    yield parcel


def _opened(content: Path | bytes, follow: bool) -> tuple[BinaryIO, int]:
    """A readable file and its size."""
    if isinstance(content, bytes):
        return io.BytesIO(content), len(content)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe is not waited for
    try:
        fd = os.open(content, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket
            raise ValueError(_NO_FILE.format(str(content))) from error
        raise
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        os.close(fd)
        raise ValueError(_NO_FILE.format(str(content)))
    return open(fd, "rb", buffering=0), facts.st_size


_NO_FILE = "{!r} is not a regular file; only files can be put into the workspace"


def _check(path: str, content: Path | bytes, mode: Mode | None, size: int, limits: Limits) -> None:
    """ValueError for what is too large, or no link, before a byte of it is read."""
    if size > limits.upload:
        what = f"the content of {path!r}" if isinstance(content, bytes) else repr(str(content))
        raise ValueError(
            f"{what} has {size:,} bytes and at most {limits.upload:,} may be put into the workspace; "
            "pass a smaller extract, or raise Limits(upload=…)"
        )
    if mode == "120000" and not (isinstance(content, bytes) and 0 < size <= TARGET and b"\0" not in content):
        raise ValueError(
            f"the link {path!r} needs its target as content: 1 to {TARGET:,} bytes without a zero, "
            f"got {content if isinstance(content, Path) else content[:100]!r}"
        )
