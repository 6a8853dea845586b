"""Files of the workspace, in parts. It has no more rights than the code beside it: the checks avoid surprises."""

import collections
import contextlib
import errno
import hashlib
import io
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
LINK = "120000"  # modes as Git has them
PART = f".{os.urandom(4).hex()}.part"  # the name of a file that is on its way
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
        self.links = False  # whether they are files
        self.upload = None  # the Upload under way
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
                here = step(folder, outer, make)
            except NotADirectoryError:
                raise Refused("invalid", f"{path!r}: {folder!r} is not a directory (links are not followed)") from None
            finally:
                os.close(outer)
        return here, name

    def put(self, parts, body, tree):
        """Write parts of files, one after the other: path, mode (None: that of the file that is there), bytes of
        `body`, and with the last part of a file its digest, before it "". The modes of those that are whole now."""
        self.links = self.links or tree
        view, modes = memoryview(body), []
        for path, mode, length, digest in parts:
            try:
                if self.upload is None:
                    self.upload = Upload(*self.walk(path, make=True), mode)
                self.upload.write(view[:length])
                view = view[length:]
                if digest:
                    upload, self.upload = self.upload, None
                    key = upload.finish()
                    modes.append(upload.mode)
                    if not in_git(path) and (self.links or upload.mode != LINK):
                        self.known[path] = Entry(key, upload.size, digest, "", upload.mode)
            except OSError as error:
                self.abandon()
                raise Refused("invalid", f"{path!r}: {self.why(error)}") from None
        return modes

    def why(self, error):
        if error.errno == errno.ENOSPC:
            return f"No space left: the workspace has room for {self.disk:,} bytes (Limits.disk), each file in pages"
        return os.strerror(error.errno)

    def abandon(self):
        if self.upload is not None:
            self.upload.abandon()
            self.upload = None

    def get(self, path, offset, length):
        if offset == 0:
            self.download = None
            self.download, size = self.open(path)
            if size > self.limit:
                raise Refused("invalid", f"{path!r} has {size} bytes; at most {self.limit} are given out")
        if self.download is None:
            raise Refused("invalid", "a part of a file that was not opened")
        self.download.seek(offset)
        data = self.download.read(length)
        final = len(data) < length
        if final:
            self.download = None
        return {"final": final}, data

    def open(self, path):
        """A file, or a link's target where links are files, to be read, and its size."""
        folder, name = self.walk(path)
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if self.links and stat.S_ISLNK(facts.st_mode):
                return io.BytesIO(os.fsencode(os.readlink(name, dir_fd=folder))), facts.st_size
            if not stat.S_ISREG(facts.st_mode):
                raise Refused("invalid", f"{path!r} is not a regular file (links are not followed)")
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        return open(fd, "rb"), os.fstat(fd).st_size

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
            key = key_of(facts)
            if entry is None or entry.key != key or not entry.digest or size > room:
                entry = yield from self.entry(path, facts, room)
            fresh[path] = entry
            room -= size if entry.digest else 0
            before = base.get(path)
            if entry is not before and not entry.same(before):
                rows.append([path, entry.size, entry.digest, entry.kind, entry.mode])
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
                named = stat.S_ISREG(facts.st_mode) or (self.links and stat.S_ISLNK(facts.st_mode))
                if named and (path in self.known or spelled(path)):
                    files += 1
                    yield path, facts, ""
                elif not stat.S_ISDIR(facts.st_mode):
                    yield path, None, "name" if named else kind_of(facts)
                elif entry.name == ".git":
                    continue  # it holds thousands of objects
                elif depth < DEPTH:
                    folders.append((path, depth + 1))
                else:
                    yield path, None, "deep"

    def entry(self, path, facts, room):
        """What is told of a new or changed file: its digest, if it can come out, else why not. A generator as above."""
        key, size, mode = key_of(facts), facts.st_size, mode_of(facts)
        if size > self.limit or size > room:
            return Entry(key, size, "", "large" if size > self.limit else "sum", mode)
        try:
            return Entry(key, size, (yield from self.digest(path)), "", mode)
        except (OSError, Refused):
            return Entry(key, size, "", "unreadable", mode)

    def digest(self, path):
        digest = hashlib.sha256()
        file, _ = self.open(path)
        with file:
            while data := file.read(CHUNK):
                digest.update(data)
                if len(data) == CHUNK:
                    yield None
        return digest.hexdigest()


class Upload:
    """A file that comes in parts, in `folder`, a descriptor; it takes its name when it is whole."""

    def __init__(self, folder, name, mode):
        self.folder, self.name, self.mode = folder, name, mode
        self.size, self.fd = 0, None
        try:
            if mode is None:
                self.mode = self.present()
            if self.mode != LINK:
                rights = 0o755 if self.mode == "100755" else 0o644
                self.fd = os.open(PART, os.O_WRONLY | os.O_CREAT | os.O_EXCL, rights, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise

    def present(self):
        """The mode of the file that is there; a link becomes a file."""
        with contextlib.suppress(FileNotFoundError):
            mode = mode_of(os.stat(self.name, dir_fd=self.folder, follow_symlinks=False))
            return "100644" if mode == LINK else mode
        return "100644"

    def write(self, data):
        self.size += len(data)
        if self.mode == LINK:  # its target, which comes in one part
            os.symlink(bytes(data), PART, dir_fd=self.folder)
            return
        while data:
            data = data[os.write(self.fd, data) :]

    def finish(self):
        """The key of what was written; None where it may have changed already."""
        try:
            before = os.stat(PART, dir_fd=self.folder, follow_symlinks=False)
            os.replace(PART, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            after = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except OSError:
            self.abandon()
            raise
        self.close()
        (*written, _), key = key_of(before), key_of(after)  # the name has changed the last, st_ctime
        same = written == [*key[:3]] and after.st_size == self.size and mode_of(after) == self.mode
        return key if same else None

    def abandon(self):
        with contextlib.suppress(OSError):
            os.unlink(PART, dir_fd=self.folder)
        self.close()

    def close(self):
        os.close(self.folder)
        if self.fd is not None:
            os.close(self.fd)


class Entry:
    """A file as it was told. key: what would be another after a change; None of one that may have changed since."""

    __slots__ = ("digest", "key", "kind", "mode", "size")

    def __init__(self, key, size, digest, kind, mode):
        self.key, self.size, self.digest, self.kind, self.mode = key, size, digest, kind, mode

    def same(self, other):
        """Whether the host need not hear of it: without a digest the key tells."""
        if other is None or self.mode != other.mode:
            return False
        if (self.size, self.digest, self.kind) != (other.size, other.digest, other.kind):
            return False
        return bool(self.digest) or self.key == other.key


def step(folder, outer, make):
    """The fd of a folder in one that is open."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(folder, flags, dir_fd=outer)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, dir_fd=outer)
    return os.open(folder, flags, dir_fd=outer)


def key_of(facts):
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def mode_of(facts):
    if stat.S_ISLNK(facts.st_mode):
        return LINK
    return "100755" if facts.st_mode & stat.S_IXUSR else "100644"


def in_git(path):
    """Whether it lies in a folder `.git`, which is not listed."""
    return ".git" in path.split("/")[:-1]


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
