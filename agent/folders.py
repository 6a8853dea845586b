"""Where our files lie: four folders, as the platform wants them, or below `FASTSLOW_HOME`; how others are opened."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def _folder(kind: str) -> Path:
    """`FASTSLOW_HOME` moves all four folders below one; otherwise they are where the platform wants them."""
    home = os.environ.get("FASTSLOW_HOME")
    folder = Path(home, kind) if home else Path(getattr(platformdirs, f"user_{kind}_dir")("fastslow"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data_folder() -> Path:
    """Holds the engine environment."""
    return _folder("data")


def cache_folder() -> Path:
    """Holds weights: all of it can be fetched again."""
    return _folder("cache")


def config_folder() -> Path:
    """Holds what the user decided, such as accepted licences."""
    return _folder("config")


def state_folder() -> Path:
    """Holds the server's record and log, and locks."""
    return _folder("state")


def no_link(path: str, flags: int) -> int:
    """An `opener` for a file of ours in a folder that others write to, too: one who put a link there would have us
    write elsewhere. OSError then."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def append_line(path: Path, line: str) -> None:
    """OSError where a link is in the file's place."""
    with open(path, "a", encoding="utf-8", opener=no_link) as file:
        file.write(line + "\n")
