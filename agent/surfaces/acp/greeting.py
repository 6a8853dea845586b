"""The first answer to an editor, before anything large is imported: of what it takes seconds to load, none is needed.

From here on stdout belongs to the protocol alone: what else prints, prints to stderr.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

LONGEST = 1 << 20  # bytes of the first line
PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Greeting:
    """stdout: the descriptor that the protocol is written to. line: the first line, where it was not answered yet.
    can_read: whether the editor gives the texts that it holds."""

    stdout: int
    line: bytes = b""
    can_read: bool = False


def capabilities() -> dict[str, Any]:
    """What `initialize` is answered with."""
    return {
        "protocolVersion": PROTOCOL,
        "agentCapabilities": {
            "loadSession": True,
            "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
            "mcpCapabilities": {"http": False, "sse": False},
            "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
        },
        "authMethods": [],
        "agentInfo": {"name": "fastslow", "title": "fastslow", "version": _version()},
    }


@cache
def greet() -> Greeting:
    """Read the first line from stdin and answer it, if it is what each editor says first. Does so once."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    line = _first_line()
    try:
        said = json.loads(line)
        asked = said["method"] == "initialize" and isinstance(said["params"]["protocolVersion"], int)
        number = said["id"]
    except (ValueError, TypeError, KeyError):
        return Greeting(stdout, line)
    if not asked:
        return Greeting(stdout, line)
    answer = json.dumps({"jsonrpc": "2.0", "id": number, "result": capabilities()}) + "\n"
    os.write(stdout, answer.encode())
    return Greeting(stdout, can_read=can_read(said["params"].get("clientCapabilities")))


def can_read(told: Any) -> bool:
    """Whether an editor's capabilities, as JSON, have the reading of texts."""
    fs = told.get("fs") if isinstance(told, dict) else None
    return isinstance(fs, dict) and fs.get("readTextFile") is True


def _first_line() -> bytes:
    """Byte by byte, so that nothing behind it is taken from whoever reads on."""
    line = bytearray()
    while len(line) < LONGEST and (byte := os.read(0, 1)):
        line += byte
        if byte == b"\n":
            break
    return bytes(line)


def _version() -> str:
    from importlib.metadata import version

    return version("fastslow")
