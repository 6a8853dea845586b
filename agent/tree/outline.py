"""What a folder holds, in few lines, for a model that begins to work in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

LINES = 60
WHOLE = 12_000  # bytes of all files of a project that is shown whole: some 4,000 tokens
_FENCE = re.compile(r"`{3,}")


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


def whole(texts: Mapping[str, str]) -> str:
    """The files of a small project, each below its path.

    >>> print(whole({"a.py": "print(1)\\n"}))
    a.py
    ```py
    print(1)
    ```
    """
    return "\n\n".join([f"{path}\n{_fenced(path, text)}" for path, text in texts.items() if text.strip()])


def _fenced(path: str, text: str) -> str:
    fence = max(["``", *_FENCE.findall(text)], key=len) + "`"
    _, _, language = path.rpartition("/")[2].rpartition(".")
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


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
