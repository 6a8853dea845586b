"""Files of the workspace, in parts. It has no more rights than the code beside it: the checks avoid surprises."""

import contextlib
import hashlib
import os
import re
import stat

from frames import CHUNK

WORK = "/work"
MAX_FILES = 100_000
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # as in the host's paths.py
DEPTH = 64  # levels of folders that are looked into
ROWS = 64  # files in one frame: each path may have 4,000 bytes, and twice that when escaped


class Refused(Exception):
    """A file operation that cannot be; `kind` crosses the wire."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Files:
    """The workspace's files. No link is followed: each folder on the way is opened by itself."""

    def __init__(self, limit):
        self.limit = limit
        self.upload = None  # (file, folder's fd, name, digest) of a put under way
        self.download = None
        self.digests = {}

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

    def list(self):
        """A generator, since hashing takes its time: yields None while it works, and lists of rows."""
        count, rows, fresh = 0, [], {}
        for top, folders, names, fd in os.fwalk(WORK, follow_symlinks=False):
            if top.count("/") > DEPTH:
                folders.clear()  # the walk holds a descriptor, and a level of recursion, for each
            for name in names:
                path = os.path.relpath(os.path.join(top, name), WORK)
                with contextlib.suppress(OSError):
                    facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if not stat.S_ISREG(facts.st_mode) or not spelled(path):
                        continue
                    key = (path, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
                    fresh[key] = self.digests.get(key) or (yield from self.digest(name, fd))
                    rows.append([path, facts.st_size, fresh[key]])
                    count += 1
                if count > MAX_FILES:
                    raise Refused("invalid", f"the workspace has more than {MAX_FILES} files")
                if len(rows) == ROWS:
                    yield rows
                    rows = []
        self.digests = fresh
        yield rows

    def digest(self, name, folder):
        digest = hashlib.sha256()
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(fd, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                yield None
        return digest.hexdigest()


def spelled(path):
    """Whether the host takes the name, see `sandbox/paths.py`; files of other names stay inside."""
    names = path.split("/")
    return not ODD.search(path) and len(path.encode()) <= 4000 and max(len(name.encode()) for name in names) <= 240
