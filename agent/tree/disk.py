"""A user's folder, opened: what is below is reached without following a link, and looked at as it is."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fastslow.agent.errors import ApplyFailed
from fastslow.agent.tree.changes import FILE, LINK, PROGRAM, Version, digest_of
from fastslow.agent.tree.names import is_git, shown

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
INNER = FOLDER | os.O_NOFOLLOW
LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LARGEST = 64 << 20  # bytes of a file that is read


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path. version: of a file or a link, with its content and its permission bits.

    blocked: why nothing can be put there; by: the path of what is in the way, a folder at the path itself included.
    other: what is there is no file that could be removed.
    """

    version: Version | None = None
    content: bytes = b""
    permissions: int | None = None
    blocked: str = ""
    by: str = ""
    other: bool = False


class Disk:
    """Use it as a context. ApplyFailed where the folder cannot be opened, or is Git's."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.top = -1

    def __enter__(self) -> Disk:
        if any(is_git(part) for part in self.root.parts):
            raise ApplyFailed(f"{self.root} is a folder of Git's own; nothing is written there")
        try:
            self.top = os.open(self.root, FOLDER)
        except OSError as error:
            raise ApplyFailed(
                f"the folder {self.root} cannot be opened: {error.strerror}; nothing was changed"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self.top)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one of us that writes here."""
        try:
            fcntl.flock(self.top, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ApplyFailed(f"changes are being written to {self.root} by another process; wait for it") from error
        except OSError:  # a file system that has no locks
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(self.top, fcntl.LOCK_UN)

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A folder below, "" for the top. NotADirectoryError where a link or a file is in its place."""
        here = os.dup(self.top)
        try:
            for part in filter(None, path.split("/")):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                try:
                    inner = os.open(part, INNER, dir_fd=here)
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    raise NotADirectoryError(errno.ENOTDIR, "a link is in the way", path) from error
                os.close(here)
                here = inner
            yield here
        finally:
            os.close(here)

    @contextmanager
    def parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that a file lies in, and its name there."""
        folder, _, name = path.rpartition("/")
        with self.folder(folder, make=make) as here:
            yield here, name

    def look(self, path: str) -> Found:
        """What stands at a path."""
        try:
            with self.parent(path) as (folder, name):
                return look(folder, name, path)
        except FileNotFoundError:
            return Found()
        except NotADirectoryError:
            return self._in_the_way(path)
        except OSError as error:
            return Found(blocked=f"it cannot be looked at: {error.strerror}", by=path)

    def _in_the_way(self, path: str) -> Found:
        at = path.find("/")
        while at > 0:
            found = self.look(path[:at])
            if found.version:
                what = "a link" if found.version.mode == LINK else "a file"
                return Found(
                    blocked=f"{what} is in the place of the folder {shown(path[:at])}", by=path[:at], other=True
                )
            at = path.find("/", at + 1)
        return Found(blocked="a folder that it lies in is none", by=path.rpartition("/")[0], other=True)

    def files(self, path: str) -> Iterator[str]:
        """All below a folder that is no folder."""
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            with self.folder(folder) as here, os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{folder}/{entry.name}")
                    else:
                        yield f"{folder}/{entry.name}"

    def folders(self, path: str) -> Iterator[str]:
        """A folder and all folders below it, the outer ones first."""
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            yield folder
            with self.folder(folder) as here, os.scandir(here) as entries:
                waiting += [f"{folder}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)]


def look(folder: int, name: str, path: str) -> Found:
    """What has a name in an open folder. FileNotFoundError where nothing has."""
    facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(facts.st_mode):
        content = os.fsencode(os.readlink(name, dir_fd=folder))
        return Found(Version(digest_of(content), len(content), LINK), content)
    if stat.S_ISDIR(facts.st_mode):
        return Found(blocked="a folder is in its place", by=path, other=True)
    if not stat.S_ISREG(facts.st_mode):
        return Found(blocked="what is in its place is no file", by=path, other=True)
    try:
        with open(name, "rb", opener=lambda there, _: os.open(there, LOOK, dir_fd=folder)) as file:
            content = file.read(LARGEST + 1)
            facts = os.fstat(file.fileno())
    except OSError as error:
        return Found(blocked=f"it cannot be read: {error.strerror}", by=path)
    if len(content) > LARGEST:
        return Found(blocked=f"it was changed meanwhile, and has more than {LARGEST >> 20} MiB now", by=path)
    mode = PROGRAM if facts.st_mode & 0o100 else FILE
    return Found(Version(digest_of(content), len(content), mode), content, stat.S_IMODE(facts.st_mode) & 0o777)
