"""Files on their way into a user's folder: all of them arrive, or none does, whatever happens in between.

New contents wait in a hidden folder on the same disk, and what they replace is kept there until all is done. A manifest
in it says what is under way, so that the next of us takes back what one left half done that was killed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from fastslow.agent.errors import ApplyFailed
from fastslow.agent.tree.changes import FILE, LINK, PROGRAM, Version
from fastslow.agent.tree.disk import INNER, LOOK, Disk, Found, look
from fastslow.agent.tree.names import STAGING, refusal, shown, some

MANIFEST, DONE = "manifest.json", "done"
LARGEST_MANIFEST = 64 << 20
TRIES = 1000  # names for a file that cannot have its own
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What a file system says that has no second names for files, or allows none for this one.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES}


@dataclass(frozen=True, slots=True)
class Move:
    """old: what stands at the path, which is kept. new: what comes there. None for nothing."""

    path: str
    old: Version | None
    new: Version | None


class Staging:
    """moves: in the order in which they are made, what only goes first. made: folders that come into being, the outer
    ones first. removed: folders that make room for a file, with their permission bits, the outer ones first."""

    def __init__(
        self, disk: Disk, name: str, moves: Sequence[Move], made: Sequence[str], removed: Mapping[str, int]
    ) -> None:
        self._disk, self._name = disk, name
        self._moves, self._made, self._removed = moves, made, removed
        self._folder = os.open(name, INNER, dir_fd=disk.top)
        self._touched: set[str] = set()  # folders whose names changed

    @classmethod
    def new(cls, disk: Disk, moves: Sequence[Move], made: Sequence[str], removed: Mapping[str, int]) -> Staging:
        name = f"{STAGING}{secrets.token_hex(8)}"
        os.mkdir(name, 0o700, dir_fd=disk.top)
        return cls(disk, name, moves, made, removed)

    # --- preparing -------------------------------------------------------------------------------

    def add(self, number: int, content: bytes, mode: str, permissions: int | None) -> None:
        """A content that waits. permissions: None for those of a new file."""
        name = f"new-{number}"
        if mode == LINK:
            os.symlink(content, os.fsencode(name), dir_fd=self._folder)
            return
        descriptor = os.open(name, _NEW, 0o777 if mode == PROGRAM else 0o666, dir_fd=self._folder)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if permissions is not None:
                os.fchmod(descriptor, permissions)
            os.fsync(descriptor)

    def own_as(self, number: int, path: str) -> None:
        """Give a waiting file to the owner of the one that it replaces, where we may."""
        with suppress(OSError), self._disk.parent(path) as (folder, name):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            there = os.stat(f"new-{number}", dir_fd=self._folder, follow_symlinks=False)
            owned = (facts.st_uid, facts.st_gid) == (there.st_uid, there.st_gid)
            if not owned and stat.S_ISREG(there.st_mode):
                os.chown(f"new-{number}", facts.st_uid, facts.st_gid, dir_fd=self._folder, follow_symlinks=False)
                os.chmod(f"new-{number}", stat.S_IMODE(there.st_mode), dir_fd=self._folder)

    def begin(self) -> None:
        """From here on, whoever finds the folder takes back what was done."""
        facts = {"moves": [asdict(move) for move in self._moves], "made": self._made, "removed": self._removed}
        with open(os.open("part", _NEW, 0o600, dir_fd=self._folder), "w", encoding="ascii") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename("part", MANIFEST, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)
        os.fsync(self._disk.top)

    # --- the moves -------------------------------------------------------------------------------

    def take(self, number: int) -> None:
        """Keep what stands at the path; nothing does then."""
        path = self._moves[number].path
        self._touched.add(path.rpartition("/")[0])
        with self._disk.parent(path) as (folder, name):
            os.rename(name, f"old-{number}", src_dir_fd=folder, dst_dir_fd=self._folder)

    def make_room(self) -> None:
        """Remove the folders in whose place a file comes; they are empty by now."""
        for path in sorted(self._removed, reverse=True):
            with self._disk.parent(path) as (folder, name):
                os.rmdir(name, dir_fd=folder)

    def place(self, number: int) -> None:
        """Put what waits at the path. FileExistsError where something stands there."""
        path = self._moves[number].path
        self._touched.add(path.rpartition("/")[0])
        with self._disk.parent(path, make=True) as (folder, name):
            _place(self._folder, f"new-{number}", folder, name)

    def kept(self, number: int) -> Found:
        """What stood at the path, as it was taken away."""
        return look(self._folder, f"old-{number}", self._moves[number].path)

    def finish(self) -> None:
        """All is done, and nothing is taken back any more."""
        for path in self._touched:
            with suppress(FileNotFoundError, NotADirectoryError), self._disk.folder(path) as folder:  # it went, too
                os.fsync(folder)
        os.rename(MANIFEST, DONE, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        with suppress(OSError):  # it is renamed: after a crash of the machine all may be taken back, or nothing
            os.fsync(self._folder)

    # --- taking back -----------------------------------------------------------------------------

    def take_back(self) -> list[str]:
        """Put everything back. What of it could not have its own name: others had written a file of that name."""
        notes = [self._back(number) for number, move in reversed([*enumerate(self._moves)]) if move.new]
        for path in reversed(self._made):
            with suppress(OSError), self._disk.parent(path) as (folder, name):  # others put something in
                os.rmdir(name, dir_fd=folder)
        for path, permissions in self._removed.items():
            with suppress(FileExistsError), self._disk.parent(path, make=True) as (folder, name):
                os.mkdir(name, dir_fd=folder)
                os.chmod(name, permissions, dir_fd=folder)
        notes += [self._back(number) for number, move in reversed([*enumerate(self._moves)]) if not move.new]
        with suppress(FileNotFoundError):  # it was not begun
            self.finish()
        return [note for note in notes if note]

    def _back(self, number: int) -> str:
        move, old = self._moves[number], f"old-{number}"
        try:
            kept = os.stat(old, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            if move.old is None:
                self._remove_ours(number)
            return ""
        with self._disk.parent(move.path, make=True) as (folder, name):
            try:
                there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                _place(self._folder, old, folder, name)
                return ""
            if os.path.samestat(there, kept):
                return ""
            if self._is_ours(number, folder, name):
                os.rename(old, name, src_dir_fd=self._folder, dst_dir_fd=folder)
                return ""
            for beside in (f"{name}.before-{n}" for n in range(1, TRIES)):
                with suppress(FileExistsError):
                    _place(self._folder, old, folder, beside)
                    return f"{shown(move.path)} was written by others meanwhile: what was there before is {beside}"
        raise FileExistsError(errno.EEXIST, f"{TRIES} files of the name {name}.before-… are there")

    def _remove_ours(self, number: int) -> None:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            self._disk.parent(self._moves[number].path) as (folder, name),
        ):
            if self._is_ours(number, folder, name):
                os.unlink(name, dir_fd=folder)

    def _is_ours(self, number: int, folder: int, name: str) -> bool:
        """Whether a file is the very one that we put there, and as we did."""
        if _is_claim(os.stat(name, dir_fd=folder, follow_symlinks=False)):
            return True
        new, found = self._moves[number].new, look(folder, name, name).version
        if new is None or found is None or found.digest != new.digest or (found.mode == LINK) != (new.mode == LINK):
            return False
        try:
            waits = os.stat(f"new-{number}", dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:  # it has gone there itself
            return True
        return os.path.samestat(waits, os.stat(name, dir_fd=folder, follow_symlinks=False))

    # --- the end ---------------------------------------------------------------------------------

    def remove(self) -> None:
        """The hidden folder, with what is left in it; what we did not put there stays, and so does it."""
        with suppress(OSError):
            for name in os.listdir(self._folder):
                if name in (MANIFEST, DONE, "part") or name.startswith(("old-", "new-")):
                    with suppress(OSError):  # the next of us tries again
                        os.unlink(name, dir_fd=self._folder)
            os.rmdir(self._name, dir_fd=self._disk.top)

    def close(self) -> None:
        os.close(self._folder)


def repair(disk: Disk) -> tuple[str, ...]:
    """Take back what one of us left half done that was killed. What was done, for a person."""
    with os.scandir(disk.top) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith(STAGING))
    if not names:
        return ()
    with disk.locked():
        return tuple(note for name in names for note in _repair(disk, name))


def _repair(disk: Disk, name: str) -> list[str]:
    try:
        facts = _manifest(disk, name)
        staging = Staging(disk, name, *_checked(facts)) if facts else Staging(disk, name, (), (), {})
    except (ValueError, KeyError, TypeError, OSError):
        return [f"{shown(name)} is no folder of files on their way, though it is named so; remove it, or rename it"]
    try:
        notes = []
        if facts:
            notes = staging.take_back()
            paths = [move.path for move in staging._moves]
            notes.insert(0, f"changes that were being written here were cut off, and were taken back: {some(paths)}")
        staging.remove()
    except OSError as error:
        raise ApplyFailed(
            f"changes that were being written to {disk.root} were cut off, and cannot be taken back: {error.strerror} "
            f"({error.filename}); what was there before is kept in {name}"
        ) from error
    finally:
        staging.close()
    return notes


def _manifest(disk: Disk, name: str) -> Any:
    """Nothing where none says that something is under way."""
    folder = os.open(name, INNER, dir_fd=disk.top)
    try:
        with open(MANIFEST, "rb", opener=lambda path, _: os.open(path, LOOK, dir_fd=folder)) as file:
            facts = json.loads(file.read(LARGEST_MANIFEST))
            if not isinstance(facts, dict):
                raise ValueError(facts)
            return facts
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)


def _checked(facts: Any) -> tuple[list[Move], list[str], dict[str, int]]:
    """A manifest may come with somebody's repository: it names nothing that a run could not. ValueError."""
    moves = [Move(_path(move["path"]), _version(move["old"]), _version(move["new"])) for move in facts["moves"]]
    removed = {_path(path): int(mode) & 0o777 for path, mode in facts["removed"].items()}
    return moves, [_path(path) for path in facts["made"]], removed


def _path(path: Any) -> str:
    if not isinstance(path, str) or refusal(path):
        raise ValueError(path)
    return path


def _version(facts: Any) -> Version | None:
    if facts is None:
        return None
    version = Version(str(facts["digest"]), int(facts["size"]), str(facts["mode"]))
    if version.mode not in (FILE, PROGRAM, LINK):
        raise ValueError(version.mode)
    return version


def _place(source: int, old: str, folder: int, name: str) -> None:
    """Give a waiting file its name, unless something has it: FileExistsError. It may keep the one that it had, too."""
    if stat.S_ISDIR(os.stat(old, dir_fd=source, follow_symlinks=False).st_mode):  # others put it where a file was
        os.rename(old, name, src_dir_fd=source, dst_dir_fd=folder)
        return
    try:
        os.link(old, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(name, _NEW, 0, dir_fd=folder))  # it is ours now; see `_is_claim`
        try:
            os.rename(old, name, src_dir_fd=source, dst_dir_fd=folder)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise


def _is_claim(facts: os.stat_result) -> bool:
    """Whether a file is what `_place` holds a name with: empty, and for nobody to read."""
    return stat.S_ISREG(facts.st_mode) and not facts.st_size and not stat.S_IMODE(facts.st_mode)
