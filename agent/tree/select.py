"""Which files of a folder a run works on: what Git tracks or would track, and no secrets that nobody tracks."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.tree.names import STAGING, is_git, odd, shown, some
from fastslow.agent.tree.repository import Tracked, find_repository, tracked
from fastslow.agent.tree.rules import CACHES, MOST_SECONDS, USUAL, Rules
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import Mode

LARGEST = 64 << 20  # bytes of one file
_SECRETS = (
    ".env .env.* .envrc *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx id_rsa id_dsa id_ecdsa id_ed25519 .netrc "
    "_netrc .pypirc .npmrc .pgpass .git-credentials .htpasswd  credentials.json client_secret*.json "
    "service-account*.json .ssh .aws .gnupg .kube"
)
_SECRET = re.compile("|".join(map(translate, _SECRETS.split())))
_NO_SECRET = re.compile(r"\.env\.(example|sample|template|dist)")


@dataclass(frozen=True, slots=True)
class Entry:
    """path: relative, POSIX. mode: 100644, 100755, or 120000 for a link, as Git writes them. stamp: what differs once
    the content does: device, inode, nanoseconds of the last change of the content and of the last one at all."""

    path: str
    mode: Mode
    size: int
    stamp: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """root: absolute. files: by path. notices: what was left out, and why. rules: what is ignored in it."""

    root: Path
    files: tuple[Entry, ...]
    notices: tuple[str, ...]
    rules: Rules = field(compare=False, repr=False)


def select(tree: Tree) -> Selection:
    """The files to copy in. Reads no content of them, follows no link. ConfigurationError for more than the limits,
    and for a folder that cannot be read, or is Git's."""
    root = _folder(tree.root)
    if any(is_git(part) for part in root.parts):
        raise ConfigurationError(f"{root} is a folder of Git's own; name the project's folder")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ConfigurationError(f"the folder {root} cannot be read; name one that you may read")
    rules, known, notices = _rules(root)
    walk = _Walk(tree, root, rules, known)
    walk.folder("", tracked_only=False)
    walk.check_limits()
    if rules.exhausted:
        raise ConfigurationError(
            f"the rules of the .gitignore files in {root} took more than {MOST_SECONDS:.0f} s, and not all files were "
            "asked about; simplify them, or name a smaller folder with --dir"
        )
    files = tuple(sorted(walk.files, key=lambda entry: entry.path))
    return Selection(root, files, (*notices, *rules.notices, *walk.notices(files)), rules)


def _folder(root: str | Path) -> Path:
    try:
        if Path(root).is_dir():
            return Path(os.path.realpath(root))
        what = "is a file" if Path(root).exists() else "does not exist"
    except OSError as error:
        what = f"cannot be used: {error.strerror}"
    raise ConfigurationError(f"expected a folder, and {str(root)!r} {what}; name the project's folder")


def rules_of(root: str | Path) -> Rules:
    """What is ignored in a folder."""
    return _rules(Path(os.path.realpath(root)))[0]


def _rules(root: Path) -> tuple[Rules, Tracked, list[str]]:
    notices = []
    if repository := find_repository(root):
        inside = root.relative_to(repository.top).as_posix()
        rules = Rules(repository.top, "" if inside == "." else inside, (repository.exclude(), CACHES))
        known = Tracked()
        try:
            known = tracked(repository, root)
        except ValueError as error:
            notices.append(f"Git's index cannot be read ({error}); what its rules do not ignore was taken")
        if known.files or not rules.above():
            return rules, known, notices
        notices.append(f"the repository {repository.top} ignores this folder, so it was taken without it")
    return Rules(root, "", (USUAL, CACHES)), Tracked(), notices


class _Walk:
    """Through a folder, to its end or until there is clearly too much."""

    def __init__(self, tree: Tree, root: Path, rules: Rules, known: Tracked) -> None:
        self._tree, self._root, self._rules, self._known = tree, root, rules, known
        self.files: list[Entry] = []
        self._bytes = 0
        self._stopped = False
        self._left_out: dict[str, list[str]] = {}

    def folder(self, path: str, *, tracked_only: bool) -> None:
        """path: "" or one that ends with a slash. tracked_only: rules ignore the folder, so only what is tracked."""
        waiting = [(path, tracked_only)]
        while waiting and not (self._stopped or self._rules.exhausted):
            path, tracked_only = waiting.pop()
            try:
                with os.scandir(self._root / path) as found:
                    entries = list(found)
            except OSError as error:
                self._leave(path or ".", f"it cannot be read ({error.strerror})")
                continue
            if path and path[:-1] not in self._known.folders and any(entry.name == ".git" for entry in entries):
                self._leave(path, "it is a Git repository of its own")
                continue
            waiting += [
                (f"{inner}/", only) for entry in entries for inner, only in self._entry(path, entry, tracked_only)
            ]

    def _entry(self, folder: str, entry: os.DirEntry[str], tracked_only: bool) -> Iterator[tuple[str, bool]]:
        """Takes a file, and gives a folder to go into."""
        name, path = entry.name, folder + entry.name
        if name == ".git" or name.startswith(STAGING):
            return
        if path in self._known.submodules:
            self._leave(path, "it is a submodule")
            return
        inner = entry.is_dir(follow_symlinks=False)
        is_tracked = path in (self._known.folders if inner else self._known.files)
        ignored = tracked_only or ((inner or not is_tracked) and self._rules.decides(path, folder=inner))
        if ignored and not is_tracked:
            return
        if why := odd(name, path):
            self._leave(path, why)
        elif not is_tracked and _SECRET.match(name.lower()) and not _NO_SECRET.fullmatch(name.lower()):
            self._leave(path, "it holds secrets, by its name")
        elif inner:
            yield path, ignored
        else:
            self._file(path, entry)

    def _file(self, path: str, entry: os.DirEntry[str]) -> None:
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:  # it went while we looked
            return
        mode: Mode = "120000"
        if stat.S_ISLNK(facts.st_mode):
            pass
        elif not stat.S_ISREG(facts.st_mode):
            self._leave(path, "it is no regular file")
            return
        elif facts.st_mode & 0o444 != 0o444 and not os.access(entry.path, os.R_OK):
            self._leave(path, "it cannot be read (Permission denied)")
            return
        elif facts.st_size > LARGEST:
            self._leave(path, f"it is larger than {LARGEST >> 20} MiB")
            return
        else:
            mode = "100755" if facts.st_mode & 0o100 else "100644"
        stamp = facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns
        self.files.append(Entry(path, mode, facts.st_size, stamp))
        self._bytes += facts.st_size
        self._stopped = len(self.files) > 3 * self._tree.max_files

    def _leave(self, path: str, why: str) -> None:
        self._left_out.setdefault(why, []).append(path)

    def check_limits(self) -> None:
        count, size, tree = len(self.files), self._bytes, self._tree
        if count <= tree.max_files and size <= tree.max_bytes:
            return
        sizes, counts = Counter[str](), Counter[str]()
        for entry in self.files:
            folder = entry.path.partition("/")[0] + "/" if "/" in entry.path else "(files at the top)"
            sizes[folder] += entry.size
            counts[folder] += 1
        by = counts if count > tree.max_files else sizes
        largest = ", ".join(
            f"{shown(name)} ({counts[name]:,} files, {_size(sizes[name])})" for name, _ in by.most_common(3)
        )
        raise ConfigurationError(
            f"{self._root} has {'more than ' if self._stopped else ''}{count:,} files of {_size(size)} to copy in, and "
            f"the limits are {tree.max_files:,} files and {_size(tree.max_bytes)}. The largest folders: {largest}. "
            "Ignore what a run does not need in .gitignore, name a smaller folder with --dir, or raise the limit "
            "(Tree(max_files=…, max_bytes=…))"
        )

    def notices(self, files: tuple[Entry, ...]) -> Iterator[str]:
        for why, paths in self._left_out.items():
            yield f"left out, as {why.replace('it ', 'each ', 1) if paths[1:] else why}: {some(sorted(paths))}"
        folded: dict[str, str] = {}
        clashes = []
        for entry in files:
            if (other := folded.setdefault(entry.path.casefold(), entry.path)) != entry.path:
                clashes.append(f"{other} and {entry.path}")
        if clashes:
            yield f"names that differ only in case, which some machines do not tell apart: {some(clashes)}"


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
