"""Suites of others, read from a folder that the user has: they are not in this project, and on no package index."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TypeVar

from fastslow.agent.errors import ConfigurationError

T = TypeVar("T")
FOLDERS = "FASTSLOW_SUITES"  # names a folder with such repositories in it, for whoever does not say --from each time


def checkout(name: str, address: str, holds: str, folder: Path | None) -> Path:
    """The folder of a repository: the one that was named, else the one of that name below $FASTSLOW_SUITES.

    holds: a path in it by which it is known. Raises ConfigurationError where it is not to be had.
    """
    named = folder or (Path(os.environ[FOLDERS], name) if os.environ.get(FOLDERS) else None)
    if named is None:
        raise ConfigurationError(
            f"skipped: {name} is not here, and no package index has it; `git clone {address}`, and name that folder "
            f"with --from, or the one that holds it with {FOLDERS}"
        )
    if not (named / holds).is_dir():
        raise ConfigurationError(f"skipped: expected a copy of {address}, and {str(named)!r} has no folder {holds}")
    return named


def contents(root: Path, *paths: str) -> dict[str, bytes]:
    """Those of the files that are there, by path."""
    return {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}


def shuffled(found: list[T], seed: str) -> tuple[T, ...]:
    """In an order that follows from the seed, so that the first n are no other than any."""
    random.Random(seed).shuffle(found)  # noqa: S311 - not for secrets
    return tuple(found)
