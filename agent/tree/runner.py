"""Which command usually proves the work in a project."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from fastslow.agent.tree.protect import is_protected
from fastslow.agent.tree.reading import Reader
from fastslow.agent.tree.select import Selection

# What announces a runner: a file, a text in it that must be there, the command, and the program that it takes.
RUNNERS = (
    ("Cargo.toml", "", "cargo test --quiet", "cargo"),
    ("go.mod", "", "go test ./...", "go"),
    ("package.json", '"test"', "npm test --silent", "npm"),
    ("Makefile", "\ntest:", "make test", "make"),
)
PYTEST = "python -m pytest -q"


def usual_test(selection: Selection, commands: Sequence[str]) -> tuple[str, str]:
    """The command, `""` for none, and what the user should know of it. commands: that the sandbox has."""
    paths = [entry.path for entry in selection.files]
    if tests := [path for path in paths if path.endswith(".py") and is_protected(path, None)]:
        return PYTEST, f"no test command was given, so `{PYTEST}` proves the work (there is {tests[0]})"
    there = {entry.path: entry for entry in selection.files}
    for name, text, command, program in RUNNERS:
        if name not in there:
            continue
        content = b""
        with suppress(OSError), Reader(selection.root) as reader:
            content = reader.read(there[name]) or b""
        if text.encode() not in b"\n" + content:
            continue
        if program not in commands:
            return "", f"{name} names `{command}`, which the sandbox cannot run: nothing proves the work but its answer"
        return command, f"no test command was given, so `{command}` proves the work (there is {name})"
    return "", "no test command was given and none was found, so nothing proves the work; pass one with --test"
