"""Texts and names from outside: what no server, file or terminal takes is refused before a run begins.

What comes up while it runs (from models, tools, code) is carried, with a mark in the place of what is no Unicode.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastslow.agent.engine.types import Reply
from fastslow.agent.errors import ConfigurationError
from fastslow.agent.transcript import Message, to_dict
from fastslow.sandbox.paths import workspace_path
from fastslow.tools import Tool
from fastslow.tools.lenient import without_surrogates

_HALF = re.compile("[\ud800-\udfff]")


def check_text(what: str, text: Any) -> None:
    """ConfigurationError, which calls the text `what`, for one that is no Unicode, or is no text."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is a text, got {text!r:.80}")
    if not text.isascii() and (half := _HALF.search(text)):
        place = text[max(0, half.start() - 20) : half.end() + 20]
        raise ConfigurationError(
            f"{what} is no Unicode: character {half.start()} is half of one, in {place!r}; take it out, or read the "
            "text with the encoding that it was written in"
        )


def check_history(history: Iterable[Message]) -> None:
    """ConfigurationError for what is no message, or no Unicode."""
    for message in history:
        if not isinstance(message, Message):
            raise ConfigurationError(f"history has a System, User, Assistant or ToolResult each, got {message!r:.80}")
        check_text("the content of a message in history", message.content)
        check_text("a message in history", json.dumps(to_dict(message), ensure_ascii=False, default=str))


def check_tool(tool: Tool) -> None:
    """ConfigurationError for a tool of which a model could not be told."""
    check_text(f"the description of tool {tool.name!r}", tool.description)
    check_text(f"the text in the parameters of tool {tool.name!r}", json.dumps(tool.parameters, ensure_ascii=False))


def check_path(what: str, path: Any) -> None:
    """ConfigurationError, which calls the path `what`, for one that no file has."""
    name = str(as_path(what, path))
    if "\0" in name:
        raise ConfigurationError(f"{what} has a NUL character in it, which no file has: {name!r}")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # of other halves; those that stand for bytes are a name in another encoding
        check_text(what, name)


def check_out(path: Any) -> None:
    """ConfigurationError for a folder that no file can be brought to, or none that a line of JSON could name."""
    check_path("the folder out", path)
    check_text("the folder out", str(path))


def as_path(what: str, path: Any) -> Path:
    """The path itself. ConfigurationError, which calls it `what`, for what is none."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise ConfigurationError(f"{what} is a path, as text or pathlib.Path, got {path!r:.80}")
    return Path(path)


def check_name(path: Path) -> None:
    """ConfigurationError for a file whose name the workspace cannot hold."""
    try:
        workspace_path(path.name)
    except ValueError as error:
        raise ConfigurationError(f"the file {str(path)!r} cannot go into the sandbox: {error}; rename it") from error


def unicode(reply: Reply) -> Reply:
    """A model's reply with a mark in the place of each half of a surrogate pair."""
    text = reply.content + reply.reasoning
    for call in reply.calls:
        text += call.id + call.name + call.arguments
    if text.isascii():
        return reply
    mark = without_surrogates
    calls = [replace(c, id=mark(c.id), name=mark(c.name), arguments=mark(c.arguments)) for c in reply.calls]
    return replace(reply, content=mark(reply.content), reasoning=mark(reply.reasoning), calls=tuple(calls))
