"""What a folder holds, in few lines, for a model that begins to work in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

LINES = 60


def outline(paths: Sequence[str]) -> str:
    """All paths of a small project; of a larger one its folders, as deep as there is room, with the number of files.

    >>> print(outline(["a.py", "src/b.py"]))
    The project's files (2):
    a.py
    src/b.py
    """
    lines = list(paths)
    depth = 4
    while len(lines) > LINES and depth:
        lines, depth = _folded(paths, depth), depth - 1
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"(and {len(lines) - LINES} more)"]
    return "\n".join([f"The project's files ({len(paths)}):", *lines])


def _folded(paths: Sequence[str], depth: int) -> list[str]:
    """Paths up to a depth, with all that is deeper as one line a folder."""
    shown, deeper = [], Counter[str]()
    for path in paths:
        parts = path.split("/")
        if len(parts) > depth:
            deeper["/".join(parts[:depth])] += 1
        else:
            shown.append(path)
    return sorted(
        [*shown, *(f"{folder}/ ({count} file{'s' if count > 1 else ''})" for folder, count in deeper.items())]
    )
