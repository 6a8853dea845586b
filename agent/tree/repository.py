"""What the files of a Git repository say of a folder: read, never run, written or obeyed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from hashlib import sha1, sha256
from io import BytesIO
from pathlib import Path
from struct import error as struct_error
from struct import unpack_from

LARGEST_INDEX = 32 << 20  # bytes: some 300,000 files
LARGEST_LINE = 16 << 10  # of the files that name another place
LINK = 0o160000  # the mode of a submodule


@dataclass(frozen=True, slots=True)
class Repository:
    """top: its working tree. git: where its index lies. common: where its other files lie."""

    top: Path
    git: Path
    common: Path

    def exclude(self) -> bytes:
        """Rules of the user's own."""
        return _read(self.common / "info" / "exclude", LARGEST_LINE) or b""


@dataclass(frozen=True, slots=True)
class Tracked:
    """Paths below a folder, relative to it: files, the folders that they lie in, and other repositories in it."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    submodules: frozenset[str] = frozenset()


def find_repository(root: Path) -> Repository | None:
    """The repository whose working tree a folder is, or lies in."""
    for top in (root, *root.parents):
        if git := _git_folder(top / ".git"):
            common = _line(git / "commondir")
            return Repository(top, git, git / common if common else git)
    return None


def tracked(repository: Repository, root: Path) -> Tracked:
    """What Git tracks below a folder. ValueError, which says why, for an index that cannot be read."""
    path = repository.git / "index"
    if not os.path.lexists(path):
        return Tracked()  # of a repository in which nothing was ever added
    data = _read(path, LARGEST_INDEX)
    if data is None:
        raise ValueError("it cannot be opened, or is too large")
    inside = root.relative_to(repository.top).as_posix()
    prefix = b"" if inside == "." else os.fsencode(inside) + b"/"
    files, submodules = set(), set()
    for name, mode in _entries(data):
        if name.startswith(prefix):
            below = os.fsdecode(name[len(prefix) :])
            if stat.S_IFMT(mode) == LINK:
                submodules.add(below)
            else:
                files.add(below)
    folders = {below[:at] for below in files | submodules for at, sign in enumerate(below) if sign == "/"}
    return Tracked(frozenset(files), frozenset(folders), frozenset(submodules))


def _entries(data: bytes) -> list[tuple[bytes, int]]:
    """Name and mode of each entry of an index. ValueError for what is none that we can read."""
    from dulwich.index import UnsupportedIndexFormat, read_index  # 60 ms, where there is a repository
    from dulwich.object_format import SHA1, SHA256

    for kind, digest in ((SHA1, sha1), (SHA256, sha256)):
        body, end = data[: -kind.oid_length], data[-kind.oid_length :]
        # Zeros: Git was told to save the time (https://git-scm.com/docs/git-config, index.skipHash).
        if end == digest(body).digest() or (kind is SHA1 and not end.strip(b"\0")):
            break
    else:
        raise ValueError("it is damaged")
    file = BytesIO(body)
    try:
        entries = [(entry.name, entry.mode) for entry in read_index(file, kind)]
        at = file.tell()
        while at + 8 <= len(body):
            name, size = unpack_from(">4sL", body, at)
            if name == b"link":
                raise ValueError("it is split in two files")
            at += 8 + size
    except UnsupportedIndexFormat as error:
        raise ValueError("its version is not known") from error
    except (AssertionError, struct_error, IndexError, KeyError, OverflowError) as error:
        raise ValueError("it is damaged") from error
    return entries


def _git_folder(path: Path) -> Path | None:
    """Where a `.git` leads: it is a folder, or the file of a worktree or a submodule, that names one."""
    if path.is_file():
        line = _line(path)
        path = path.parent / line.removeprefix("gitdir:").strip() if line.startswith("gitdir:") else path
    try:
        return path if (path / "HEAD").exists() or (path / "HEAD").is_symlink() else None
    except OSError:  # no folder, a circle of links, or none of ours
        return None


def _line(path: Path) -> str:
    text = os.fsdecode(_read(path, LARGEST_LINE) or b"").strip("\r\n")
    return "" if "\0" in text else text


def _read(path: Path, most: int) -> bytes | None:
    """None for what is no file that can be read, or a larger one."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None
