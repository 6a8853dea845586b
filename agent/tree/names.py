"""Names of files in a user's folder: which a run may have, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence

from fastslow.sandbox.paths import NAME_BYTES, ODD, PATH_BYTES

STAGING = ".fastslow-apply-"  # how the folders begin in which `apply` prepares what it writes
SHOWN = 5  # names in a row of them


def shown(name: str) -> str:
    """A file's name on one line of Unicode, whatever it holds."""
    return ODD.sub(lambda odd: ascii(odd[0])[1:-1], name)


def some(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(shown(name) for name in names[:SHOWN]) + more


def odd(name: str, path: str) -> str:
    """Why neither the sandbox nor `apply` takes a path; nothing where both do. name: the last of its parts."""
    if ODD.search(name):
        return "its name is no Unicode, or has control characters"
    if is_git(name):
        return "its name is Git's"
    if len(name) * 4 > NAME_BYTES and len(name.encode()) > NAME_BYTES:
        return f"its name has more than {NAME_BYTES} bytes"
    if len(path) * 4 > PATH_BYTES and len(path.encode()) > PATH_BYTES:
        return f"its path has more than {PATH_BYTES:,} bytes"
    return ""


def refusal(path: str) -> str:
    """Why nothing may be written to a path that a run gave; nothing where it may."""
    parts = path.split("/")
    if not all(parts) or any(part in (".", "..") for part in parts):
        return "its path is not a plain one below the folder"
    if any(part.lower().startswith(STAGING) for part in parts):
        return "its name is one of ours, for files on their way"
    return next((why for part in parts if (why := odd(part, path))), "")


def is_git(name: str) -> bool:
    """Whether it is `.git` on any file system: Windows and macOS have more spellings of it (CVE-2014-9390)."""
    if name[:1] != "." and name[:3].lower() != "git" and name.isascii():
        return False
    if ODD.search(name):
        return name.lower() == ".git"
    from dulwich.index import validate_path_element_hfs, validate_path_element_ntfs  # 60 ms

    bare = name.encode()
    return name not in (".", "..") and not (validate_path_element_ntfs(bare) and validate_path_element_hfs(bare))
