"""Where the paths in a call's arguments lead, in every way in which a tool may read them.

A rule cannot know how a tool reads a path: whether it expands `~`, takes `file://` off, joins two arguments, removes
`..` before or after links. So a path has several readings. What denies or asks counts where one of them fits; what
allows, where all of them do.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

from fastslow.agent.values import DEEPEST, bare, parts
from fastslow.sandbox.paths import WORK
from fastslow.tools import ArgumentError, Place

# A name that ends so, or in its plural, names a path and nothing else: `filePath`, `output_dir`, `infile`.
_PATH = ("path", "filename")
_FILE = "file"  # or what one holds, if that is long or has several lines
_FOLDER = ("cwd", "dir", "dirname", "directory", "directorie", "folder")
_BASE = (*_FOLDER, "root", "base")  # what other paths of the call may be relative to
_NO_PATH = {"profile", "xpath"}
_MARKS = {"name", "names", "list"}  # behind one of those: `folder_name`; a number and a letter too: `file2`, `file_a`
# These name paths, and other things as well.
_PERHAPS = {"src", "source", "dst", "dest", "destination", "target", "input", "output", "root", "base"}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")
_FILE_SCHEME = re.compile(r"\s*file:", re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:(?=[/\\])")
SANDBOX_HOME = "/tmp"  # noqa: S108 - inside the container

LONGEST, LONGEST_NAME = 4096, 255  # bytes of a path, and of a part of it, that Linux takes
MOST = 1000  # paths of one call that are looked at
MOST_SPELLINGS = 64
MOST_BELOW = 400  # readings of one path, each below each folder that the call names
SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A text that stands where a path may. where: in the arguments. sure: its name says that it is one, so one that
    cannot be is a mistake. base: the call's other paths may be relative to it."""

    where: str
    text: str
    sure: bool
    base: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the name of an argument, or of a part of it, says of the texts within."""

    sure: bool
    base: bool
    content: bool = False

    def named(self, where: str, text: str) -> Named:
        is_content = self.content and ("\n" in text or len(text) > LONGEST)
        return Named(where, text, self.sure and not is_content, self.base)


@dataclass(frozen=True, slots=True)
class Leads:
    """Where a path leads: places, absolute and without `..`. certain: those that count for what allows."""

    possible: frozenset[str]
    certain: frozenset[str]


@dataclass(slots=True)
class CallPaths:
    """The paths of one call of a tool that runs in `place`, for all rules that judge it."""

    place: Place
    arguments: Mapping[str, Any]
    _found: dict[tuple[str, ...], list[Leads]] = field(default_factory=dict)

    def fit(self, pattern: str, names: tuple[str, ...], *, every: bool) -> bool:
        """Whether the call's paths fit a pattern: every one, in all that is certain; or any, in all that is possible.

        names: patterns of further arguments that name paths. Raises ArgumentError for a path of which nobody can say
        where it leads.
        """
        if names not in self._found:
            self._found[names] = _leads(named_paths(self.arguments, names), self.place)
        found, fits = self._found[names], _matcher(pattern, self.place, strict=every)
        if every:
            return bool(found) and all(all(map(fits, leads.certain)) for leads in found)
        return any(any(map(fits, leads.possible)) for leads in found)


# --- which texts are paths -------------------------------------------------------------------------


def named_paths(arguments: Mapping[str, Any], names: Collection[str] = ()) -> list[Named]:
    """The texts in a call's arguments that may be paths."""
    found = list(islice(_in_parts(arguments, "", None, names, 0), MOST + 1))
    if len(found) > MOST:
        raise ArgumentError(f"The arguments name more paths than fit in one call, at most {MOST}. Send fewer.")
    return found


def _in_parts(value: Any, where: str, around: _Kind | None, names: Collection[str], depth: int) -> Iterator[Named]:
    if depth > DEEPEST:
        raise ArgumentError("The arguments are nested too deeply. Send a flatter object.")
    inner = parts(value)
    if inner is None:
        text = bare(value)
        if isinstance(text, str) and (around or _FILE_SCHEME.match(text)):
            yield (around or _Kind(sure=False, base=False)).named(where, text)
        return
    kinds = [_kind(part.names, names) for part in inner]
    told = any(kinds) and not any(part.free for part in inner)  # fields of the author's, some of which name paths
    for part, kind in zip(inner, kinds, strict=True):
        there = f"{where}.{part.label}".strip(".") if part.names else f"{where}{part.label}"
        if around and part.free:
            yield Named(there, part.names[0], sure=False, base=around.base)
        within = around
        if around and part.names:
            within = None if told else _Kind(sure=False, base=around.base)
        if kind and around and around.base:
            kind = replace(kind, base=True)
        yield from _in_parts(part.value, there, kind or within, names, depth + 1)


def _kind(own: tuple[str, ...], names: Collection[str]) -> _Kind | None:
    for name in own:
        words = [word.casefold() for word in _WORDS.findall(name)]
        while len(words) > 1 and (words[-1] in _MARKS or words[-1].isdigit() or len(words[-1]) == 1):
            words.pop()
        whole = "".join(words).removesuffix("s")
        base = whole.endswith(_BASE)
        if any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in names):
            return _Kind(sure=True, base=base)
        if whole in _PERHAPS or whole.endswith("root"):
            return _Kind(sure=False, base=base)
        if whole.endswith((*_PATH, *_FOLDER, _FILE)) and words[-1].removesuffix("s") not in _NO_PATH:
            return _Kind(sure=True, base=base, content=whole.endswith(_FILE))
    return None


def check_paths(arguments: Mapping[str, Any], place: Place) -> None:
    """Raise ArgumentError for a path that leads nobody knows where, or to what is no file and no folder."""
    for named in named_paths(arguments):
        if named.sure:
            _places(named, [_start(place)], place)


# --- where they lead -------------------------------------------------------------------------------


def host_places(arguments: Mapping[str, Any]) -> set[str]:
    """All places on this machine where the paths of a call may lead. ArgumentError for a path that nobody can judge."""
    named = [one for one in named_paths(arguments) if one.text.strip()]
    return {path for leads in _leads(named, "host") for path in leads.possible if not _unusable(path)}


def _leads(found: list[Named], place: Place) -> list[Leads]:
    """Where each path leads; what is relative may be so to a folder that the call names, and that one to another."""
    own = below = [_places(named, [_start(place)], place) for named in found]
    every, seen = list(own), set[str]()
    for _ in range(2):
        bases = {
            path for named, leads in zip(found, below, strict=True) if named.base for path in leads.possible
        } - seen
        bases = {path for path in bases if not _unusable(path)}
        if len(bases) * len(found) > MOST * 2:
            raise ArgumentError("The arguments name too many folders and paths for one call. Send fewer.")
        below = [_places(one, bases - leads.possible, place) for one, leads in zip(found, own, strict=True)]
        every += below
        seen |= bases
    return [leads for leads in every if leads.possible]


def _start(place: Place) -> str:
    """The folder that relative paths begin at."""
    if place == "sandbox":
        return str(WORK)
    try:
        return os.getcwd()
    except OSError as error:
        raise ArgumentError(f"The working folder of this process is gone, so no path can be judged: {error}") from error


def _places(named: Named, bases: Collection[str], place: Place) -> Leads:
    """Where one text leads, below each of some folders."""
    if problem := _unusable(named.text):
        if named.sure:
            raise _wrong(named, problem)
        lexical = frozenset(_normal(os.path.join(base, named.text)) for base in bases)
        return Leads(lexical, lexical)
    possible: set[str] = set()
    certain: set[str] = set()
    spellings = _spellings(named, place) if bases else ()
    if len(spellings) * len(bases) > MOST_BELOW:
        raise _wrong(named, "with the folders that stand beside it, it can be read in too many ways")
    for spelling in spellings:
        read = {os.path.join(base, spelling) for base in bases}
        plainly = {_normal(path) for path in read}
        on_disk = place == "host" and not (problem := _unusable(spelling))
        if problem and named.sure:
            raise _wrong(named, problem)
        real = {_real(path) for path in read | plainly} if on_disk else plainly
        if on_disk and named.sure:
            for path in read:
                _check_file(named, path)
        possible |= plainly | real
        # Below a folder that is really called `~` or `file:` nothing leads elsewhere, unless `..` takes that off.
        if ".." in spelling or not (_FILE_SCHEME.match(spelling) or spelling[:1] == "~"):
            certain |= real
    return Leads(frozenset(possible), frozenset(certain or possible))


def _unusable(text: str) -> str:
    """Why a text can be no path; nothing for one that can."""
    if "\0" in text:
        return "it holds a NUL character"
    try:
        size = len(os.fsencode(text))
    except UnicodeError:
        return "it is not Unicode"
    longest = max((len(part) for part in os.fsencode(text).split(b"/")), default=0) if size > LONGEST_NAME else 0
    if size > LONGEST or (longest > LONGEST_NAME and not _FILE_SCHEME.match(text)):
        return f"it is too long ({size} bytes)"
    return ""


def _check_file(named: Named, path: str) -> None:
    """ArgumentError for what is there and is no file and no folder, or cannot be looked at. Opens nothing."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        said = "its links lead in a circle" if error.errno == errno.ELOOP else error.strerror
        raise _wrong(named, f"it cannot be looked at: {said}") from error
    if what := SPECIAL.get(stat.S_IFMT(mode)):
        raise _wrong(named, f"it is {what}, no file and no folder")


def _wrong(named: Named, problem: str) -> ArgumentError:
    where = ascii(named.where)[1:-1][:80]
    return ArgumentError(f"{where}: expected the path of a file or a folder, got {named.text[:80]!a}: {problem}.")


def _spellings(named: Named, place: Place) -> Collection[str]:
    """All that a tool may make of a text before it opens it, the text itself first."""
    found = [named.text]
    for text in found:  # grows while it is read
        found += [other for turn in _TURNS if (other := turn(text)) not in found]
        for other in _expanded(named, text, place):
            found += [other] if other not in found else []
        if len(found) > MOST_SPELLINGS:
            raise _wrong(named, "it can be read in too many ways")
    return found


def _expanded(named: Named, text: str, place: Place) -> Iterator[str]:
    """With the home for `~`, and variables put in."""
    if place == "sandbox":
        if text[:1] == "~":
            yield re.sub(r"~[^/]*", SANDBOX_HOME, text, count=1)
        yield re.sub(r"\$HOME|\$\{HOME\}", SANDBOX_HOME, text)
        return
    if "$" in text:
        yield os.path.expandvars(text)
    if text[:1] == "~":
        expanded = os.path.expanduser(text)
        if expanded == text and named.sure and text == named.text:
            raise _wrong(named, f"there is no user {text.split('/')[0][1:80]!a}; write ./~ for a name that begins so")
        yield expanded


def _without_backslashes(text: str) -> str:
    return _DRIVE.sub("", text).replace("\\", "/")


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _of_url(text: str) -> str:
    """The path of a `file:` URL, as the standard reads it."""
    if not _FILE_SCHEME.match(text):
        return text
    try:
        return unquote(urlsplit(text.strip()).path)
    except ValueError:  # brackets that hold no address
        return text


def _behind_scheme(text: str) -> str:
    """What stands behind `file:`, with its query, as a tool reads it that knows nothing of URLs."""
    scheme = _FILE_SCHEME.match(text)
    return text[scheme.end() :] if scheme else text


def _behind_slashes(text: str) -> str:
    return re.sub(r"\s*file:/{0,2}", "", text, count=1, flags=re.IGNORECASE)


def _unquoted(text: str) -> str:
    return unquote(text) if _FILE_SCHEME.match(text) else text


_TURNS: tuple[Callable[[str], str], ...] = (
    str.strip,
    _without_backslashes,
    _nfkc,
    _of_url,
    _behind_scheme,
    _behind_slashes,
    _unquoted,
)


def _normal(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes; POSIX keeps two at the beginning."""
    return "/" + os.path.normpath(path).lstrip("/")


def _real(path: str) -> str:
    """The same without links, those before a `..` too, as the kernel follows them. Of what is too long for it, as it
    stands."""
    try:
        return _normal(os.path.realpath(path))
    except OSError:
        return _normal(path)


# --- patterns --------------------------------------------------------------------------------------


def _matcher(pattern: str, place: Place, *, strict: bool) -> Callable[[str], bool]:
    """Whether a place fits a pattern. strict: letter by letter; else in any case and any Unicode form, and a folder
    stands for what is below it, as that does for the folder."""
    forms = _forms(pattern, place)
    if strict:
        return lambda path: any(fnmatchcase(path, form) for form in forms)
    forms |= {form.replace("**/", "") for form in forms}  # which is any folder, or none
    folded = {_folded(form).rstrip("/") for form in forms}
    folded |= {form.removesuffix("/*") for form in folded if form.endswith("/*")}
    folded |= {f"{form}/*" for form in folded if not form.endswith("*")}
    return lambda path: any(fnmatchcase(_folded(path), form) for form in folded)


def _forms(pattern: str, place: Place) -> set[str]:
    """A pattern as it stands, made absolute as paths are, and with the links in its fixed beginning followed."""
    if pattern.startswith("*"):
        return {pattern}
    if place == "sandbox":
        pattern = re.sub(r"^~(?=/|$)|\$HOME|\$\{HOME\}", SANDBOX_HOME, pattern)
    else:
        pattern = os.path.expandvars(os.path.expanduser(pattern))
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0] if re.search(r"[*?\[]", pattern) else pattern
    rest = pattern[len(fixed) :].lstrip("/")
    fixed = os.path.join(_start(place), fixed or ("/" if pattern[:1] == "/" else ""))
    beginnings = {_normal(fixed), _real(fixed) if place == "host" else _normal(fixed)}
    forms = {glob.escape(beginning) for beginning in beginnings}
    return {f"{form.rstrip('/')}/{rest}" for form in forms} if rest else forms


def _folded(text: str) -> str:
    return _nfkc(_nfkc(text).casefold())
