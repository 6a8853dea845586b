"""The tool `list_files`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from fastslow.sandbox.sandbox import FileInfo
from fastslow.tools.builtin.files import ROOM
from fastslow.tools.builtin.search import folder_of
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller

LISTED = 200  # lines of one list


@tool(effect="read", place="sandbox")
async def list_files(path: str = "", glob: str = "", depth: int = 0) -> Outcome:
    """List files with their sizes.

    Args:
        path: The folder to look into; by default the working folder.
        glob: Only files of names like this, such as `*.py`, or `src/*.py` for those anywhere in src.
        depth: How many levels of folders to open; 0 for all. Others are summed up.
    """
    files = await (await caller.get().open_session()).files()
    folder = folder_of(path)
    inside = [file for file in files if _is_in(file.path, folder)]
    if folder and not inside:
        there = _listed([file for file in files if _is_in(file.path, "")], "", 1)
        raise ToolError(f"There is no file in {folder}. There is:\n{there or '(no files)'}")
    found = [file for file in inside if _is_like(file.path, glob)]
    if not found:
        return Outcome(f"(no files like {glob})" if inside else "(no files)")
    return Outcome(_listed(found, folder, max(depth, 0)), limit=ROOM)


def _is_in(path: str, folder: str) -> bool:
    inside = not folder or path == folder or path.startswith(f"{folder}/")
    return inside and ".git" not in path.split("/")[:-1]


def _is_like(path: str, glob: str) -> bool:
    """A `*` stands for any text, with slashes, too."""
    glob = glob.removeprefix("./").removeprefix("**/").replace("/**/", "/*")
    return not glob or fnmatchcase(path if "/" in glob else path.rpartition("/")[2], glob)


def _listed(files: Iterable[FileInfo], folder: str, depth: int) -> str:
    """As many levels as are wanted, or as fit."""
    files = list(files)
    if depth == 0:
        deepest = max(file.path.count("/") for file in files) + 1 if files else 1
        depth = next((level for level in range(deepest, 1, -1) if len(_rows(files, folder, level)) <= LISTED), 1)
    rows = _rows(files, folder, depth)
    more = [f"(and {len(rows) - LISTED} more)"] if len(rows) > LISTED else []
    return "\n".join([*rows[:LISTED], *more])


def _rows(files: Iterable[FileInfo], folder: str, depth: int) -> list[str]:
    """A line for each file that lies no deeper below the folder, and one for each folder that is not opened."""
    rows: dict[str, str] = {}
    counts: Counter[str] = Counter()
    base = folder.count("/") + 1 if folder else 0
    for file in files:
        parts = file.path.split("/")
        if len(parts) <= base + depth:
            rows[file.path] = f"{file.path} ({file.size} bytes)"
        else:
            counts["/".join(parts[: base + depth])] += 1
    rows |= {path: f"{path}/ ({count} file{'s' if count > 1 else ''})" for path, count in counts.items()}
    return [rows[path] for path in sorted(rows)]
