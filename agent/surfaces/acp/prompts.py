"""What an editor sends as a prompt, made the words of a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from os.path import normpath
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from acp import RequestError
from acp.schema import (
    AudioContentBlock,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
)

from fastslow.agent.surfaces.acp.parts import fenced, one_line
from fastslow.tools import clip

Block: TypeAlias = (
    TextContentBlock | ImageContentBlock | AudioContentBlock | ResourceContentBlock | EmbeddedResourceContentBlock
)
Read: TypeAlias = Callable[[str], Awaitable[str | None]]
"""What the editor holds of a file that is not saved; None where that is what the disk holds."""

ATTACHED = 50_000  # characters of one text that comes with a prompt
INVALID = -32602


async def task_of(blocks: Sequence[Block], root: str, read: Read) -> str:
    """The task in words. RequestError for what no model of ours understands, and for nothing at all."""
    words: list[str] = []
    attached: list[str] = []
    for block in blocks:
        match block:
            case TextContentBlock():
                words.append(block.text)
            case ResourceContentBlock():
                name, path = _named(block.uri, root)
                words.append(name)
                if path and (text := await read(path)) is not None:
                    attached.append(_attachment(f"{name}, as the editor holds it; it is not saved", text))
            case EmbeddedResourceContentBlock():
                name, _ = _named(block.resource.uri, root)
                words.append(name)
                if isinstance(block.resource, TextResourceContents):
                    attached.append(_attachment(name, block.resource.text))
                else:
                    attached.append(f"({name} is no text, and was left out.)")
            case _:
                raise RequestError(INVALID, f"only texts and files are understood; take the {block.type} out")
    task = "\n\n".join(["".join(words).strip(), *attached])
    if not task.strip():
        raise RequestError(INVALID, "expected a task in words, got nothing")
    return task


def _attachment(name: str, text: str) -> str:
    return f"{name}:\n{fenced(clip(text, ATTACHED))}"


def _named(uri: str, root: str) -> tuple[str, str | None]:
    """How a model is told of a resource, and its path where that is a file of the project."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return one_line(uri, 500), None
    if parts.scheme != "file":
        return one_line(uri, 500), None
    path = normpath(unquote(parts.path))
    try:
        return Path(path).relative_to(root).as_posix(), path
    except ValueError:
        return f"{one_line(path, 500)} (outside of the project, so not in the sandbox)", None
