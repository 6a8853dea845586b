"""Whether a change broke the syntax of a file, as the sandbox's own Python sees it: hostile text is parsed there."""

from __future__ import annotations

import shlex
from base64 import b64encode
from pathlib import PurePosixPath

from fastslow.sandbox.paths import WORK
from fastslow.sandbox.sandbox import Session

SUFFIXES = {".py", ".json", ".toml", ".yaml", ".yml"}
LARGEST = 1_000_000  # bytes that are parsed
EARLIER = 700_000  # bytes of the content before that are sent
SECONDS = 5.0  # that parsing may take
# Reads a content from stdin, and prints what is wrong with it, if anything. YAML's events build nothing.
PARSE = r"""
import sys
kind, data = sys.argv[1], sys.stdin.buffer.read()
try:
    if kind == ".py":
        import ast
        ast.parse(data)
    elif kind == ".json":
        import json
        json.loads(data)
    elif kind == ".toml":
        import tomllib
        tomllib.loads(data.decode())
    else:
        import yaml
        for _ in yaml.parse(data):
            pass
except (ImportError, MemoryError, RecursionError):  # nobody can tell
    pass
except Exception as error:
    mark = getattr(error, "problem_mark", None)
    line = getattr(error, "lineno", None) or (mark.line + 1 if mark else None)
    said = getattr(error, "msg", None) or getattr(error, "problem", None) or str(error) or type(error).__name__
    print((f"line {line}: " if line else "") + said)
"""


async def new_error(session: Session, name: str, before: bytes | None, after: bytes) -> str:
    """A sentence on a syntax error of a file as it was just written, `""` where there is none, or was one before."""
    kind = PurePosixPath(name).suffix.lower()
    if kind not in SUFFIXES or len(after) > LARGEST or before == after or not after.strip():
        return ""
    found = await _parsed(session, kind, f"< {shlex.quote(str(WORK / name))}")
    if not found or (before and (len(before) > EARLIER or await _parsed(session, kind, _here(before)) != "")):
        return ""
    return f"\nNew syntax error in {name}, {found}. Mend it."


async def _parsed(session: Session, kind: str, source: str) -> str | None:
    """What is wrong with a content, `""` for nothing; None where nobody could tell. source: where the shell takes it
    from."""
    command = f"python3 -I -W ignore -c {shlex.quote(PARSE)} {kind} {source}"
    execution = await session.shell(command, seconds=SECONDS)
    if execution.status != "ok":
        return None
    said = " ".join(execution.stdout.split())
    return "".join(letter for letter in said if letter.isprintable())[:300]


def _here(data: bytes) -> str:
    return f"< <(base64 -d <<'END'\n{b64encode(data).decode()}\nEND\n)"
