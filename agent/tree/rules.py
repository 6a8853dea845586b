"""The rules of `.gitignore` files: which paths Git would not track. https://git-scm.com/docs/gitignore

The patterns come with a repository that may mean harm, so they become regular expressions that never go back for a
second try: a star takes the first place where what follows it fits, which is as good as any other.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dulwich.wildmatch import MalformedPattern, translate_bracket_expression

from fastslow.agent.tree.names import shown

LARGEST = 64 << 10  # bytes of a file of rules
MOST = 256 << 10  # bytes of all of them: each is made into an expression, and asked about each path
MOST_SECONDS = (
    10.0  # for all answers: a repository can come with thousands of rules that are slow for thousands of names
)
# What programs leave behind: nobody would track it, whether or not a rule says so.
CACHES = b"__pycache__/\n*.py[cod]\n.pytest_cache/\n.mypy_cache/\n.ruff_cache/\n.hypothesis/\n.DS_Store\n"
# And what is usually ignored, where no Git says what is.
USUAL = b".venv/\nvenv/\nnode_modules/\n.hg/\n.svn/\n.tox/\n.nox/\ndist/\nbuild/\ntarget/\n.idea/\n*.egg-info/\n"


class Rules:
    """Which paths below a folder are ignored.

    top: the folder whose `.gitignore` files count, from it downwards. inside: where the folder lies in it, "" for the
    same. more: texts of further rules, the strongest first, all weaker than those of the files.
    """

    def __init__(self, top: Path, inside: str = "", more: Sequence[bytes] = ()) -> None:
        self._top = top
        self._inside = f"{inside}/" if inside else ""
        self._more = [decide for text in more if (decide := compiled(text))]
        self._files: dict[str, Decide | None] = {}
        self._left = MOST
        self._spent = 0.0
        self.notices: list[str] = []

    def ignores(self, path: str) -> bool:
        """Whether a file is, as itself or with a folder that it lies in. path: relative to the folder, POSIX."""
        parts = path.split("/")
        folders = ("/".join(parts[:n]) for n in range(1, len(parts)))
        return any(self.decides(folder, folder=True) for folder in folders) or self.decides(path, folder=False)

    def decides(self, path: str, *, folder: bool) -> bool:
        """Whether a path is ignored by a rule for itself: the folders that it lies in are another question."""
        if self.exhausted:
            return False
        begun = time.perf_counter()
        try:
            return self._decides(path, folder)
        finally:
            self._spent += time.perf_counter() - begun

    @property
    def exhausted(self) -> bool:
        """Whether the rules took too long, so that they are not asked any more: nothing counts as ignored then."""
        return self._spent > MOST_SECONDS

    def _decides(self, path: str, folder: bool) -> bool:
        whole = self._inside + path
        for base in _bases(whole):
            decide = self._file(base)
            if decide and (said := decide(os.fsencode(whole[len(base) :]), folder)) is not None:
                return said
        for decide in self._more:
            if (said := decide(os.fsencode(whole), folder)) is not None:
                return said
        return False

    def above(self) -> bool:
        """Whether the folder itself is ignored, by rules above it."""
        parts = self._inside.split("/")[:-1]
        inside, self._inside = self._inside, ""
        try:
            return any(self.decides("/".join(parts[:n]), folder=True) for n in range(1, len(parts) + 1))
        finally:
            self._inside = inside

    def _file(self, base: str) -> Decide | None:
        if base not in self._files:
            self._files[base] = self._read(base)
        return self._files[base]

    def _read(self, base: str) -> Decide | None:
        name = f"{base}.gitignore"
        try:
            # Git follows no link here either. What is no file does not keep us waiting.
            file = os.open(self._top / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.notices.append(f"{shown(name)} cannot be read ({error.strerror}); its rules do not count")
            return None
        try:
            text = os.read(file, LARGEST + 1)
        except OSError as error:
            self.notices.append(f"{shown(name)} cannot be read ({error.strerror}); its rules do not count")
            return None
        finally:
            os.close(file)
        if len(text) > min(LARGEST, self._left):
            self.notices.append(f"{shown(name)} has too many rules; they do not count")
            return None
        self._left -= len(text)
        return compiled(text)


class Decide:
    """What one file of rules says of a path below its folder: ignored, kept, or nothing."""

    def __init__(self, rules: Sequence[tuple[bytes, bool]]) -> None:
        self._ignored = [ignored for _, ignored in rules]
        self._all = re.compile(b"|".join(b"(%s)" % rule for rule, _ in rules))

    def __call__(self, path: bytes, folder: bool) -> bool | None:
        found = self._all.fullmatch(path + b"/" if folder else path)
        return self._ignored[found.lastindex - 1] if found and found.lastindex else None


def compiled(text: bytes) -> Decide | None:
    """The rules of a file, the last of it first: of two that fit, the later one counts."""
    rules = []
    for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        pattern = _trimmed(line.removesuffix(b"\r"))
        if not pattern or pattern.startswith(b"#"):
            continue
        kept = pattern.startswith(b"!")
        try:
            if rule := _expression(pattern[1:] if kept else pattern):
                rules.append((rule, not kept))
        except MalformedPattern:  # fits nothing
            continue
    return Decide(rules[::-1]) if rules else None


def _bases(path: str) -> Iterator[str]:
    """The folders that a path lies in, the nearest first: `a/b/`, `a/`, and the top's `""`."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield f"{path}/"
    yield ""


def _trimmed(line: bytes) -> bytes:
    """Without the blanks at its end that no backslash protects."""
    end = len(line.rstrip(b" "))
    slashes = end - len(line[:end].rstrip(b"\\"))
    return line[: end + 1] if slashes % 2 and end < len(line) else line[:end]


def _expression(pattern: bytes) -> bytes:
    """What a pattern's path fits in full, a folder's with a slash at its end; nothing for a pattern that fits none."""
    end = b"/" if pattern.endswith(b"/") else b"/?"
    pattern = pattern.removesuffix(b"/")
    if b"/" not in pattern:
        return rb"(?:[^/]+/(?!\Z))*+" + _segment(pattern) + end if pattern else b""
    segments = _segments(pattern.removeprefix(b"/"))
    runs: list[list[bytes]] = [[]]  # of segments, between those that are `**`
    for segment in segments:
        if segment == b"**":
            runs.append([])
        else:
            runs[-1].append(_segment(segment))
    *first, last = runs
    if not first:
        return b"/".join(last) + end
    parts = [b"".join(segment + b"/" for segment in first[0])]
    for run in first[1:]:
        parts.append(b"(?>(?:[^/]+/)*?" + b"".join(segment + b"/" for segment in run) + b")" if run else b"")
    rest = b"/".join(last) + end if last else b"[^/]+" + end
    return b"".join(parts) + b"(?:[^/]+/)*" + rest


def _segments(pattern: bytes) -> list[bytes]:
    """Parted at slashes, but for those in brackets."""
    segments, start, at = [], 0, 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"\\":
                at += 2
            case b"[":
                at, _ = translate_bracket_expression(pattern, at + 1)
            case b"/":
                segments.append(pattern[start:at])
                at = start = at + 1
            case _:
                at += 1
    return [*segments, pattern[start:]]


def _segment(pattern: bytes) -> bytes:
    """The name of a file or a folder. What is between two stars has one length: the first place that fits will do."""
    chunks, at = [b""], 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"*":
                at += 1
                chunks.append(b"")
                continue
            case b"?":
                part = b"[^/]"
            case b"[":
                at, part = translate_bracket_expression(pattern, at + 1)
                chunks[-1] += part
                continue
            case b"\\":
                at += 1
                if at == len(pattern):
                    raise MalformedPattern(pattern)
                part = re.escape(pattern[at : at + 1])
            case other:
                part = re.escape(other)
        chunks[-1] += part
        at += 1
    first, *rest = chunks
    if not rest:
        return first
    *middle, last = rest
    return b"(?=[^/])" + first + b"".join(b"(?>[^/]*?" + chunk + b")" for chunk in middle if chunk) + b"[^/]*" + last
