"""The files of a workspace as the host knows them: all of them once, then what changed. Each word of the guest's is
checked, and how many it may say is bounded here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastslow.sandbox import wire
from fastslow.sandbox.paths import NAME_BYTES, ODD, PATH_BYTES, in_git, is_canonical
from fastslow.sandbox.sandbox import Changes, FileInfo, LeftOut, Limits
from fastslow.sandbox.wire import Frame, Message, ProtocolError

DIGEST = 64
ROWS = 64  # files in one frame
NAMED = 100  # of what is no file, or has no name that we take
UNHEARD = -1  # no number of the guest's
LEFT = "\0"  # before such a name in the log: no path begins so


class Listing:
    """What changed when. number: of the state of now; 0 before anything is known. heard: the guest's number for it,
    UNHEARD where it has to tell all again. links: they are files."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.number = 0
        self.heard = 0
        self.links = False
        self.files: dict[str, FileInfo] = {}
        self._left: dict[str, LeftOut] = {}
        self._more = 0
        self._size = 0  # of all files together, as far as they can come out
        self._log: dict[str, int] = {}  # path -> the number with which it changed or went, the latest last
        self._forgotten = 0  # number up to which it is not known any more what went
        self._sorted: tuple[FileInfo, ...] | None = ()
        self._reasons = {
            "": "",
            "link": "a link",
            "special": "a pipe, socket or device",
            "name": "its name has control characters, is no Unicode, or has more than "
            f"{NAME_BYTES} bytes ({PATH_BYTES:,} with its folders)",
            "deep": "too many folders deep",
            "unreadable": "it cannot be read",
            "large": f"larger than {limits.upload:,} bytes",
            "sum": f"with it the files would have more than {limits.disk:,} bytes together",
            "many": f"there are more than {limits.files:,} files",
        }

    def all(self) -> tuple[FileInfo, ...]:
        """All files, sorted by path."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self.files.values(), key=lambda info: info.path))
        return self._sorted

    def changes(self, since: int) -> Changes:
        """What became of the files since the state of that number, or all of them."""
        if since == self.number:
            return Changes(since)
        whole = since <= self._forgotten
        paths = []
        for path, number in reversed(self._log.items()):
            if number <= since and not whole:
                break
            paths.append(path)
        changed = [self.files[path] for path in sorted(paths) if path in self.files]
        removed = [path for path in paths if path not in self.files and not path.startswith(LEFT)]
        left = [self._left[path] for path in sorted(paths) if path in self._left]
        if self._more and left:
            left.append(LeftOut("", f"{self._more:,} more of these kinds"))
        return Changes(self.number, tuple(changed), () if whole else tuple(removed), tuple(left), whole)

    def note(self, info: FileInfo) -> None:
        """A file that we have put there ourselves."""
        if self.files.get(info.path) == info or in_git(info.path) or (info.mode == "120000" and not self.links):
            return
        self.number += 1
        self._size += info.size - (_size([self.files[info.path]]) if info.path in self.files else 0)
        self._set(info)

    def apply(self, update: Update, done: Message) -> None:
        """Take in what a listing said. Raises ProtocolError, and then nothing is taken in."""
        heard, left = wire.integer(done, "number", 1, 1 << 53), self._left_out(done)
        gone = set(update.gone)
        if wire.flag(done, "whole"):
            gone = self.files.keys() - update.files.keys()
        elif not gone <= self.files.keys() or gone & update.files.keys():
            raise ProtocolError("a file is gone that was never there, or is still")
        count = len(self.files.keys() | update.files.keys()) - len(gone)
        before = [self.files[path] for path in (*gone, *update.files) if path in self.files]
        size = self._size + _size(update.files.values()) - _size(before)
        if count > self.limits.files or size > self.limits.disk:
            raise ProtocolError("more files, or larger ones, than there is room for")
        self.heard, self._size = heard, size
        changed = [info for info in update.files.values() if info.left or self.files.get(info.path) != info]
        if changed or gone or left is not None:
            self.number += 1
        for path in gone:
            del self.files[path]
            self._touch(path)
        for info in changed:
            self._set(info)
        if left is not None:
            self._replace_left(left)
        self._shorten()

    def _set(self, info: FileInfo) -> None:
        self.files[info.path] = info
        self._touch(info.path)

    def _touch(self, path: str) -> None:
        self._log.pop(path, None)
        self._log[path] = self.number
        self._sorted = None

    def _replace_left(self, left: dict[str, LeftOut]) -> None:
        for key in self._left.keys() - left.keys():
            self._log.pop(key, None)
        for key in left:
            if left[key] != self._left.get(key):
                self._touch(key)
        self._left = left

    def _shorten(self) -> None:
        """Forget what went long ago: code can make and remove files for ever."""
        if len(self._log) > 4 * self.limits.files:
            self._log = {path: n for path, n in self._log.items() if path in self.files or path in self._left}
            self._forgotten = self.number

    def _left_out(self, done: Message) -> dict[str, LeftOut] | None:
        """What is there and is no file, or has no name for us; None: as before."""
        rows = done.get("left")
        if rows is None:
            return None
        if not isinstance(rows, list) or len(rows) > NAMED:
            raise ProtocolError("too many names of what is no file, or none")
        self._more = wire.integer(done, "more", 0, 1 << 53)
        left = {}
        for row in rows:
            name, reason = self._texts(row)
            if ODD.search(name):
                raise ProtocolError("a name that is not in order")
            left[LEFT + name] = LeftOut(name, reason)
        return left

    def file(self, row: object) -> FileInfo:
        """A row `[path, size, digest, why it stays inside, mode]`, each checked: callers make host paths of them."""
        if not isinstance(row, list) or len(row) != 5:
            raise ProtocolError("a file without path, size, digest, reason and mode")
        path, reason = self._texts([row[0], row[3]])
        fields = {"size": row[1], "digest": row[2]}
        digest = wire.text(fields, "digest", DIGEST)
        if not is_canonical(path) or (reason and digest) or not (reason or is_digest(digest)):
            raise ProtocolError("a file whose path or digest is not in order")
        mode = wire.mode(row[4])
        if in_git(path) or (mode == "120000" and not self.links):
            raise ProtocolError("a file of Git's own, or a link, which are not listed")
        return FileInfo(path, wire.integer(fields, "size", 0, 1 << 50), digest, reason, mode)

    def _texts(self, row: Any) -> tuple[str, str]:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], str) or row[1] not in self._reasons:
            raise ProtocolError("a name without a reason that we know")
        return wire.text({"name": row[0]}, "name", PATH_BYTES), self._reasons[row[1]]


class Update:
    """The frames of one listing, until it is whole."""

    def __init__(self, listing: Listing) -> None:
        self.files: dict[str, FileInfo] = {}
        self.gone: list[str] = []
        self._listing = listing

    def feed(self, frame: Frame) -> None:
        """Raises ProtocolError."""
        rows, gone = frame.header.get("files"), frame.header.get("gone")
        if not isinstance(rows, list) or not isinstance(gone, list) or not 0 < len(rows) + len(gone) <= ROWS:
            raise ProtocolError("a list of files that is none, or too long")
        for row in rows:
            info = self._listing.file(row)
            self.files[info.path] = info
        self.gone += [wire.text({"path": path}, "path", PATH_BYTES) for path in gone]
        most = self._listing.limits.files
        if len(self.files) > most or len(self.gone) > len(self._listing.files):
            raise ProtocolError("more files than are looked at")


def _size(files: Iterable[FileInfo]) -> int:
    return sum(info.size for info in files if not info.left)


def is_digest(text: str) -> bool:
    return len(text) == DIGEST and not set(text) - set("0123456789abcdef")
