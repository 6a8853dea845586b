"""What a small model leaves out of a file that it writes whole.

Asked for a whole file, a model of 1.5B often writes the function alone that it changed (docs/coding.md has the counts).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from io import StringIO

LONGEST = 200_000  # characters of a text that is looked at


def completed(before: str, given: str) -> tuple[str, tuple[str, ...]]:
    """A module of Python as it is written anew, and the names that were left out of it: those stay as they were, in
    their place. Where there is none, or one of the texts is no Python, the new text is taken as it is.

    >>> completed("A = 1\\ndef f():\\n    return A\\n", "def f():\\n    return 2\\n")
    ('A = 1\\ndef f():\\n    return 2\\n', ('A',))
    """
    if "\r" in before + given or len(before) + len(given) > LONGEST:
        return given, ()
    try:
        old, new = ast.parse(before).body, ast.parse(given).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return given, ()
    coming = {name: node for node in new for name in _names(node)}
    known = {name for node in old for name in _names(node)}
    left_out = tuple(sorted(known - coming.keys()))
    if not left_out:
        return given, ()
    lines, end, parts = StringIO(before).readlines(), 0, list[str]()
    imports = [_text(given, node) for node in new if _is_import(node)]
    for node in old:
        start = _start(node)
        if start < end:  # two on a line
            return given, ()
        parts += lines[end:start]
        if not _is_head(node):
            parts += [text for text in imports if text not in before]
            imports = []
        twin = next((coming[name] for name in _names(node) if name in coming), None)
        parts += [_text(given, twin)] if twin else lines[start : node.end_lineno]
        end = node.end_lineno or start
    added = {id(node): node for name, node in coming.items() if name not in known}
    return "".join([*parts, *lines[end:], *(f"\n\n{_text(given, node)}" for node in added.values())]), left_out


def _names(node: ast.stmt) -> Iterator[str]:
    """What a statement of a module defines; what it imports is no part of that."""
    match node:
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name) | ast.AnnAssign(ast.Name(name)):
            yield name
        case ast.Assign(targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_head(node: ast.stmt) -> bool:
    """Whether nothing may stand before it: the docstring, and imports from the future."""
    return isinstance(node, ast.Expr) or (isinstance(node, ast.ImportFrom) and node.module == "__future__")


def _start(node: ast.stmt) -> int:
    """The lines before it. Decorators are part of it."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)]) - 1


def _text(text: str, node: ast.stmt) -> str:
    return "".join(f"{line}\n" for line in text.split("\n")[_start(node) : node.end_lineno])
