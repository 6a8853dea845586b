"""AGENTS.md: what a project tells every agent, from the root of its repository down to the folder that is worked in.

The nearer file stands later, and so wins. It is text for the model: it grants no rights, and no rule of approval is
ever read from it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.project.files import LARGEST, Refused, digest_of, opened, read, text_of
from fastslow.agent.prompts import prompt
from fastslow.agent.quoting import visible
from fastslow.sandbox.paths import workspace_path

NAMES = ("AGENTS.override.md", "AGENTS.md")  # the first that has text counts
LIMIT = 32 << 10  # bytes of all that the model is told, as others have it
READ = 2 * LIMIT  # bytes of one file: cleaned, they may be half as many
FOLDERS = 64  # that are looked into on the way to one
_MARK = 100  # bytes of the line that says what was cut


@dataclass(frozen=True, slots=True)
class Instructions:
    """text: for the model, in its frame; empty where there is none. sources: the files, by their paths from the folder
    that is worked in, the nearest last. digest: of their names and contents. notices: what was cut or not read, and
    why, for people."""

    text: str = ""
    sources: tuple[str, ...] = ()
    digest: str = ""
    notices: tuple[str, ...] = ()


def read_instructions(root: Path, top: Path | None = None, home: Path | None = None) -> Instructions:
    """The instructions of all folders from `top` down to `root`.

    top: by itself the nearest folder with a `.git`, `root` or above it, or `root` where there is none. What lies above
    the user's home (`home`), or in the folder of another owner, is not looked at then: it is no part of a project of
    this user's. Raises ConfigurationError where root is no folder, or is not below top.
    """
    root = folder_of(root)
    notices: list[str] = []
    found: list[tuple[str, bytes]] = []
    for folder in _way(root, top, home_of(home)):  # the nearest first
        at = os.path.relpath(folder, root)
        if file := _file_in(folder, (), "" if at == "." else f"{at}/", notices):
            found.append(file)
    if not found:
        return Instructions(notices=tuple(notices))
    texts = [(path, text_of(raw[:READ]), len(raw)) for path, raw in found]
    shown, cut = _fitted(texts, LIMIT - len(prompt("project", texts="")))
    return Instructions(
        prompt("project", texts="\n\n".join(reversed(shown))),
        tuple(path for path, _ in reversed(found)),
        digest_of([(path, sha256(raw).hexdigest()) for path, raw in found]),
        (*notices, *cut),
    )


def nested(root: Path, path: str) -> list[tuple[str, str]]:
    """The instructions in the folders below `root` on the way to a path in it: path and text of each, the nearest last.

    For the first result of a tool that touches such a folder. They are as little trusted as the rest of the tree:
    `Project.nested` has those that its digest covers.
    """
    try:
        parts = PurePosixPath(workspace_path(path)).parts[:FOLDERS]
    except ValueError:
        return []
    found: list[tuple[str, bytes]] = []
    for depth in range(1, len(parts) + 1):
        if parts[depth - 1] == ".git":
            break
        if file := _file_in(root, parts[:depth], f"{'/'.join(parts[:depth])}/", []):
            found.append(file)
    texts = [(file, text_of(raw[:READ]), len(raw)) for file, raw in reversed(found)]
    shown, _ = _fitted(texts, LIMIT)
    return [(visible(file), text) for (file, _, _), text in reversed(list(zip(texts, shown, strict=True)))]


def folder_of(root: Path) -> Path:
    """The folder itself, without links. ConfigurationError where it is none."""
    try:
        folder = root.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"{visible(str(root))} is no folder that can be worked in: {error}") from error
    if not folder.is_dir():
        raise ConfigurationError(f"{visible(str(root))} is no folder; name the one that holds the project")
    return folder


def home_of(home: Path | None) -> Path | None:
    """The user's home, or that of whoever runs this; None where there is none."""
    try:
        return (home or Path.home()).resolve()
    except (OSError, RuntimeError):
        return None


def _way(root: Path, top: Path | None, home: Path | None) -> list[Path]:
    """The folders from the root up to the top, the nearest first, and no more than are looked into."""
    above = [root, *root.parents]
    if top is not None:
        if (top := folder_of(top)) not in above:
            raise ConfigurationError(f"{visible(str(top))} is not above {visible(str(root))}; name a folder that is")
        return above[: above.index(top) + 1][:FOLDERS]
    ours = _ours(above[:FOLDERS], home)
    for number, folder in enumerate(ours):
        if os.path.lexists(folder / ".git"):
            return ours[: number + 1]
    return [root]


def _ours(above: Sequence[Path], home: Path | None) -> list[Path]:
    """The folders up to where the user's own end: whoever may write to `/tmp` could else tell each project there."""
    owner = above[0].stat().st_uid
    for number, folder in enumerate(above[1:], 1):
        if (home and folder in home.parents) or folder.stat().st_uid != owner:
            return list(above[:number])
    return list(above)


def _file_in(base: Path, below: Sequence[str], at: str, notices: list[str]) -> tuple[str, bytes] | None:
    """The path and the content of the file that counts in a folder; what is not read is noted."""
    try:
        with opened(base, *below) as folder:
            for name in NAMES:
                try:
                    raw = read(folder, name, LARGEST)
                except Refused as error:
                    notices.append(f"{visible(at + name)} is not read: it {error}")
                    continue
                if raw and raw.strip():
                    return at + name, raw
    except Refused as error:
        notices.append(f"the folder {visible(at or '.')} is not looked into: it {error}")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def _fitted(texts: Sequence[tuple[str, str, int]], limit: int) -> tuple[list[str], list[str]]:
    """Each text below its head, those that stand first whole, and what was cut. texts: path, text, and bytes of the
    file."""
    heads = [f"Project instructions ({visible(path)}):\n\n" for path, _, _ in texts]
    left = limit - sum(len(head.encode()) + _MARK for head in heads)
    shown, cut = [], []
    for head, (path, text, size) in zip(heads, texts, strict=True):
        text = text.strip("\n")
        kept = _lines(text, left)
        left -= len(kept.encode())
        if kept != text or size > READ:
            cut.append(f"{visible(path)} is cut: {len(kept.encode()):,} of its {size:,} bytes are told to the model")
            kept += f"\n(cut here: {len(kept.encode()):,} of {size:,} bytes)"
        shown.append(head + kept)
    return shown, cut


def _lines(text: str, limit: int) -> str:
    """The head of a text that has so many bytes at most, up to the end of a line where there is one."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    part = raw[: max(limit, 0)].decode("utf-8", "ignore")
    return part[: part.rfind("\n")] if "\n" in part else part
