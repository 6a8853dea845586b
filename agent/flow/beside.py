"""The files that a plan or a task file brings. It may come from elsewhere, so it reaches into its own folder only."""

from __future__ import annotations

from glob import escape, glob
from pathlib import Path, PurePosixPath

MOST = 1000  # files of one pattern


def beside(folder: Path, pattern: str) -> tuple[Path, ...]:
    """The files that match, in order. ValueError where there is none, or where it would lead anywhere else.

    Hidden files stay out, and links out of the folder: what the user gives himself is not looked at here.
    """
    path = PurePosixPath(pattern)
    if path.is_absolute() or any(part.startswith(".") for part in path.parts) or not path.parts:
        raise ValueError(f"expected files of this folder that are not hidden, got {pattern!r}; give others as --file")
    found = [folder / name for name in sorted(glob(pattern, root_dir=folder, recursive=True))]
    files = tuple(file for file in found if file.is_file())
    if not files:
        raise ValueError(f"there is no file {pattern!r} in the folder {str(folder)!r}; give it as --file")
    if len(files) > MOST:
        raise ValueError(f"{pattern!r} is {len(files):,} files, and {MOST:,} is the limit")
    within = folder.resolve()
    for file in files:
        real = file.resolve()
        if not real.is_relative_to(within) or any(part.startswith(".") for part in real.relative_to(within).parts):
            raise ValueError(f"{str(file)!r} is a link to what is hidden or elsewhere; give it as --file")
    return files


def named(folder: Path, name: str) -> Path:
    """The one file of a name that is no pattern."""
    return beside(folder, escape(name))[0]
