"""Folders on disk as values, and Git in a place of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fastslow.agent.tree.changes import FILE, LINK, PROGRAM, Change, Version, compare, digest_of

State = dict[str, tuple[str, bytes]]
"""Mode and content of each file, by path."""


def git(folder: Path, *words: str, stdin: bytes = b"") -> bytes:
    """What a command of Git says, without the settings of whoever runs the tests."""
    names = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    names |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *words], cwd=folder, input=stdin, capture_output=True, env=names, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def write(root: Path, state: Mapping[str, tuple[str, bytes]]) -> None:
    for name, (mode, content) in state.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == LINK:
            path.symlink_to(os.fsdecode(content))
        else:
            path.write_bytes(content)
            path.chmod(0o755 if mode == PROGRAM else 0o644)


def read(root: Path) -> State:
    """Every file below a folder, but for Git's."""
    state: State = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            path = Path(folder, name)
            if path.is_symlink():
                state[path.relative_to(root).as_posix()] = LINK, os.fsencode(os.readlink(path))
            else:
                mode = PROGRAM if path.stat().st_mode & 0o100 else FILE
                state[path.relative_to(root).as_posix()] = mode, path.read_bytes()
    return state


class Contents(dict[str, bytes]):
    """By digest; `keep` puts one in."""

    def keep(self, content: bytes) -> str:
        self[digest_of(content)] = content
        return digest_of(content)

    def versions(self, state: Mapping[str, tuple[str, bytes]]) -> dict[str, Version]:
        return {path: Version(self.keep(content), len(content), mode) for path, (mode, content) in state.items()}

    def changes(
        self, before: Mapping[str, tuple[str, bytes]], after: Mapping[str, tuple[str, bytes]]
    ) -> tuple[Change, ...]:
        return compare(self.versions(before), self.versions(after), lambda path: False)
