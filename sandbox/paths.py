"""Names of files in the workspace, made canonical."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

WORK = PurePosixPath("/work")
# Control characters, line breaks and halves of surrogate pairs: what no list of names shows on one line of Unicode.
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
NAME_BYTES, PATH_BYTES = 240, 1000  # of one name, and of a whole path


def workspace_path(path: str) -> str:
    """The path relative to `/work`, without `.` and `..`. ValueError for one that leads elsewhere.

    >>> workspace_path("/work/data/../a.csv")
    'a.csv'
    """
    if odd := ODD.search(path):
        raise ValueError(
            f"a path in the workspace has no control characters, line breaks or bytes that are no Unicode, "
            f"got {odd[0]!r} in {path!r}"
        )
    parts: list[str] = []
    for part in (WORK / path).parts[1:]:
        if part == ".." and not parts:
            raise ValueError(f"the path {path!r} leaves the filesystem; name a file inside /work")
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    if parts[:1] != ["work"]:
        raise ValueError(f"the path {path!r} leads out of the workspace; name a file inside /work")
    if len(parts) == 1:
        raise ValueError(f"the path {path!r} names the workspace itself; name a file inside /work")
    relative = "/".join(parts[1:])
    if len(relative.encode()) > PATH_BYTES or max(len(part.encode()) for part in parts) > NAME_BYTES:
        raise ValueError(
            f"the path is too long; use at most {NAME_BYTES} bytes for each name, and {PATH_BYTES:,} in all"
        )
    return relative


def in_git(path: str) -> bool:
    """Whether it lies in a folder `.git`, which is never listed."""
    return ".git" in path.split("/")[:-1]


def is_canonical(path: str) -> bool:
    """Whether it is what `workspace_path` would make of it: a guest that names a file otherwise lies."""
    try:
        return workspace_path(path) == path
    except ValueError:
        return False
