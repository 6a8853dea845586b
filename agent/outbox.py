"""Brings a run's files into a folder on this machine: follows no link, and replaces nothing that it did not bring."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BLOCK = 1 << 20
HOLE = 1 << 16
LARGEST = 64 << 20  # of a file that may be an earlier one of ours: larger ones are read by nobody here
SHOWN = 5  # names of files with one reason
TRIES = 1000  # names that are tried where one is taken
HIDDEN = "its name is hidden, and programs of this machine obey such files"


class Outbox:
    """A folder that files are brought into; made with the first of them.

    folder: as the user named it, links and all. below: folders in it that nobody named, such as `fastslow-out/…`.
    versions: the digests of what this run may have brought to a path before.
    """

    def __init__(self, folder: Path, below: str, versions: Callable[[str], Collection[str]]) -> None:
        self._folder = folder
        self._below = PurePosixPath(below).parts
        self._versions = versions
        self._brought: set[tuple[int, int]] = set()  # inodes: on some machines two names are one

    @contextmanager
    def bring(self, path: str) -> Iterator[Arrival]:
        """A file on its way in: write its content, then `settle` it; else nothing of it stays.

        Raises ValueError for a name that stays inside, OSError where this machine does not take it.
        """
        *folders, name = PurePosixPath(path).parts
        if any(part.startswith(".") for part in (*folders, name)):
            raise ValueError(HIDDEN)
        here, way = self._open(), self._folder
        try:
            for folder in (*self._below, *folders):
                inner, entered = _enter(here, folder)
                os.close(here)
                here, way = inner, way / entered
            moved = way != self._folder.joinpath(*self._below, *folders)
            arrival = Arrival(here, way, name, self._versions(path), self._brought, moved=moved)
            try:
                yield arrival
            finally:
                arrival.close()
        finally:
            os.close(here)

    def _open(self) -> int:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return os.open(self._folder, FOLDER)
        except OSError as error:
            what = "it is none" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
            raise ValueError(f"{self._folder} cannot be used as a folder: {what}; name another one") from error


class Arrival:
    """A file in an open folder, under a name of its own until it is whole."""

    def __init__(
        self,
        folder: int,
        way: Path,
        name: str,
        versions: Collection[str],
        brought: set[tuple[int, int]],
        *,
        moved: bool,
    ) -> None:
        self._folder, self._way, self._name = folder, way, name
        self._versions, self._brought, self._moved = versions, brought, moved
        self._digest = sha256()
        self._part = f".fastslow-{secrets.token_hex(8)}.part"
        self._file = open(os.open(self._part, NEW, 0o666, dir_fd=folder), "wb")  # noqa: SIM115 - see `close`

    def write(self, data: bytes) -> None:
        """Zeros become holes: code had them for nothing, too."""
        for start in range(0, len(data), HOLE):
            block = data[start : start + HOLE]
            if block.strip(b"\0"):
                self._file.write(block)
            else:
                self._file.seek(len(block), os.SEEK_CUR)
        self._digest.update(data)

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def settle(self) -> tuple[Path, bool]:
        """Where it is, and whether it has the name that it was to have."""
        self._file.truncate()  # to where we are: what ends with a hole is as long as it was
        self._file.close()
        for name in _names(self._name):
            if self._is_here(name) or self._take(name):
                self._brought.add(_inode(os.stat(name, dir_fd=self._folder, follow_symlinks=False)))
                return self._way / name, name == self._name and not self._moved
        raise FileExistsError(f"{TRIES} files of that name are there already")

    def close(self) -> None:
        with suppress(OSError):  # its disk is full: that was told when it was written
            self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._part, dir_fd=self._folder)

    def _is_here(self, name: str) -> bool:
        """Whether the name holds this content; an earlier one of this run gives way to it."""
        there, inode = _look(self._folder, name)
        if there == self._digest.hexdigest():
            return True
        if there not in self._versions or inode in self._brought:
            return False
        os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        return True

    def _take(self, name: str) -> bool:
        """Give it a name that nobody has."""
        try:
            os.link(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError:  # a file system without links, such as FAT
            try:
                os.close(os.open(name, NEW, dir_fd=self._folder))
            except FileExistsError:
                return False
            os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        return True


def _enter(outer: int, folder: str) -> tuple[int, str]:
    """A folder in an open one, made where it is not there. What is a link, or a file, is passed by."""
    for name in _names(folder):
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=outer)
        with suppress(NotADirectoryError):  # of a link, too
            return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=outer), name
    raise FileExistsError(f"{TRIES} files or links named {folder!r} are there already")


def _names(name: str) -> Iterator[str]:
    """A name, and what takes its place where it is taken: `plot.png`, `plot-2.png`, `plot-3.png` …"""
    yield name
    path = PurePosixPath(name)
    yield from (f"{path.stem}-{number}{path.suffix}" for number in range(2, TRIES))


def _look(folder: int, name: str) -> tuple[str, tuple[int, int]]:
    """Digest and inode of a regular file; nothing of anything else."""
    try:
        file = open(name, "rb", opener=lambda path, _: os.open(path, LOOK, dir_fd=folder))  # noqa: SIM115 - see below
    except OSError:  # of a link, and of a folder, too
        return "", (0, 0)
    with file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
            return "", (0, 0)
        digest = sha256()
        while data := file.read(BLOCK):
            digest.update(data)
    return digest.hexdigest(), _inode(facts)


def _inode(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def why(error: OSError | ValueError) -> str:
    """Without the file's name, which is told once for all with the same reason."""
    if isinstance(error, FileNotFoundError):  # a process in the background has removed it meanwhile
        return "it is not there any more"
    return getattr(error, "strerror", None) or str(error)


def grouped(refused: Sequence[tuple[str, str]]) -> list[str]:
    """Names, the first few, behind what is the matter with them."""
    reasons: dict[str, list[str]] = {}
    for name, reason in refused:
        reasons.setdefault(reason[:300], []).append(name)
    return [f"{some(names)} ({reason})" for reason, names in reasons.items()]


def some(names: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
