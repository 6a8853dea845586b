"""The names that models give to a file tool's arguments, having learned them elsewhere, as the names of ours."""

from __future__ import annotations

from typing import Any

from fastslow.tools.lenient import LenientError, read_whole

PATH = ("file_path", "filePath", "filepath", "filename")
OLD = ("old_string", "oldString", "oldText", "old_str", "oldStr", "search")
NEW = ("new_string", "newString", "newText", "new_str", "newStr", "replace")
# Arguments of other tools that say what ours does anyway.
IDLE = {"replace_all": False, "replaceAll": False, "command": "str_replace"}


def with_path(given: dict[str, Any]) -> dict[str, Any]:
    """
    >>> with_path({"file_path": "a.py"})
    {'path': 'a.py'}
    """
    return _renamed(given, "path", PATH)


def with_edits(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `edit_file`. Its edits may be one object, a string of JSON, or stand beside the path.

    >>> with_edits({"file_path": "a.py", "old_string": "a", "new_string": "b"})
    {'path': 'a.py', 'edits': [{'old_text': 'a', 'new_text': 'b'}]}
    """
    given = _with_texts(with_path(given))
    if "edits" not in given and "old_text" in given and "new_text" in given:
        given["edits"] = {"old_text": given.pop("old_text"), "new_text": given.pop("new_text")}
    edits = given.get("edits")
    if isinstance(edits, str):
        try:
            edits = read_whole(edits)
        except LenientError:
            return given
    edits = [edits] if isinstance(edits, dict) else edits
    if isinstance(edits, list):
        given["edits"] = [_with_texts(edit) if isinstance(edit, dict) else edit for edit in edits]
    return given


def _with_texts(given: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in given.items() if key not in IDLE or value not in (IDLE[key], None)}
    return _renamed(_renamed(kept, "old_text", OLD), "new_text", NEW)


def _renamed(given: dict[str, Any], name: str, others: tuple[str, ...]) -> dict[str, Any]:
    """The arguments with a name in the place of another one that means it, where it is clear which is meant."""
    found = [other for other in others if other in given]
    if name in given or len(found) != 1:
        return given
    return {(name if key == found[0] else key): value for key, value in given.items()}
