"""Files of the workspace, in parts. It has no more rights than the code beside it: the checks avoid surprises."""

import collections
import contextlib
import hashlib
import itertools
import os
import re
import stat

from frames import CHUNK

WORK = "/work"
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # as in the host's paths.py
DEPTH = 64  # levels of folders that are looked into
ROWS = 64  # files in one frame: each path may have 1,000 bytes, and some times that when escaped
NAMED = 100  # of what is no file
STEP = 64  # things looked at in one go
SEEN = 4  # times as many as files are listed, links and folders included, are looked at


class Refused(Exception):
    """A file operation that cannot be; `kind` crosses the wire."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Files:
    """The workspace's files. No link is followed: each folder on the way is opened by itself."""

    def __init__(self, limit, most, disk):
        """limit: bytes of a file that is given out. most: files that are listed. disk: bytes of all of them."""
        self.limit, self.most, self.disk = limit, most, disk
        self.upload = None  # (file, folder's fd, name, digest) of a put under way
        self.download = None
        self.known = {}  # path -> Entry, as the host was told with the last listing, or has put since
        self.left = None  # what else was told
        self.number = 0  # of that listing

    def walk(self, path, make=False):
        """The fd of the folder that holds `path`, and the last name."""
        *folders, name = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in (*folders, name)):
            raise Refused("invalid", f"{path!r} is not a path inside the workspace")
        here = os.open(WORK, os.O_RDONLY | os.O_DIRECTORY)
        for folder in folders:
            outer = here
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder, dir_fd=outer)
                here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
            finally:
                os.close(outer)
        return here, name

    def put(self, path, offset, data, final):
        if offset == 0:
            self.abandon()
            folder, name = self.walk(path, make=True)
            fd = os.open(f".{name}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644, dir_fd=folder)
            file = open(fd, "wb")  # noqa: SIM115 - the next parts go there
            self.upload = (file, folder, name, hashlib.sha256())
        if self.upload is None or self.upload[0].tell() != offset:
            raise Refused("invalid", "a part of a file that was not begun")
        file, folder, name, digest = self.upload
        try:
            file.write(data)
            digest.update(data)
            if not final:
                return {}
            file.close()
            os.replace(f".{name}.part", name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            self.abandon()
            raise
        size = offset + len(data)
        os.close(folder)
        self.upload = None
        self.known[path] = Entry(None, size, digest.hexdigest(), "")
        return {"size": size, "digest": digest.hexdigest()}

    def abandon(self):
        if self.upload is None:
            return
        file, folder, name, _ = self.upload
        self.upload = None
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            os.unlink(f".{name}.part", dir_fd=folder)
        os.close(folder)

    def get(self, path, offset, length):
        if offset == 0:
            self.download = None
            folder, name = self.walk(path)
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            finally:
                os.close(folder)
            self.download = open(fd, "rb")  # noqa: SIM115 - the next parts come from there
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise Refused("invalid", f"{path!r} is not a regular file")
            if facts.st_size > self.limit:
                raise Refused("invalid", f"{path!r} has {facts.st_size} bytes; at most {self.limit} are given out")
        if self.download is None:
            raise Refused("invalid", "a part of a file that was not opened")
        self.download.seek(offset)
        data = self.download.read(length)
        final = len(data) < length
        if final:
            self.download = None
        return {"final": final}, data

    def list(self, since):
        """What changed since the listing of that number, or all of it where that was not the last one.

        A generator, since this takes its time: yields None while it works, then the fields of each frame, and at last
        those of the answer, which have a number.
        """
        whole = since != self.number
        base, told = ({}, None) if whole else (self.known, self.left)
        fresh, rows, others, more, room = {}, [], [], 0, self.disk
        for found in self.look():
            if found is None:
                yield None
                continue
            path, facts, kind = found
            if facts is None:
                if len(others) < NAMED:
                    others.append([spelling(path), kind])
                else:
                    more += 1
                continue
            entry, size = self.known.get(path), facts.st_size
            key = (facts.st_ino, size, facts.st_mtime_ns, facts.st_ctime_ns)
            if entry is None or entry.key != key or not entry.digest or size > room:
                entry = yield from self.entry(path, key, size, room)
            fresh[path] = entry
            room -= size if entry.digest else 0
            before = base.get(path)
            if entry is not before and not entry.same(before):
                rows.append([path, entry.size, entry.digest, entry.kind])
            if len(rows) == ROWS:
                yield {"files": rows, "gone": []}
                rows = []
        if rows:
            yield {"files": rows, "gone": []}
        gone = [path for path in list(base) if path not in fresh]
        for start in range(0, len(gone), ROWS):
            yield {"files": [], "gone": gone[start : start + ROWS]}
        self.number += 1
        self.known, self.left = fresh, (others, more)
        left = {"left": None} if self.left == told else {"left": others, "more": more}
        yield {"number": self.number, "whole": whole, **left}

    def look(self):
        """What is in the workspace, the shallow first: path and facts of a file, for the rest None and its kind; None
        now and then."""
        folders, files, seen = collections.deque([("", 0)]), 0, 0
        while folders:
            folder, depth = folders.popleft()
            try:
                with os.scandir(os.path.join(WORK, folder)) as found:
                    entries = sorted(itertools.islice(found, SEEN * self.most + 1), key=lambda entry: entry.name)
            except OSError:
                yield folder, None, "unreadable"
                continue
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                seen += 1
                if seen % STEP == 0:
                    yield None
                if seen > SEEN * self.most or files == self.most:
                    yield path, None, "many"
                    return
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:  # gone meanwhile
                    continue
                if stat.S_ISREG(facts.st_mode) and (path in self.known or spelled(path)):
                    files += 1
                    yield path, facts, ""
                elif not stat.S_ISDIR(facts.st_mode):
                    yield path, None, kind_of(facts)
                elif depth < DEPTH:
                    folders.append((path, depth + 1))
                else:
                    yield path, None, "deep"

    def entry(self, path, key, size, room):
        """What is told of a new or changed file: its digest, if it can come out, else why not. A generator as above."""
        if size > self.limit or size > room:
            return Entry(key, size, "", "large" if size > self.limit else "sum")
        try:
            return Entry(key, size, (yield from self.digest(path)), "")
        except OSError:
            return Entry(key, size, "", "unreadable")

    def digest(self, path):
        digest = hashlib.sha256()
        folder, name = self.walk(path)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with open(fd, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                if len(data) == CHUNK:
                    yield None
        return digest.hexdigest()


class Entry:
    """A file as it was told. key: what would be another after a change; None of one that the host has put."""

    __slots__ = ("digest", "key", "kind", "size")

    def __init__(self, key, size, digest, kind):
        self.key, self.size, self.digest, self.kind = key, size, digest, kind

    def same(self, other):
        """Whether the host need not hear of it: without a digest the key tells."""
        if other is None or (self.size, self.digest, self.kind) != (other.size, other.digest, other.kind):
            return False
        return bool(self.digest) or self.key == other.key


def kind_of(facts):
    """Why the host does not take something that is no folder."""
    if stat.S_ISLNK(facts.st_mode):
        return "link"
    return "name" if stat.S_ISREG(facts.st_mode) else "special"


def spelled(path):
    """Whether the host takes the name, see `sandbox/paths.py`; files of other names stay inside."""
    names = path.split("/")
    return not ODD.search(path) and len(path.encode()) <= 1000 and max(len(name.encode()) for name in names) <= 240


def spelling(path):
    """A name as the host can print it."""
    return path if spelled(path) else ascii(path)[1:-1][:200]
